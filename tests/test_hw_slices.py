"""Layers that load or store some channels of each pixel: their instructions, their results, their cycles."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from systolith.hw.compiler import residency
from systolith.hw.compiler.cutting import slices, source_columns, source_rows
from systolith.hw.compiler.kernel_steps import kernel
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.span import size
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict
from systolith.quant import ConfigurationError, Graph

from .hw_networks import check_against_golden, planned
from .models import Builder
from .test_hw_depthwise import quantized
from .test_hw_tiling import check_layout
from .test_system import run

SIZES = {
    "8x8": {"rows": 8, "columns": 8, "activation_kib": 2, "accumulator_kib": 4},
    "4x4, one line": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 2, "accumulator_kib": 2},
    "9x5, wide bus": {"rows": 9, "columns": 5, "bus_bytes": 16, "activation_kib": 3, "accumulator_kib": 2},
    "8x4, block-diagonal": {"rows": 8, "columns": 4, "activation_kib": 2, "accumulator_kib": 1, "line_buffer": 0},
    "12x6, two bytes": {"rows": 12, "columns": 6, "activation_bits": 11, "activation_kib": 6, "accumulator_kib": 4},
    "16x16": {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 3, "accumulator_kib": 8},
    "16x8, pairs": {"rows": 16, "columns": 8, "activation_kib": 4, "target": "ecp5", "columns_per_multiplier": 2},
}


def network(seed: int, bits: int = 8) -> Graph:
    """Small groups of many channels between two convolutions of 1x1, sometimes added to their input, or the last."""
    rng = random.Random(seed)
    each = rng.choice([1, 1, 1, 2])
    groups = rng.choice([9, 24, 37, 48])
    height, width = rng.randint(4, 11), rng.randint(4, 15)
    kernel_size, stride = rng.choice([(3, 3), (3, 3), (5, 5), (3, 1)]), rng.choice([1, 1, 2])
    net = Builder((4, height, width), seed=seed).conv(4, each * groups, 1).relu()
    before = net.current
    pads = [k // 2 for k in kernel_size]
    net.conv(each * groups, each * groups, kernel_size, group=groups, strides=(stride, stride), pads=[*pads, *pads])
    if stride == 1 and bits <= 8 and rng.random() < 0.4:
        net.join("Add", before, net.current)
    if rng.random() < 0.3:
        return quantized(net, bits)
    return quantized(net.conv(each * groups, rng.choice([5, 40]), 1), bits)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """No layer hands its map on to these: see test_hw_relay."""
    monkeypatch.setattr(residency, "hand_on", lambda layers, graph, p, layout, *_: layout)


def sliced(made: Plan) -> Iterator[int]:
    return (n for n, place in enumerate(made.placements) if place.tiling.slices > 1)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_slices_compute_what_golden_does(sizes):
    seen: Counter[str] = Counter()
    for seed in range(10):
        try:
            made = planned(network(seed, sizes.get("activation_bits", 8)), **sizes)
        except ConfigurationError as error:
            assert "would do" in str(error)  # noqa: PT017
            continue
        check_layout(made)
        check_against_golden(made, seed)
        for n in sliced(made):
            it, place = made.layers[n], made.placements[n]
            seen["loads" if place.source is None and it.groups > 1 else "stores"] += 1
            seen["tiles"] += place.tiling.count > 1
    assert seen["loads"] >= 2 <= seen["tiles"], seen
    assert seen["stores"], seen


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_slice_of_small_groups_is_loaded_once_with_few_instructions(sizes):
    found = 0
    for seed in range(10):
        try:
            made = planned(network(seed, sizes.get("activation_bits", 8)), **sizes)
        except ConfigurationError:
            continue
        for n in sliced(made):
            it, tiling, g = made.layers[n], made.placements[n].tiling, made.layers[n].geometry
            if made.placements[n].source is not None or it.groups == 1:
                continue
            found += 1
            every, k, each = slices(g, made.parameters, tiling.sliced), kernel(g, made.parameters), g.source[0]
            start, width = made.dram.maps[it.input].address, made.parameters.element_bytes
            read, loads = Counter(), 0
            for i in made.program:
                in_slots = any(s <= i.chip_writes[0] < s + tiling.input_slot for s in made.placements[n].input_slots)
                if i.layer == n and i.operation == Operation.LOAD and in_slots:
                    loads += 1
                    for row in range(i.fields["rows"] + 1):
                        first = (i.fields["dram"] + row * i.fields["dram_step"] - start) // width
                        read.update(range(first, first + (i.fields["bytes"] + 1) // width))
            expected, fewest = Counter(), 0
            for tile in tiling.tiles:
                rows, columns = (of(g, k, tile, tiling.parts[0]) for of in (source_rows, source_columns))
                fewest += len(every) * (1 if size(columns) == g.source[2] else min(size(rows), size(columns)))
                for y in range(*rows):
                    for x in range(*columns):
                        expected.update(range((y * g.source[2] + x) * each, (y * g.source[2] + x + 1) * each))
            assert read == expected, "every channel of every pixel of every tile"
            assert loads == fewest
    assert found >= 2


def wide() -> Graph:
    """A depthwise layer whose map does not fit 6 KiB."""
    net = Builder((4, 9, 9), seed=1).conv(4, 96, 1).relu()
    return quantized(net.conv(96, 96, 3, group=96, pads=[1, 1, 1, 1]).relu().conv(96, 8, 1))


WIDE = {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 6, "accumulator_kib": 4, "lanes": 4}


def test_the_next_slice_loads_before_this_one_is_convolved():
    made = planned(wide(), **WIDE)
    (n,) = [n for n in sliced(made) if made.layers[n].groups > 1]
    place = made.placements[n]
    order = [i.operation for i in made.program if i.layer == n and i.operation in (Operation.LOAD, Operation.ARRAY)]
    pieces = place.tiling.slices
    assert (
        order
        == [Operation.LOAD, *[Operation.LOAD, Operation.ARRAY] * (pieces - 1), Operation.ARRAY] * place.tiling.count
    )
    loads = [i.fields["chip"] for i in made.program if i.layer == n and i.operation == Operation.LOAD]
    assert all(a != b for a, b in pairwise(loads)), "into the other slot"
    weights = [i for i in made.program if i.layer == n and i.operation == Operation.WEIGHTS]
    assert len(weights) == place.tiling.count, "one stream serves all slices"


def test_sliced_layers_are_exact_in_the_predicted_cycles(tmp_path):
    report, made = run(wide(), WIDE, tmp_path, images=1)
    assert [made.layers[n].groups for n in sliced(made)].count(96) == 1
    assert report.cycles_per_image == pytest.approx(predict(made, 30).cycles, rel=0.01)


def test_the_array_does_not_wait_for_slices():
    """Whole rows with all channels would bring halos and weights again for each of them."""
    made = planned(wide(), **WIDE)
    (n,) = [n for n in sliced(made) if made.layers[n].groups > 1]
    it = made.layers[n]
    k = kernel(it.geometry, made.parameters)
    array = 96 // 4 * k.rows.count * k.columns.count * k.pass_windows((9, 9))
    assert predict(made, 30).layer_cycles[n] < 1.1 * array
    assert np.prod(it.source) > made.parameters.activation_elements
