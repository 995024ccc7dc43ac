"""Tiles cover every layer exactly once, fit their memories, and do not overlap in them."""

import re
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings

from systolith.hw.generate import parameters_for
from systolith.hw.lowering import lower
from systolith.hw.parameters import Parameters
from systolith.hw.plan import plan
from systolith.hw.program import Operation
from systolith.hw.tiling import channel_tiles, output_elements, partitions, run_shape, tilings
from systolith.quant import ConfigurationError

from .graphs import conv_graph, pool_graph
from .hw_networks import NAMES, check_against_golden, network
from .test_hw_plan import chains, sizes


def cover(shape, ranges):
    """How often each element of ``shape`` is in one of ``ranges`` (a range for each axis)."""
    count = np.zeros(shape, int)
    for spans in ranges:
        count[tuple(slice(*span) for span in spans)] += 1
    return count


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_tiles_parts_and_channels_cover_once(graph, chosen):
    p = Parameters(**{k: v for k, v in chosen.items() if k != "activation_kib"}, sum_bits=32)
    for layer in lower(graph, p.activation_bits):
        steps, run = run_shape(layer, p)
        for parts in partitions(layer, p):
            spans = [(part.kernel_rows, part.kernel_columns, part.run) for part in parts]
            assert (cover((layer.kernel[0], steps, run), spans) == 1).all()
        tiles = [tile for series in channel_tiles(layer, p) for tile in series]
        assert (cover((layer.weights.shape[0],), [((t.output, t.output + t.channels),) for t in tiles]) == 1).all()
        assert all(1 <= t.channels <= p.columns for t in tiles)
        assert tiles == sorted(tiles, key=lambda t: t.output)
        for number, tiling in enumerate(tilings(layer, p, 1 << 20, load=True, store=True)):
            assert (cover(layer.target[1:], [(t.rows, t.columns) for t in tiling.tiles]) == 1).all()
            assert max(t.positions for t in tiling.tiles) <= p.accumulator_depth
            assert max(output_elements(layer, t, p) for t in tiling.tiles) <= tiling.output_slot
            if number > 20:
                break


def regions_of(made):
    """Half-open ranges of activation memory that each layer has in use at once, with their owner."""
    for layer, place in zip(made.layers, made.placements, strict=True):
        tiling = place.tiling
        regions = {}
        if place.input_resident is not None:
            regions["input"] = (place.input_resident, place.input_resident + int(np.prod(layer.source)))
        else:
            count = 2 if len(tiling.tiles) * len(tiling.parts) > 1 else 1
            for n in range(count):
                start = place.input_slots + n * tiling.input_slot
                regions[f"input slot {n}"] = (start, start + tiling.input_slot)
        if place.output_resident is not None:
            regions["output"] = (place.output_resident, place.output_resident + int(np.prod(layer.target)))
        else:
            for n in range(2 if len(tiling.tiles) > 1 else 1):
                start = place.output_slots + n * tiling.output_slot
                regions[f"output slot {n}"] = (start, start + tiling.output_slot)
        yield layer, regions


def check_layout(made):
    for layer, regions in regions_of(made):
        memory = np.zeros(made.parameters.activation_elements + 1, int)
        for name, (start, stop) in regions.items():
            assert 0 <= start <= stop <= made.parameters.activation_elements, (layer.name, name)
            memory[start:stop] += 1
        assert memory.max() <= 1, (layer.name, regions)
        number = made.layers.index(layer)
        for instruction in made.program:
            if instruction.layer != number:
                continue
            for touched, kinds in ((instruction.chip_reads, "input"), (instruction.chip_writes, "output")):
                if instruction.operation in (Operation.LOAD, Operation.STORE):
                    kinds = "input" if instruction.operation == Operation.LOAD else "output"
                if touched[0] < touched[1]:
                    holders = [n for n, r in regions.items() if r[0] <= touched[0] and touched[1] <= r[1]]
                    assert any(n.startswith(kinds) for n in holders), (layer.name, instruction.operation, touched)
    for region, following in pairwise(sorted(made.regions.values(), key=lambda r: r.address)):
        assert region.address % 4096 == 0
        assert region.address + region.bytes <= following.address or not region.bytes


