"""Averages whose totals slide: which do, on what accelerators, and that programs compute what golden does."""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from systolith.hw.build import general_parameters, parameters_for
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.order import vector_cycles
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.sliding import interval, lead, reads, row_lead, slides, whole_reads
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict
from systolith.quant import AveragePool, Concat, ConfigurationError, Graph, check

from .branches import Branches
from .hw_networks import check_against_golden, planned
from .test_system import run

LATENCY = 30
ALL_LANES = {"rows": 16, "columns": 16, "lanes": 16, "bus_bytes": 16}


@cache
def average(kernel, strides=(1, 1), pads=(0, 0, 0, 0), include_pad=True, shape=(20, 9, 13), ceil=(0, 0)):
    """An average and nothing else."""
    c = Branches(5, shape)
    c.add(AveragePool("average", "x", "y", kernel, strides, pads, include_pad, ceil))
    return check(Graph(("x",), ("y",), tuple(c.layers), c.tensors))


def geometry(graph):
    (layer,) = lower(graph, 8)
    return layer.geometry


@cache
def block(side=17, depth=48, wide=16):
    """An inception module: three branches of convolutions, and one whose average is the vector unit's alone."""
    c = Branches(0, (depth, side, side))
    first = c.conv("x", depth, 1)
    branches = [
        c.conv(first, wide, 1),
        c.conv(c.conv(first, wide, 1), wide, 3),
        c.conv(c.average(first, (3, 3), 1, 1, include_pad=True), wide, 1),
    ]
    for name in branches[1:]:  # one grid
        c.feature_map(name, c.map_of(name).shape, c.map_of(branches[0]))
    name, output = c.names()
    last = c.add(Concat(name, tuple(branches), output), c.map_of(branches[0]))
    last = c.average(last, (3, 3), 1, 1, include_pad=False)
    return check(Graph(("x",), (c.conv(last, wide, 1),), tuple(c.layers), c.tensors))


def settings_of(made):
    return [it.fields for it in made.program if it.operation == Operation.SETUP and it.fields["from_map"]]


@pytest.mark.parametrize(
    ("kernel", "strides", "lanes", "width"),
    [
        ((3, 3), (1, 1), 16, 3),
        ((3, 3), (1, 1), 4, 3),
        ((3, 3), (2, 2), 16, 3),  # two of three columns are new
        ((7, 7), (1, 1), 16, 7),
        ((8, 8), (1, 1), 16, 8),
        ((1, 13), (1, 1), 16, 0),  # one result
        ((3, 3), (1, 3), 16, 0),  # no column is read twice
        ((3, 1), (1, 1), 16, 0),
        ((2, 2), (1, 1), 4, 0),  # the lanes take as long as the reads
        ((9, 8), (1, 1), 16, 0),  # more elements than a window's total holds
    ],
)
def test_totals_slide_where_that_is_faster(kernel, strides, lanes, width):
    graph = average(kernel, strides)
    p = parameters_for(graph, rows=16, columns=16, lanes=lanes)
    assert p.sliding == width
    assert slides(geometry(graph), p) == (width > 0)
    assert [f.get("slides", 0) for f in settings_of(plan(graph, p))] == [width > 0]


@pytest.mark.parametrize(("width", "sliding"), [(16, 16), (17, 0)])
def test_of_a_signal_sixteen_samples_slide(width, sliding):
    graph = average((1, width), shape=(20, 1, 40))
    assert parameters_for(graph, rows=16, columns=16).sliding == sliding


def test_a_row_costs_its_first_window_and_the_new_columns_of_each_further_one():
    g = geometry(average((3, 3), pads=(1, 1, 1, 1)))
    with_it, without = (Parameters(rows=16, columns=16, lanes=16, operands=True, sliding=n) for n in (3, 0))
    assert (whole_reads(g), reads(g, with_it), reads(g, without)) == (9, 3, 9)
    assert (interval(g, with_it), lead(g, with_it), lead(g, without)) == (3, 6, 0)
    few = replace(with_it, lanes=4)
    assert (interval(g, few), lead(g, few)) == (4, 5)
    cut = geometry(average((3, 3), pads=(1, 1, 1, 1), include_pad=False))
    assert row_lead(cut, with_it) == 3 * row_lead(g, with_it), "left, middle, right: each begins anew"
    (layer,) = lower(average((3, 3), pads=(1, 1, 1, 1)), 8)
    assert vector_cycles(layer, with_it) == 2 * 9 * (13 * 3 + 6)
    assert vector_cycles(layer, without) == 2 * 9 * 13 * 9


@pytest.mark.parametrize("include_pad", [True, False])
@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 6, 7])
def test_programs_compute_what_golden_does(kernel, include_pad):
    """Asymmetric padding, windows that hang over the map; in tiles of some columns, and in one piece."""
    across = [(1, (1, kernel - 1, 2, 0), (0, 0)), (2, (0, kernel // 2, 1, kernel - 1), (0, 1))]
    for (stride, pads, ceil), kib in product(across, (2, 64)):
        graph = average((3, kernel), (1, stride), pads, include_pad, ceil=ceil if include_pad else (0, 0))
        made = planned(graph, rows=8, columns=8, lanes=8, activation_kib=kib, accumulator_kib=1)
        assert any(f.get("slides") for f in settings_of(made)) == (stride < kernel)
        check_against_golden(made)


def test_a_general_accelerator_has_it_and_one_without_runs_the_network_all_the_same():
    graph = block()
    general = general_parameters(**ALL_LANES)
    assert general.sliding == 16
    assert parameters_for(graph, **ALL_LANES).sliding == 3
    without = parameters_for(graph, **ALL_LANES, sliding=0)
    assert not any("slides" in f for f in settings_of(plan(graph, without)))
    check_against_golden(plan(graph, without))
    check_against_golden(plan(graph, parameters_for(graph, **ALL_LANES)))
    assert without.fingerprint != parameters_for(graph, **ALL_LANES).fingerprint
    assert general_parameters(**ALL_LANES, operands=False, tables=False).sliding == 0


def test_a_network_that_waits_for_its_averages_is_faster():
    graph = block()
    before, after = (
        predict(planned(graph, **ALL_LANES, **with_it), LATENCY).cycles for with_it in ({"sliding": 0}, {})
    )
    assert after < 0.75 * before


@pytest.mark.parametrize("sliding", [1, 17])
def test_widths_that_are_none_are_refused(sliding):
    with pytest.raises(ConfigurationError, match=f"^sliding must be 2 to 16, not {sliding}$"):
        Parameters(rows=4, columns=4, operands=True, sliding=sliding)


def test_it_needs_operands():
    with pytest.raises(ConfigurationError, match=r"^sliding needs operands$"):
        Parameters(rows=4, columns=4, sliding=3)


SIMULATED = {
    "16x16": {**ALL_LANES, "activation_kib": 64},
    "4x4": {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 64},
}


@pytest.mark.parametrize("sizes", SIMULATED.values(), ids=SIMULATED)
def test_a_simulated_block_is_exact_in_the_predicted_cycles(sizes, tmp_path):
    report, made = run(block(), sizes, tmp_path, images=2)
    assert any(f.get("slides") for f in settings_of(made))
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=0.01)


def test_a_block_is_exact_on_a_bus_that_stalls(tmp_path):
    run(block(9, 24, 8), {**SIMULATED["4x4"], "activation_kib": 3}, tmp_path, images=1, bench="protocol", seed=7)
