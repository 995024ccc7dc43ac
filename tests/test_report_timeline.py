"""The report's timeline: few intervals stay as they are, many become few bars that say as much; waiting is no work."""

from itertools import pairwise

import numpy as np
import pytest

from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Operation
from systolith.hw.manifest import Work
from systolith.report.timeline import (
    LEVELS,
    MOST_BARS,
    bars,
    working_share,
)

from .lenet import lenet5
from .report_builds import accelerator_of


def pieces(count, span, layers, seed):
    """Random intervals one after another, each layer's together, with work in half of each."""
    random = np.random.default_rng(seed)
    cycles = random.permutation(np.unique(random.integers(1, span, 3 * count)))[: 2 * count]
    ends = np.sort(cycles).reshape(-1, 2)
    owners = np.sort(random.integers(0, layers, count))
    return [
        Work(int(o), int(start), int(end), int(end - start + 1) // 2)
        for o, (start, end) in zip(owners, ends, strict=True)
    ]


def test_few_intervals_stay_as_they_are():
    found = bars([Work(0, 0, 10, 5), Work(1, 12, 13, 0), Work(1, 20, 35, 15)], 40)
    assert [(bar.layer, bar.start, bar.end, bar.share) for bar in found] == [(0, 0, 10, 0.5), (1, 20, 35, 1.0)]


@pytest.mark.parametrize("seed", range(3))
def test_many_intervals_become_few_bars_of_as_much_work(seed):
    span = 90_000_000
    intervals = pieces(50_000, span, 130, seed)
    found = bars(intervals, span)
    assert 100 < len(found) <= MOST_BARS
    worked = sum(item.work for item in intervals)
    shown = sum((bar.end - bar.start) * bar.share for bar in found)
    assert worked <= shown <= worked + span / LEVELS
    assert {bar.layer for bar in found} == set(range(130))
    assert all(before.end <= after.start for before, after in pairwise(found))


def test_a_bin_belongs_to_the_layer_that_has_most_of_it():
    intervals = [Work(0, 0, 30, 30), Work(1, 30, 100, 35), Work(2, 100, 140, 40), Work(0, 140, 150, 10)]
    (first, second) = bars(intervals, 200, most=2)
    assert (first.layer, first.start, first.end, first.share) == (1, 0, 100, 0.65)
    assert (second.layer, second.start, second.end, second.share) == (2, 100, 200, 0.5)


def test_an_idle_unit_has_no_bars():
    assert bars([], 100) == []
    assert bars([Work(0, 0, 90, 0)] * 3, 100, most=2) == []
    assert bars([Work(0, 0, 1, 1)] * 3, 100, most=2)[0].end == 50


def test_a_share_counts_work_and_no_waiting():
    assert working_share([Work(0, 0, 50, 20), Work(1, 25, 60, 10), Work(1, 90, 100, 0)], 100) == 0.3
    assert working_share([], 100) == 0.0


def test_work_is_what_the_program_has_each_unit_do():
    """Windows for the array, and beats for those who move maps; nobody works more than there is time."""
    graph, _ = lenet5("float")
    accelerator = accelerator_of(graph, rows=8, columns=8, bus_bytes=8, activation_kib=2)
    manifest = accelerator.manifest
    program = plan(graph, manifest.parameters).program
    wanted = dict.fromkeys(("array", "loader", "storer"), 0)
    for i in program:
        f = i.fields
        if i.operation == Operation.ARRAY:
            wanted["array"] += (f["rows"] + 1) * (f["columns"] + 1) * (f["passes"] + 1) * (f["tiles"] + 1)
        elif i.operation in (Operation.LOAD, Operation.STORE):
            starts = [f["dram"] + row * f["dram_step"] for row in range(f["rows"] + 1)]
            beats = sum((start % 8 + f["bytes"]) // 8 + 1 for start in starts)
            wanted["loader" if i.operation == Operation.LOAD else "storer"] += beats
    timeline = dict(manifest.timeline)
    assert {unit: sum(item.work for item in timeline[unit]) for unit in wanted} == wanted
    for unit, found in timeline.items():
        assert all(item.work <= item.end - item.start for item in found), unit
    shares = {unit: working_share(found, accelerator.predicted_cycles) for unit, found in timeline.items()}
    assert shares["array"] > 0.5
    assert 0.04 < shares["vector"] < 0.15, "it waits for sums nearly always"
