"""The report's memories: what lies where when, as the plan has it, and never two things in one place."""

from itertools import combinations, pairwise

import pytest

from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Operation
from systolith.hw.manifest import Block
from systolith.report.layers import layer_rows
from systolith.report.memory import (
    Occupancy,
    in_dram,
    occupancy,
    on_chip,
)

from . import models
from .lenet import lenet5
from .report_builds import accelerator_of, quantized

SIZES = {"rows": 8, "columns": 8, "bus_bytes": 8, "activation_kib": 6}


@pytest.fixture(scope="module", params=["inception", "dense", "residual", "pooled_concat", "lenet5", "a batch"])
def built(request):
    """What a folder says, its graph, and its plan."""
    if request.param in models.BRANCHED:
        graph, batch = quantized(models.branched(request.param)), 1
    else:
        graph, batch = lenet5("float")[0], 3 if request.param == "a batch" else 1
    accelerator = accelerator_of(graph, batch=batch, **SIZES)
    return accelerator, graph, plan(graph, accelerator.manifest.parameters, batch)


def overlap(a, b):
    return (
        a.first <= b.last and b.first <= a.last and a.address < b.address + b.bytes and b.address < a.address + a.bytes
    )


def test_no_two_blocks_are_in_one_place_at_a_time(built):
    accelerator, _, _ = built
    blocks = occupancy(accelerator).blocks
    assert blocks
    assert not [pair for pair in combinations(blocks, 2) if overlap(*pair)]


def test_all_that_the_program_touches_lies_in_a_block(built):
    """Instructions know what they read and write on chip; a whole read may reach a vector beyond its map."""
    accelerator, _, made = built
    blocks = occupancy(accelerator).blocks
    for instruction in made.program:
        start, end = instruction.chip_writes
        if start == end or instruction.operation not in (Operation.LOAD, Operation.VECTOR):
            continue
        holders = [
            b
            for b in blocks
            if b.first <= instruction.layer <= b.last and b.address <= start and end <= b.address + b.bytes
        ]
        assert len(holders) == 1, (instruction.operation, made.layers[instruction.layer].name, start, end)


def test_every_map_that_stays_on_chip_is_there_whole(built):
    accelerator, _, made = built
    maps = {block.name: block for block in occupancy(accelerator).blocks if block.what == "map"}
    assert maps.keys() == made.layout.resident.keys()
    for name, block in maps.items():
        channels, rows, columns = made.graph.tensors[name].shape
        assert block.bytes == channels * rows * columns
        for number, layer in enumerate(made.layers):
            if name in (*layer.inputs, layer.output):
                assert block.first <= number <= block.last


def test_what_is_taken_is_counted_layer_by_layer():
    blocks = (Block("map", "a", 0, 1, 0, 100), Block("input", "l", 1, 1, 200, 30), Block("map", "b", 3, 3, 0, 7))
    assert Occupancy(blocks, 4, 1024).taken == [100, 130, 0, 7]


def test_memories_on_chip_say_how_full_they_get(built):
    accelerator, graph, made = built
    p = accelerator.manifest.parameters
    occupied = occupancy(accelerator)
    activations, accumulators, fifo = on_chip(accelerator, occupied, layer_rows(accelerator, graph, None))
    peak = max(occupied.taken)
    at = made.layers[occupied.taken.index(peak)].name
    assert 0 < peak <= activations.bytes == 6 * 1024
    assert activations.used == f"at most {peak:,} bytes ({peak / 6144:.1%}), during '{at}'"
    positions = max(
        (i.fields["rows"] + 1) * (i.fields["columns"] + 1) for i in made.program if i.operation == Operation.ARRAY
    )
    assert positions <= p.accumulator_depth == 512
    assert accumulators.bytes == 32 * 1024
    assert accumulators.used.startswith(
        f"at most {positions:,} of 512 positions of each half ({positions / 512:.1%}), by"
    )
    assert (fifo.bytes, fifo.used) == (4096, "has room for 64 tiles of 8 by 8 weights, fetched ahead")


def test_regions_of_dram_come_in_order_and_fill_it(built):
    accelerator, _, _ = built
    regions = in_dram(accelerator)
    assert {"constants", "input", "output", "program"} <= {region.name for region in regions}
    assert all(a.address + a.bytes <= b.address for a, b in pairwise(regions))
    assert regions[-1].address + regions[-1].bytes == accelerator.memory_bytes
    assert all(region.bytes for region in regions)
