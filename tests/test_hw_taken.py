"""Blocks that halve a map, with a shortcut of 1x1: of the map its windows' pixels alone are loaded, of what is added
the channels of each slice."""

from __future__ import annotations

import random
from collections import Counter
from itertools import islice

import pytest

from systolith.hw.compiler.cost import Traffic
from systolith.hw.compiler.cutting import slices
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.span import size
from systolith.hw.compiler.tiling import Tilings
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import Operation
from systolith.quant import ConfigurationError, Graph

from .hw_networks import check_against_golden, planned
from .models import Builder
from .test_hw_depthwise import quantized
from .test_hw_tiling import check_layout, cycles_of

SIZES = {
    "8x8": {"rows": 8, "columns": 8, "activation_kib": 4, "accumulator_kib": 4},
    "4x4": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1},
    "9x5, wide bus": {"rows": 9, "columns": 5, "bus_bytes": 16, "activation_kib": 4, "accumulator_kib": 2},
    "16x16, one channel tile": {"rows": 16, "columns": 16, "activation_kib": 4, "accumulator_kib": 8},
}


def block(seed: int) -> Graph:
    rng = random.Random(seed)
    stride = rng.choice([(2, 2), (2, 2), (1, 2), (3, 2)])
    inputs, inside, outputs = rng.choice([17, 32, 48]), rng.choice([6, 12]), rng.choice([24, 40, 64])
    net = Builder((4, rng.randint(9, 13), rng.randint(9, 14)), seed=seed).conv(4, inputs, 1).relu()
    before = net.current
    shortcut = net.conv(inputs, outputs, 1, strides=stride).current
    net.current = before
    net.conv(inputs, inside, 3, strides=stride, pads=[1, 1, 1, 1]).relu().conv(inside, outputs, 1)
    net.join("Add", *rng.sample([shortcut, net.current], 2)).relu()
    return quantized(net.conv(outputs, 5, 1))


def loaded(made: Plan, n: int, tensor: str, slots: tuple[int, ...], length: int) -> Counter[int]:
    """Elements of ``tensor`` that layer ``n`` loads into ``slots`` of ``length`` elements, and how often."""
    read: Counter[int] = Counter()
    start, each = made.dram.maps[tensor].address, made.parameters.element_bytes
    for i in made.program:
        into = any(slot <= i.chip_writes[0] < slot + length for slot in slots) if i.chip_writes[1] else False
        if i.layer == n and i.operation == Operation.LOAD and into:
            for row in range(i.fields["rows"] + 1):
                first = (i.fields["dram"] + row * i.fields["dram_step"] - start) // each
                read.update(range(first, first + (i.fields["bytes"] + 1) // each))
    return read


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_blocks_compute_what_golden_does_and_load_what_they_take(sizes):
    seen: Counter[str] = Counter()
    for seed in range(6):
        try:
            made = planned(block(seed), **sizes)
        except ConfigurationError as error:
            assert "would do" in str(error)  # noqa: PT017
            continue
        check_layout(made)
        check_against_golden(made, seed)
        for n, (layer, place) in enumerate(zip(made.layers, made.placements, strict=True)):
            tiling, g = place.tiling, layer.geometry
            repeats = sum(map(len, slices(g, made.parameters, 0)[0].series)) if len(tiling.parts) > 1 else 1
            if g.taken.skips and place.source is None:
                depth, _, width = layer.source
                read = loaded(made, n, layer.input, place.input_slots, tiling.input_slot)
                pixels = [
                    (y * layer.strides[0] * width + x * layer.strides[1]) * depth
                    for y in range(layer.convolved[1])
                    for x in range(layer.convolved[2])
                ]
                assert set(read) == {pixel + c for pixel in pixels for c in range(depth)}
                assert set(read.values()) == {repeats}
                seen["skips"] += 1
                seen["parts"] += repeats > 1
            if layer.operand and place.operand is None:
                read = loaded(made, n, layer.operand, place.operand_slots, tiling.operand_slot)
                _, rows, columns = layer.target
                assert read == Counter(range(rows * columns * layer.target[0])), "each once, by whichever slice"
                every = slices(g, made.parameters, tiling.sliced)
                most = tiling.shape[0] * tiling.shape[1] * size(every[0].outputs)
                assert most <= tiling.operand_slot < most + made.parameters.bus_elements
                seen["sliced"] += tiling.slices > 1
    assert seen["skips"] >= 3, seen
    assert seen["sliced"] or sizes["columns"] == 16, seen


def test_costs_are_those_of_all_tiles_slice_by_slice():
    p = Parameters(rows=4, columns=5, sum_bits=32, bus_bytes=4, accumulator_kib=1, operands=True)
    seen: Counter[str] = Counter()
    for layer in lower(block(3), 8):
        g = layer.geometry
        for load, operand, store in ((1, 0, 0), (1, 1, 1), (0, 1, 0), (0, 1, 1)):
            traffic = Traffic(bool(load), bool(operand), bool(store), layer.spread.steps)
            for space in (300, 700, 1 << 20):
                for tiling in islice(Tilings(g, p, traffic).fitting(space), 30):
                    assert tiling.cost == pytest.approx(cycles_of(g, p, tiling, traffic), rel=1e-9)
                    seen["skips"] += bool(load) and g.taken.skips
                    seen["parts"] += g.taken.skips and len(tiling.parts) > 1
                    seen["sliced"] += bool(operand) and tiling.slices > 1
    assert min(seen["skips"], seen["parts"], seen["sliced"]) > 5, seen
