"""The choice of a relay's tiles: what shapes take of the activation memory and in cycles, for both layers together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from ..isa.parameters import INSTRUCTION_BYTES, Parameters
from .cost import ARRAY_GAP, DRAIN_GAP, SHARED, Costs, Integers, Reals, Shapes, Traffic, drain, interval
from .cutting import channel_tiles, even, slicings, source_columns, source_rows, spatial_tile, tiles_of, whole
from .geometry import Geometry
from .kernel_steps import kernel
from .relay import PLANES, source_tile
from .span import Span, size
from .tiling import CLOSE, Tiling

SETTING = 8
"""Cycles that the vector unit takes to be set up for the other layer, about."""

DISPATCH = 6 * 4
"""Cycles to fetch and dispatch the instructions of a channel tile of both layers."""

HANDED = 40
"""Cycles for which the array waits in each spatial tile until the last plane is whole, about."""


@dataclass(frozen=True)
class _Cut:
    """One axis of the taker's result, cut into spans: what all of them need together, the largest, and the first.

    made, windows : rows or columns of the maker's results, and of its windows;  source : of what it reads
    """

    made: int
    windows: int
    source: int
    most_made: int
    most_source: int
    first_source: int


def _cut(maker: Geometry, taker: Geometry, p: Parameters, axis: int, length: int) -> _Cut:
    k, (part,) = kernel(maker, p), whole(maker, p).parts
    made: list[Span] = []
    source: list[Span] = []
    for span in even(taker.target[1 + axis], -(-taker.target[1 + axis] // length)):
        rows, columns = (span, (0, 1)) if axis == 0 else ((0, 1), span)
        tile = source_tile(maker, taker, p, spatial_tile(taker, rows, columns))
        made.append((tile.rows, tile.columns)[axis])
        source.append((source_rows, source_columns)[axis](maker, k, tile, part))
    return _Cut(
        sum(map(size, made)),
        sum(k.windows(axis, size(span)) for span in made),
        sum(map(size, source)),
        max(map(size, made)),
        max(map(size, source)),
        size(source[0]),
    )


class RelayTilings:
    """All tilings of a relay, measured once, for any room.

    load : whether the maker's input comes from DRAM;  traffic : the taker's, which loads nothing
    """

    def __init__(self, maker: Geometry, taker: Geometry, p: Parameters, load: bool, traffic: Traffic) -> None:
        self.maker, self.taker, self.p, self.load = maker, taker, p, load
        traffic = replace(traffic, load=False, begins=False)
        self._slicings = [
            _Shaped(maker, taker, p, load, traffic, sliced) for sliced in (slicings(taker, p) if traffic.store else [0])
        ]

    def best(self, space: int) -> tuple[Tiling, Tiling] | None:
        """The maker's and the taker's tiling of the smallest of those that cost little more than the cheapest in
        ``space`` elements, or None if none fits."""
        fitting = [np.where(shaped.space <= space, shaped.total, np.inf) for shaped in self._slicings]
        cheapest = min(float(cost.min()) for cost in fitting)
        if cheapest == np.inf:
            return None
        near = [
            (int(shaped.space[shape]), number, int(shape))
            for number, (shaped, cost) in enumerate(zip(self._slicings, fitting, strict=True))
            for shape in np.flatnonzero(cost <= cheapest * CLOSE)
        ]
        _, number, shape = min(near)
        return self._slicings[number].tilings(shape)


class _Shaped:
    """Of each shape of the taker's tile, with slices of so many of its channel tiles, elements and cycles."""

    def __init__(
        self, maker: Geometry, taker: Geometry, p: Parameters, load: bool, traffic: Traffic, sliced: int
    ) -> None:
        self.maker, self.taker, self.p, self.load = maker, taker, p, load
        self.shapes = shapes = Shapes(taker, p, traffic, sliced)
        _, self.own = shapes.measured(whole(taker, p))  # the taker's
        cut = cache(_cut)
        rows = [cut(maker, taker, p, 0, int(length)) for length in shapes.rows]
        columns = [cut(maker, taker, p, 1, int(length)) for length in shapes.columns]
        self.count, self.tiles = shapes.count, len(channel_tiles(taker, p)[0])

        def both(name: str) -> Integers:
            return _every(rows, name) * _every(columns, name)

        self.made = both("made")
        self.largest = both("most_made")
        self.plane = self._whole_beats(self.largest * p.columns)
        self.input_slot = self._whole_beats(both("most_source") * maker.source[0] * load)
        self.space = (
            np.where(self.count > 1, 2, 1) * self.input_slot
            + PLANES * self.plane
            + np.where(self.count * shapes.slices > 1, 2, 1) * shapes.output_slot
        )
        k, passes = kernel(maker, p), whole(maker, p).passes(p)
        self.array = self.tiles * (
            passes * np.maximum(both("windows"), self.count * p.pass_cycles) + self.count * ARRAY_GAP
        ).astype(np.float64)
        lines = _every(rows, "source").astype(np.float64)
        beats = _every(columns, "source") * maker.source[0] / p.bus_elements + shapes.count / shapes.bands
        self.loader: Reals = lines * beats * load
        first = both("first_source") * maker.source[0] / p.bus_elements * load
        self.total = self._cycles(first)
        possible = shapes.possible & (self.largest <= p.accumulator_depth)
        self.total = np.where(possible, self.total, np.inf)
        assert not k.depthwise

    def _whole_beats(self, elements: Integers) -> Integers:
        return elements + -elements % self.p.bus_elements

    def _cycles(self, first: Reals) -> Reals:
        p, count, tiles = self.p, self.count, self.tiles
        vectors = tiles * (self.made + self.taker.target[1] * self.taker.target[2])
        self.vector = tiles * (
            self.made * interval(self.maker, p) + count * (p.parameter_rows + DRAIN_GAP + 2 * SETTING)
        ) + drain(self.taker, p, count, tiles)
        steps = sum(whole(g, p).passes(p) for g in (self.maker, self.taker))
        weights = tiles * (steps * p.rows + 2 * p.parameter_rows) * p.weight_row_bits / 8
        self.reads = count * (weights + (6 * tiles + 3) * INSTRUCTION_BYTES) / p.bus_bytes + self.loader
        array = self.array + self.own.array + count * HANDED
        writes = self.loader + vectors
        if self.maker.source[0] % p.bus_elements == 0:
            writes = np.maximum(self.loader, vectors)
        busiest = np.maximum.reduce(
            [array, self.vector, self.reads, self.own.bus, writes, (count * tiles * DISPATCH).astype(np.float64)]
        )
        return busiest + SHARED * (self.vector + self.reads) + first + self.own.ends

    def tilings(self, shape: int) -> tuple[Tiling, Tiling]:
        """The maker's tiles are as many as the taker's, and overlap; the pair's cost is the taker's."""
        shapes, p, taker = self.shapes, self.p, self.taker
        span = int(shapes.rows[shape]), int(shapes.columns[shape])
        taken = tuple(tiles_of(taker, *span))
        made = tuple(source_tile(self.maker, taker, p, tile) for tile in taken)
        count, largest = len(taken), (max(size(t.rows) for t in made), max(size(t.columns) for t in made))
        own: Costs = self.own
        return (
            Tiling(
                largest, count, 1, self.tiles, 1, whole(self.maker, p).parts, int(self.input_slot[shape]), 0,
                int(self.plane[shape]), 0.0, float(self.array[shape]), float(self.reads[shape]),
                float(self.loader[shape]), 0.0, made,
            ),
            Tiling(
                span, count, shapes.sliced, shapes.slices, 1, whole(taker, p).parts, int(self.plane[shape]), 0,
                int(shapes.output_slot[shape]), float(self.total[shape]), float(own.array[shape]),
                float(own.bus[shape]), 0.0, float(own.ends[shape]), taken,
            ),
        )  # fmt: skip


def _every(cuts: Sequence[_Cut], name: str) -> Integers:
    return np.array([getattr(cut, name) for cut in cuts], np.int64)
