"""The timeline of a report: which layer each unit works on, thinned so that a long run stays a light picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Interval = Sequence[int]  # layer, first cycle, cycle after the last
MOST_BARS = 2000
LEVELS = 20


@dataclass(frozen=True)
class Bar:
    """Layer ``layer`` from ``start`` to ``end``, cycles, its unit busy for ``share`` of them (0 to 1)."""

    layer: int
    start: float
    end: float
    share: float


def bars(intervals: Sequence[Interval], span: int, most: int = MOST_BARS) -> list[Bar]:
    """At most ``most`` bars that stand for ``intervals`` within 0 .. ``span``.

    All of them as they are, if they are few.  Else time is cut into ``most`` bins; a bin belongs to the layer that has
    most of it, its share is how much of it the unit is busy, for any layer, and equal neighbours are one bar.
    """
    if len(intervals) <= most:
        return [Bar(layer, start, end, 1.0) for layer, start, end in intervals if end > start]
    edges = np.linspace(0, span, most + 1)
    found = np.array(intervals, np.int64)
    busy = np.zeros(most)
    largest, owner = np.zeros(most), np.full(most, -1)
    for layer in np.unique(found[:, 0]):
        mine = found[found[:, 0] == layer]
        time = _busy(mine[:, 1], mine[:, 2], edges)
        busy += time
        more = time > largest
        largest[more], owner[more] = time[more], layer
    shares = np.minimum(busy / (edges[1] - edges[0]), 1)
    levels = np.ceil(shares * LEVELS).astype(int)
    return _merged(owner, levels, edges)


def _busy(starts: NDArray[np.int64], ends: NDArray[np.int64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cycles of the intervals in each bin: differences of the cycles before each edge."""
    before = np.zeros(len(edges))
    for sign, points in ((1, starts), (-1, ends)):
        ordered = np.sort(points)
        sums = np.concatenate([[0], np.cumsum(ordered)])
        passed = np.searchsorted(ordered, edges)
        before += sign * (passed * edges - sums[passed])
    return np.diff(before)


def _merged(owner: NDArray[np.int64], levels: NDArray[np.int64], edges: NDArray[np.float64]) -> list[Bar]:
    changes = np.flatnonzero((np.diff(owner) != 0) | (np.diff(levels) != 0)) + 1
    cuts = [0, *changes.tolist(), len(owner)]
    return [
        Bar(int(owner[first]), float(edges[first]), float(edges[last]), levels[first] / LEVELS)
        for first, last in pairwise(cuts)
        if owner[first] >= 0 and levels[first]
    ]


def busy_share(intervals: Sequence[Interval], span: int) -> float:
    """Share of 0 .. ``span`` inside any of ``intervals``."""
    total, reached = 0, 0
    for _, start, end in sorted(intervals, key=lambda interval: interval[1]):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total / span if span else 0.0
