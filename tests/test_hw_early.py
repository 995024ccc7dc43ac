"""Fully connected layers begin with what is there, before the layer before them has ended."""

from __future__ import annotations

from itertools import pairwise

import pytest

from systolith.hw.compiler.plan import Plan
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict
from systolith.quant import Graph

from .hw_networks import check_against_golden, planned
from .models import Builder
from .test_hw_depthwise import quantized

SIZES = {
    "4x4": {"rows": 4, "columns": 4, "bus_bytes": 8},
    "8x8": {"rows": 8, "columns": 8, "bus_bytes": 8},
    "16x16": {"rows": 16, "columns": 16, "bus_bytes": 16},
    "5x3": {"rows": 5, "columns": 3, "bus_bytes": 4},
}


def head(seed: int, *widths: int) -> Graph:
    net = Builder((6, 4, 4), seed=seed).conv(6, 10, 3, pads=[1, 1, 1, 1]).relu()
    net.conv(10, widths[0], 4).relu()
    for before, after in pairwise(widths):
        net.conv(before, after, 1).relu()
    return quantized(net)


def arrays(made: Plan, n: int) -> list[int]:
    return [i for i, it in enumerate(made.program) if it.layer == n and it.operation == Operation.ARRAY]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("widths", [(40, 33, 7), (17, 50, 21, 3), (5, 4, 3)])
def test_heads_compute_what_golden_does(widths, sizes):
    made = planned(head(1, *widths), **sizes)
    check_against_golden(made, 1)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 1), (5, 4)], ids=str)
def test_kernels_that_reach_beyond_the_map_compute_what_golden_does(size, sizes):
    """Where a run is not the channels of one pixel alone, a layer begins with kernel rows, or with all of them."""
    for seed, kernel in enumerate([(3, 3), (5, 5), (1, 3), (3, 1), (2, 2)]):
        pads = [(k - 1) // 2 for k in kernel] + [k // 2 for k in kernel]
        net = Builder((6, *size), seed=seed).conv(6, 21, 1).relu().conv(21, 19, kernel, pads=pads).relu()
        check_against_golden(planned(quantized(net.conv(19, 9, kernel, pads=pads)), **sizes), seed)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_first_part_waits_for_no_result_of_the_last_channel_tile(sizes):
    made = planned(head(2, 40, 33, 7), **sizes)
    rows, columns = sizes["rows"], sizes["columns"]
    for n, inputs in ((2, 40), (3, 33)):
        first, second, *_ = (made.program[i] for i in arrays(made, n))
        there = (inputs - 1) // columns * columns // rows * rows
        chunks = there // rows
        assert (first.fields["passes"], first.fields["first"], first.fields["last"]) == (chunks - 1, 1, 0)
        assert (second.fields["passes"], second.fields["first"], second.fields["last"]) == (
            -(-inputs // rows) - chunks - 1,
            0,
            1,
        )
        assert first.chip_reads[0][1] == second.chip_reads[0][0]
        before = [i for i in made.program if i.layer == n - 1 and i.operation == Operation.VECTOR]
        assert before[-1].fields["tiles"] == 0, "the last channel tile alone keeps it waiting"
        assert before[-1].chip_writes[0] >= first.chip_reads[0][1]


def test_the_array_works_on_from_layer_to_layer():
    """It would wait some 80 cycles for the vector unit's last results otherwise, three times."""
    made = planned(head(3, 120, 84, 40), **SIZES["16x16"])
    spans = {layer: (begin, end) for layer, begin, end, _ in predict(made, 30).timeline["array"]}
    for n in (2, 3):
        assert spans[n][0] - spans[n - 1][1] <= 4, spans
