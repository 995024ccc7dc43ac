"""The choice of a relay's tiles: what shapes take of the activation memory and in cycles, for both layers together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..isa.parameters import INSTRUCTION_BYTES, Parameters
from .cost import DRAIN_GAP, SHARED, Integers, Reals, Shapes, Traffic, beyond_queue, writing
from .cutting import channel_tiles, even, slicings, source_columns, source_rows, spatial_tile, tiles_of, whole
from .geometry import Geometry
from .kernel_steps import kernel, lines_fit
from .packing import pass_cycles, tile_words
from .relay import PLANES, source_tile
from .sliding import interval
from .span import size
from .tiling import Tiling

GAP = 2
"""Cycles between two of the array's instructions that are of different layers, about."""

VECTOR_GAP = 25
"""Cycles from the last vector of a channel tile to the next one's first, about."""

SETTING = 8
"""Cycles that the vector unit takes to be set up for the other layer, about."""

DISPATCH = 4
"""Cycles to fetch and dispatch an instruction."""

TRIED = 200
"""Shapes whose slots are laid out, cheapest first, until those of one fit."""

Slots = tuple[tuple[int, int], ...]
"""How many slots, and elements of each: of the taker's output, of the planes, of the maker's input."""


Addresses = list[tuple[int, ...]]
"""Of tables of maker and taker, and of all slots."""


@dataclass(frozen=True)
class Relay:
    """A tiling for maker and taker, whose cost is that of both, and where their tables and slots lie."""

    made: Tiling
    taken: Tiling
    addresses: Addresses

    @property
    def cost(self) -> float:
        return self.made.cost + self.taken.cost


@dataclass(frozen=True)
class _Cut:
    """One axis of the taker's result, cut into spans: rows, or columns, of all of them together.

    made : of the maker's results, the taker's spans with what two of them share;  source : of the maker's input
    made_windows, taken_windows : that pass through the array for each layer
    most_, least_, first_ : of the largest, the smallest and the first span alone
    """

    made: int
    most_made: int
    least_made: int
    made_windows: int
    least_taken: int
    taken_windows: int
    source: int
    most_source: int
    first_source: int