@settings(max_examples=300, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_slots_and_resident_maps_do_not_overlap(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError:
        return
    check_layout(made)


@pytest.mark.parametrize(("name", "kib"), [*((n, k) for n in NAMES for k in range(1, 6)), ("cifar", 3), ("cifar", 5)])
def test_layouts_of_the_test_networks(name, kib):
    graph = network(name)
    chosen = {"rows": 5, "columns": 3, "bus_bytes": 16, "activation_kib": kib, "accumulator_kib": 1}
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError as error:
        enough = int(re.search(r"(\d+) KiB would do", str(error)).group(1))
        made = plan(graph, parameters_for(graph, **{**chosen, "activation_kib": enough}))
    check_layout(made)


def test_slots_alternate():
    """So that the next tile loads while this one is in use, and the last one leaves meanwhile."""
    chosen = {"rows": 4, "columns": 4, "activation_kib": 1, "accumulator_kib": 1}
    graph = network("same_relu")
    made = plan(graph, parameters_for(graph, **chosen))
    (place,) = made.placements
    for operation, first, slot in (
        (Operation.LOAD, place.input_slots, place.tiling.input_slot),
        (Operation.STORE, place.output_slots, place.tiling.output_slot),
    ):
        used = [(i.fields["chip"] - first) // slot for i in made.program if i.operation == operation]
        assert len(used) > 2
        assert used == [n % 2 for n in range(len(used))]


def test_a_layer_that_does_not_fit_names_the_memory_and_the_size_that_does():
    # the 1500 outputs of one position must lie in one slot
    graph = conv_graph((4, 1, 1), np.ones((1500, 4, 1, 1)))
    chosen = {"rows": 4, "columns": 4, "activation_kib": 1}
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, parameters_for(graph, **chosen))
    assert str(caught.value) == "layer 'conv': no tile of it fits the activation memory of 1 KiB; 2 KiB would do"
    check_against_golden(plan(graph, parameters_for(graph, **{**chosen, "activation_kib": 2})))


def test_a_pooling_window_that_does_not_fit_names_the_accumulators():
    graph = pool_graph((3, 20, 20), (18, 18), (1, 1), (0, 0, 0, 0))
    chosen = {"rows": 4, "columns": 8, "accumulator_kib": 8}
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, parameters_for(graph, **chosen))
    needed = ceil(18 * 18 * 8 * 8 / 1024)
    assert str(caught.value) == (
        "layer 'pool': one pooling window needs 324 accumulators a column, the accumulator memory of 8 KiB holds 128; "
        f"{needed} KiB would do"
    )
    check_against_golden(plan(graph, parameters_for(graph, **{**chosen, "accumulator_kib": needed})))


LIMITS = {
    "kernel rows of 257; the engine counts to 256": ((1, 300, 1), (257, 1), {}),
    "kernel columns of 257; the engine counts to 256": ((1, 1, 300), (1, 257), {}),
    "row stride of 256; the engine counts to 255": ((1, 300, 2), (2, 2), {"strides": (256, 1)}),
    "row dilation of 256; the engine counts to 255": ((1, 300, 2), (2, 2), {"dilations": (256, 1)}),
}


@pytest.mark.parametrize(("message", "window"), LIMITS.items(), ids=LIMITS)
def test_windows_beyond_the_counters_are_refused(message, window):
    shape, kernel, attributes = window
    graph = conv_graph(shape, np.ones((1, 1, *kernel)), **attributes)
    with pytest.raises(ConfigurationError, match=f"^layer 'conv': {re.escape(message)}$"):
        plan(graph, parameters_for(graph, rows=4, columns=4))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"weight_bits": 7}, "layer 'conv' has 8-bit weights; generate with at least as many weight bits"),
        ({"sum_bits": 12}, "layer 'conv' needs sums of 17 bits, the accumulators have 12"),
        (
            {"multiplier": False},
            "layer 'conv' has scales that are not powers of two; "
            "generate with multiplier, or quantize with --scales pow2",
        ),
        ({"activation_bits": 7}, "tensor 'x' needs 8 bits; generate with at least 8 activation bits"),
    ],
)
def test_narrow_accelerators_are_refused(sizes, message):
    graph = conv_graph((4, 3, 3), np.full((2, 4, 1, 1), 127))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        plan(graph, parameters_for(graph, rows=4, columns=4, **sizes))
