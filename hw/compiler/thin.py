"""Which convolutions of few outputs become others that fill the array's columns: see beside and stacked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from ...quant.graph import Graph, Tensor
from ..isa.parameters import Parameters
from ..isa.program import TABLE_ENTRIES
from .beside import beside, may_be_beside, widened
from .cost import Traffic
from .counters import beyond
from .cutting import tile_count, whole
from .engine_layer import EngineLayer
from .geometry import Geometry
from .needs import reads_maps_as_they_are
from .packing import pass_cycles
from .sliding import rows_of_results
from .stacked import alike, in_turns, joined, may_take_turns, stacked, step_of
from .tiling import Tilings

GAIN = 0.98
"""Of a layer's cycles, what it may take at most to be changed: estimates are that good."""

POOLED_GAIN = 0.9
"""The same behind a pooling, where tiles are short."""

TRIED = 4
"""Changes of a layer, those of least work, whose tilings are compared."""

FEW_TILES, TILES = 4, 16
"""Channel tiles that neighbours fill, at most: any number of them, and those that divide a row."""

TURNS = 8
"""Rows that take turns, at most."""

SHOWS = 0.15
"""Of the vector unit's copies, what the array's work does not hide, about."""

Pieces = list[EngineLayer]


def thinned(layers: Sequence[EngineLayer], graph: Graph, p: Parameters) -> tuple[Graph, tuple[EngineLayer, ...]]:
    """``graph``'s ``layers``, changed wherever that is faster by the planner's own estimate.

    The graph has the tensors that they write beyond its own.
    """
    chooser = _Chooser(graph, p)
    made: list[EngineLayer] = []
    for group in groups_of(layers):
        made += chooser.best(group)
    return extended(graph, made), tuple(made)


def extended(graph: Graph, layers: Sequence[EngineLayer]) -> Graph:
    """``graph`` with the tensors of ``layers`` that it does not have."""
    tensors: dict[str, Tensor] = {
        it.output: replace(graph.tensors[it.tensor], name=it.output, shape=it.target) for it in layers if it.rearranged
    }
    return replace(graph, tensors={**graph.tensors, **tensors}) if tensors else graph


def groups_of(layers: Sequence[EngineLayer]) -> list[Pieces]:
    """``layers`` in order, those that are alike together, in place of the last of them."""
    groups: list[Pieces] = []
    for layer in layers:
        found = next((group for group in groups if alike(group[0], layer)), None)
        if found is not None:
            groups.remove(found)
        groups.append([*(found or []), layer])
    return groups


@dataclass(frozen=True)
class _Work:
    """Cycles that array and vector unit are busy with."""

    array: int
    vector: int

    @property
    def busier(self) -> int:
        return max(self.array, self.vector)