@lru_cache(maxsize=1024)
def _cut(maker: Geometry, taker: Geometry, p: Parameters, axis: int, length: int) -> _Cut:
    """``axis`` 0 for rows, 1 for columns, in spans of ``length`` results of the taker at most."""
    k, own, (part,) = kernel(maker, p), kernel(taker, p), whole(maker, p).parts
    taken = even(taker.target[1 + axis], -(-taker.target[1 + axis] // length))
    made: list[int] = []
    source: list[int] = []
    for span in taken:
        rows, columns = (span, (0, 1)) if axis == 0 else ((0, 1), span)
        tile = source_tile(maker, taker, p, spatial_tile(taker, rows, columns))
        made.append(size((tile.rows, tile.columns)[axis]))
        source.append(size((source_rows, source_columns)[axis](maker, k, tile, part)))
    return _Cut(
        sum(made),
        max(made),
        min(made),
        sum(k.windows(axis, count) for count in made),
        min(map(size, taken)),
        sum(own.windows(axis, size(span)) for span in taken),
        sum(source),
        max(source),
        source[0],
    )


class RelayTilings:
    """All tilings of a relay, measured once, for any room.

    load : whether the maker's input comes from DRAM;  traffic : the taker's, which loads nothing
    """

    def __init__(self, maker: Geometry, taker: Geometry, p: Parameters, load: bool, traffic: Traffic) -> None:
        traffic = replace(traffic, load=False, begins=False)
        sliced = slicings(taker, p) if traffic.store else [0]
        self._shaped = [_Shaped(maker, taker, p, load, traffic, tiles) for tiles in sliced]

    def best(self, packed: Callable[[Slots], Addresses | None]) -> Relay | None:
        """The cheapest whose slots ``packed`` finds room for, or None."""
        total = np.concatenate([shaped.total for shaped in self._shaped])
        first = np.cumsum([0, *(len(shaped.total) for shaped in self._shaped)])
        for at in np.argsort(total, kind="stable")[:TRIED].tolist():
            if total[at] == np.inf:
                break
            number = int(np.searchsorted(first, at, side="right")) - 1
            shaped, shape = self._shaped[number], at - int(first[number])
            if (addresses := packed(shaped.slots(shape))) is not None:
                return Relay(*shaped.tilings(shape), addresses)
        return None


class _Shaped:
    """Of each shape of the taker's tile, with slices of so many of its channel tiles, elements and cycles.

    made_pieces, taken_pieces : that one after the other go through the accumulators
    """

    def __init__(
        self, maker: Geometry, taker: Geometry, p: Parameters, load: bool, traffic: Traffic, sliced: int
    ) -> None:
        self.maker, self.taker, self.p = maker, taker, p
        self.shapes = shapes = Shapes(taker, p, traffic, sliced)
        rows = [_cut(maker, taker, p, 0, int(length)) for length in shapes.rows]
        columns = [_cut(maker, taker, p, 1, int(length)) for length in shapes.columns]
        self.count, self.tiles = shapes.count, len(channel_tiles(taker, p)[0])

        def both(name: str) -> Integers:
            return _every(rows, name) * _every(columns, name)

        self.plane = shapes.whole_beats(both("most_made") * p.columns)
        self.input_slot = shapes.whole_beats(both("most_source") * maker.source[0] * load)
        wide, depth = _every(columns, "most_made"), p.accumulator_depth
        self.made_pieces = -(-_every(rows, "most_made") // np.maximum(depth // wide, 1))
        self.taken_pieces = -(-shapes.rows // np.maximum(depth // shapes.columns, 1))
        possible = (wide <= depth) & (shapes.columns <= depth)
        possible &= (self.made_pieces <= _every(rows, "least_made")) & (
            self.taken_pieces <= _every(rows, "least_taken")
        )
        own = kernel(taker, p)
        possible &= np.array([lines_fit(own, own.windows(1, int(n)), p) for n in shapes.columns])
        made_windows = self._windows(maker, rows, columns, "made_windows", self.made_pieces)
        taken_windows = self._windows(taker, rows, columns, "taken_windows", self.taken_pieces)
        steps = self.count * self.tiles
        # stores that wait for a full queue hold up the array's instructions behind them
        stores, storing = shapes.stores()
        queued = storing * beyond_queue(stores / (self.count * shapes.slices))
        # where a vector comes every cycle, the vector unit is behind the array by what is between channel tiles
        behind = self.tiles * both("made") * (interval(maker, p) - whole(maker, p).passes(p))
        behind = np.maximum(behind + steps * self.made_pieces * VECTOR_GAP, 0)
        self.array = made_windows + taken_windows + steps * 2 * GAP + queued + behind
        vectors = self.tiles * (both("made") * interval(maker, p) + taker.target[1] * taker.target[2])
        pieces = steps * (self.made_pieces + self.taken_pieces)
        self.vector = vectors + pieces * (p.parameter_rows + DRAIN_GAP) + steps * 2 * SETTING
        spans = _every(rows, "source") * shapes.count / shapes.bands
        self.loader = (both("source") * maker.source[0] / p.bus_elements + spans) * load
        instructions = 2 * pieces + 2 * steps
        weights = steps * p.weight_row_bits / 8 * self._weight_rows()
        self.reads = (weights + instructions * INSTRUCTION_BYTES) / p.bus_bytes + self.loader
        _, self.own = shapes.measured(whole(taker, p))
        writes = writing(maker, p, self.loader, vectors)
        busy = [self.array, self.vector, self.reads, self.own.bus, writes, instructions * DISPATCH]
        first = both("first_source") * maker.source[0] / p.bus_elements * load
        total = np.maximum.reduce([np.asarray(cycles, np.float64) for cycles in busy])
        total = total + SHARED * (self.vector + self.reads) + first + self.own.ends
        self.total: Reals = np.where(possible, total, np.inf)

    def _windows(
        self, g: Geometry, rows: Sequence[_Cut], columns: Sequence[_Cut], name: str, pieces: Integers
    ) -> Integers:
        """Cycles of the array for one of the layers: each piece begins with windows that the one before had, too."""
        k, p = kernel(g, self.p), self.p
        again = 2 * k.windows(0, 1) - k.windows(0, 2)
        down = _every(rows, name) + (pieces - 1) * again * self.shapes.bands
        passing = np.maximum(down * _every(columns, name), self.count * pieces * pass_cycles(g, p))
        cycles: Integers = self.tiles * whole(g, p).passes(p) * passing
        return cycles

    def _weight_rows(self) -> Integers:
        """That each channel tile of both draws."""
        p = self.p
        made, taken = (whole(g, p).passes(p) * tile_words(g, p) + p.parameter_rows for g in (self.maker, self.taker))
        rows: Integers = made * self.made_pieces + taken * self.taken_pieces
        return rows

    def slots(self, shape: int) -> Slots:
        count, shapes = int(self.count[shape]), self.shapes
        return (
            (2 if count * shapes.slices > 1 else 1, int(shapes.output_slot[shape])),
            (PLANES, int(self.plane[shape])),
            (2 if count > 1 else 1, int(self.input_slot[shape])),
        )

    def tilings(self, shape: int) -> tuple[Tiling, Tiling]:
        """The maker's tiles are as many as the taker's, and overlap; cycles of both are the taker's."""
        shapes, p, taker, own = self.shapes, self.p, self.taker, self.own
        span = int(shapes.rows[shape]), int(shapes.columns[shape])
        taken = tuple(tiles_of(taker, *span))
        made = tuple(source_tile(self.maker, taker, p, tile) for tile in taken)
        largest, plane = (max(size(t.rows) for t in made), max(size(t.columns) for t in made)), int(self.plane[shape])
        return (
            Tiling(
                largest, len(taken), 1, self.tiles, 1, whole(self.maker, p).parts, int(self.input_slot[shape]), 0,
                plane, 0.0, 0.0, 0.0, float(self.loader[shape]), 0.0, made, pieces=int(self.made_pieces[shape]),
            ),
            Tiling(
                span, len(taken), shapes.sliced, shapes.slices, 1, whole(taker, p).parts, 0, 0,
                int(shapes.output_slot[shape]), float(self.total[shape]), float(self.array[shape]),
                float(max(self.reads[shape], own.bus[shape])), 0.0, float(own.ends[shape]), taken,
                pieces=int(self.taken_pieces[shape]),
            ),
        )  # fmt: skip


def _every(cuts: Sequence[_Cut], name: str) -> Integers:
    return np.array([getattr(cut, name) for cut in cuts], np.int64)
