"""The report's timeline: few intervals stay as they are, many become few bars that say as much."""

from itertools import pairwise

import numpy as np
import pytest

from systolith.report.timeline import LEVELS, bars, busy_share


def pieces(count, span, layers, seed):
    """Random intervals one after another, each layer's together."""
    random = np.random.default_rng(seed)
    ends = np.sort(random.choice(np.arange(1, span), 2 * count, replace=False)).reshape(-1, 2)
    owners = np.sort(random.integers(0, layers, count))
    return [[int(owner), int(start), int(end)] for owner, (start, end) in zip(owners, ends, strict=True)]


def test_few_intervals_stay_as_they_are():
    found = bars([[0, 0, 10], [1, 12, 12], [1, 20, 35]], 40)
    assert [(bar.layer, bar.start, bar.end, bar.share) for bar in found] == [(0, 0, 10, 1.0), (1, 20, 35, 1.0)]


@pytest.mark.parametrize("seed", range(3))
def test_many_intervals_become_few_bars_that_cover_the_same_time(seed):
    span = 90_000_000
    intervals = pieces(50_000, span, 130, seed)
    found = bars(intervals, span)
    assert 100 < len(found) <= 2000
    busy = sum(end - start for _, start, end in intervals)
    shown = sum((bar.end - bar.start) * bar.share for bar in found)
    assert busy <= shown <= busy + span / LEVELS
    assert {bar.layer for bar in found} == set(range(130))
    assert all(before.end <= after.start for before, after in pairwise(found))


def test_a_bin_belongs_to_the_layer_that_has_most_of_it():
    intervals = [[0, 0, 30], [1, 30, 100], [2, 100, 140], [0, 140, 150]]
    (first, second) = bars(intervals, 200, most=2)
    assert (first.layer, first.start, first.end, first.share) == (1, 0, 100, 1.0)
    assert (second.layer, second.start, second.end, second.share) == (2, 100, 200, 0.5)


def test_an_idle_unit_has_no_bars():
    assert bars([], 100) == []
    assert bars([[0, 0, 1]] * 3, 100, most=2)[0].end == 50


def test_the_busy_share_counts_overlaps_once():
    assert busy_share([[0, 0, 50], [1, 25, 60], [1, 30, 40], [0, 90, 100]], 100) == 0.7
    assert busy_share([], 100) == 0.0