class _Chooser:
    """Compares layers with what they may become; geometries that come again are measured once."""

    def __init__(self, graph: Graph, p: Parameters) -> None:
        self.graph, self.p = graph, p
        self.may_copy = reads_maps_as_they_are(p)
        self.cost = cache(self._cost)

    def best(self, group: Pieces) -> Pieces:
        """The fastest of ``group`` as it is, each layer by itself, joined, and stacked."""
        chosen = [piece for layer in group for piece in self._beside(layer)]
        if not alike(group[0], group[0]):
            return chosen
        together = joined(group)
        if len(together) < len(group):
            pieces = [piece for layer in together for piece in self._beside(layer)]
            chosen = self._better(chosen, [] if any(map(beyond, pieces)) else [pieces], GAIN)
        if self.may_copy:
            chosen = self._better(chosen, self._least_work(chosen, self._stackings(together)), GAIN)
        return chosen

    def _beside(self, layer: EngineLayer) -> Pieces:
        """``layer`` with the best number of neighbours side by side."""
        if not layer.on_array:
            return [layer]
        changes = self._least_work([layer], self._neighbours(layer))
        return self._better([layer], changes, POOLED_GAIN if layer.pool else GAIN)

    def _neighbours(self, layer: EngineLayer) -> Iterator[Pieces]:
        spelled, width = layer.groups > 1 or layer.dilations[1] > 1, layer.target[2]
        columns, outputs = self.p.columns, layer.target[0]
        whole = (count for count in range(1, min(width, TILES * columns // outputs) + 1) if width % count == 0)
        for count in sorted({*range(1, FEW_TILES * columns // outputs + 1), *whole} - {0 if spelled else 1}):
            if may_be_beside(layer, count):
                yield beside(layer, count)

    def _stackings(self, layers: Pieces) -> Iterator[Pieces]:
        """``layers``, whose results are rows that take turns, in more turns and with neighbours beside each other."""
        width = layers[0].target[2]
        for turns in range(1, TURNS + 1):
            if turns * len(layers) == 1 or not all(may_take_turns(it, turns) for it in layers):
                continue
            rows = sorted((row for it in layers for row in in_turns(it, turns)), key=lambda it: it.spread.first)
            for count in range(1, FEW_TILES * self.p.columns // sum(it.target[0] for it in rows) + 1):
                if width % count == 0 and step_of(rows) and all(may_be_beside(row, count) for row in rows):
                    yield stacked([widened(row, count) for row in rows], self.p.activation_bits)

    def _least_work(self, before: Pieces, changes: Iterator[Pieces]) -> list[Pieces]:
        """Of ``changes``, some that take less work than ``before``, least first."""
        most = self._busy(before) * GAIN
        counted = (pieces for pieces in changes if not any(map(beyond, pieces)))
        found = [(work, pieces) for pieces in counted if (work := self._busy(pieces)) < most]
        return [pieces for _, pieces in sorted(found, key=lambda pair: pair[0])[:TRIED]]

    def _better(self, before: Pieces, changes: Sequence[Pieces], gain: float) -> Pieces:
        """The cheapest of ``before`` and ``changes``, which must gain with maps on chip and not lose without."""
        if not changes or (at_first := self._costs(before)) is None:
            return before
        chosen, least = before, sum(at_first)
        for pieces in changes:
            costs = self._costs(pieces)
            if costs is None or costs[0] > at_first[0] * gain or costs[1] > at_first[1]:
                continue
            if sum(costs) < least:
                chosen, least = pieces, sum(costs)
        return chosen

    def _busy(self, pieces: Pieces) -> int:
        """Cycles of ``pieces`` if nothing keeps them waiting: copies go beside the convolution that they copy."""
        works = [(it.on_array, work_of(it, self.p)) for it in pieces]
        copies = sum(work.vector for on_array, work in works if not on_array)
        convolutions = [work for on_array, work in works if on_array]
        return max(sum(work.busier for work in convolutions), sum(work.vector for work in convolutions) + copies)

    def _costs(self, pieces: Pieces) -> tuple[float, float] | None:
        """Estimated cycles with all maps on chip that may be, and with none; None if they do not fit."""
        copies = sum(work_of(it, self.p).vector for it in pieces if not it.on_array) if len(pieces) > 1 else 0
        drained = sum(work_of(it, self.p).vector for it in pieces if it.on_array)
        sums = []
        for resident in (True, False):
            found = [self._of(piece, resident) for piece in pieces if piece.on_array or not copies]
            if None in found:
                return None
            sums.append(max(sum(cost for cost in found if cost is not None), drained + copies) + SHOWS * copies)
        return sums[0], sums[1]

    def _of(self, it: EngineLayer, resident: bool) -> float | None:
        begins = it.on_array and it.input in self.graph.inputs
        load, store = it.input in self.graph.inputs or not resident, it.output in self.graph.outputs or not resident
        traffic = Traffic(load, bool(it.operand) and not resident, store, it.spread.steps, begins=begins)
        return self.cost(it.geometry, traffic, 4 * TABLE_ENTRIES if it.tables is not None else 0)

    def _cost(self, g: Geometry, traffic: Traffic, tables: int) -> float | None:
        found = Tilings(g, self.p, traffic).best(self.p.activation_elements - tables)
        return None if found is None else found.cost


def work_of(layer: EngineLayer, p: Parameters) -> _Work:
    """Cycles of ``layer``'s work, if nothing keeps it waiting."""
    g = layer.geometry
    _, rows, columns = g.target
    tiles = tile_count(g, p)
    vector = tiles * (rows_of_results(g, p, rows, columns) + rows * columns * (not g.on_array))
    if not g.on_array:
        return _Work(0, vector)
    positions = g.convolved[1] * g.convolved[2]
    if (pool := g.pool) is not None:
        # tiles of one column of results convolve only what it pools
        across = min(columns * pool.kernel[1], (columns - 1) * pool.strides[1] + pool.kernel[1])
        positions = g.convolved[1] * across
    return _Work(tiles * whole(g, p).passes(p) * max(positions, pass_cycles(g, p)), vector)
