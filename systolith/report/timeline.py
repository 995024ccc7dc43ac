"""The timeline of a report: which layer each unit is on and how much it works, thinned to a light picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..hw.manifest import Work

UNITS = ("array", "vector", "loader", "storer")
MOST_BARS = 1000
LEVELS = 20


@dataclass(frozen=True)
class Bar:
    """Layer ``layer`` from ``start`` to ``end``, cycles, its unit at work for ``share`` of them (0 to 1)."""

    layer: int
    start: float
    end: float
    share: float


def bars(intervals: Sequence[Work], span: int, most: int = MOST_BARS) -> list[Bar]:
    """At most ``most`` bars that stand for ``intervals`` within 0 .. ``span``.

    All of them as they are, if they are few.  Else time is cut into ``most`` bins; a bin belongs to the layer that has
    most of it, its share is how much of it the unit works, on any layer, and equal neighbours are one bar.
    """
    if len(intervals) <= most:
        return [Bar(layer, start, end, work / (end - start)) for layer, start, end, work in intervals if work]
    edges = np.linspace(0, span, most + 1)
    found = np.array(intervals, np.int64)
    work = np.zeros(most)
    largest, owner = np.zeros(most), np.full(most, -1)
    for layer in np.unique(found[:, 0]):
        starts, ends, worked = found[found[:, 0] == layer][:, 1:].T
        length = np.maximum(ends - starts, 1)
        time = _time(starts, ends, np.ones(len(starts)), edges)
        work += _time(starts, ends, worked / length, edges)
        more = time > largest
        largest[more], owner[more] = time[more], layer
    shares = np.minimum(work / (edges[1] - edges[0]), 1)
    levels = np.ceil(np.round(shares * LEVELS, 6)).astype(int)
    return _merged(owner, levels, edges)


def _time(
    starts: NDArray[np.int64], ends: NDArray[np.int64], weights: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Cycles of the intervals in each bin, each times its weight: differences of the cycles before each edge."""
    before = np.zeros(len(edges))
    for sign, points in ((1, starts), (-1, ends)):
        order = np.argsort(points)
        ordered, weighed = points[order], weights[order]
        counts = np.concatenate([[0.0], np.cumsum(weighed)])
        sums = np.concatenate([[0.0], np.cumsum(weighed * ordered)])
        passed = np.searchsorted(ordered, edges)
        before += sign * (counts[passed] * edges - sums[passed])
    return np.diff(before)


def _merged(owner: NDArray[np.int64], levels: NDArray[np.int64], edges: NDArray[np.float64]) -> list[Bar]:
    changes = np.flatnonzero((np.diff(owner) != 0) | (np.diff(levels) != 0)) + 1
    cuts = [0, *changes.tolist(), len(owner)]
    return [
        Bar(int(owner[first]), float(edges[first]), float(edges[last]), levels[first] / LEVELS)
        for first, last in pairwise(cuts)
        if owner[first] >= 0 and levels[first]
    ]


def working_share(intervals: Sequence[Work], span: int) -> float:
    """Share of 0 .. ``span`` that a unit works: what it waits for and what travels through it is no work."""
    return sum(work for *_, work in intervals) / span if span else 0.0
