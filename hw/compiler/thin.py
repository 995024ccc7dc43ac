"""Thin layers: neighbouring results of a convolution of few outputs, side by side in one tile of the array.

A convolution of k outputs keeps k of the array's C columns busy.  It equals one of n * k outputs whose result is 1 / n
as wide: output (q, k) has kernel k moved right by q strides, with zeros beside it.  Maps lie as NHWC, so n neighbouring
pixels of k channels and one pixel of n * k channels are the same bytes: who reads the result, and what is added to it,
need not know.  The run grows by n - 1 strides, and n times as many positions come out of it.

Behind a max pooling the same holds of its results: their windows are moved by its strides, and a spatial tile of one
column of them convolves only what it pools.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import Pair
from ..isa.parameters import Parameters
from ..isa.program import TABLE_ENTRIES
from .cost import Traffic, interval
from .cutting import channel_tiles, whole
from .engine_layer import EngineLayer
from .geometry import Geometry
from .tiling import Tilings

GAIN = 0.98
"""Of a layer's cycles, what it may take at most to be changed: estimates are that good."""

TRIED = 4
"""Numbers of neighbours, those of least work, whose tilings are compared."""

WIDEST = 256
"""Columns of a kernel, at most."""


def thinned(layers: Sequence[EngineLayer], p: Parameters) -> tuple[EngineLayer, ...]:
    """``layers`` with neighbouring results side by side wherever that is faster by the planner's own estimate."""
    chooser = _Chooser(p)
    return tuple(piece for layer in layers for piece in chooser.best(layer))


def beside(layer: EngineLayer, count: int) -> list[EngineLayer]:
    """``layer`` with ``count`` of its results, neighbours in a row, in each; what is left of a row in a second one.

    A ``count`` of 1 only spells out dilation across columns and groups.  See ``may_be_beside``.
    """
    width = layer.target[2]
    rest = width % count
    made = [_widened(_columns(layer, 0, width - rest), count)]
    if rest:
        left = _columns(layer, width - rest, rest)
        made.append(replace(_widened(left, rest), name=f"{layer.name}.rest", macs=0))
    return made


def may_be_beside(layer: EngineLayer, count: int) -> bool:
    """Whether ``beside`` says the same with ``count`` neighbours.

    Results must be whole pixels of the tensor; windows must lie inside the map that they pool, for what does not count
    would be another column for each neighbour; the rest of a row has no operand that is a map of its own.
    """
    if not layer.on_array or layer.one_pixel or layer.spread.column_step != layer.target[0]:
        return False
    width = layer.target[2]
    if layer.operand and width % count:
        return False
    if (pool := layer.pool) is not None:
        first = -pool.pads[1]
        if first < 0 or first + (width - 1) * pool.strides[1] + pool.kernel[1] > layer.convolved[2]:
            return False
    return count <= width and _kernel_columns(layer, count) <= WIDEST


def _step(layer: EngineLayer) -> int:
    """Columns of the source from one result to the next."""
    return layer.strides[1] * (layer.pool.strides[1] if layer.pool else 1)


def _kernel_columns(layer: EngineLayer, count: int) -> int:
    return (layer.kernel[1] - 1) * layer.dilations[1] + 1 + (count - 1) * _step(layer)


def _columns(layer: EngineLayer, first: int, count: int) -> EngineLayer:
    """``layer`` for its results' columns ``first .. first + count`` alone."""
    if count == layer.target[2]:
        return layer
    depth, height, _ = layer.target
    outputs, rows, columns = layer.convolved
    pool, spread = layer.pool, layer.spread
    top, left, bottom, right = layer.pads
    return replace(
        layer,
        target=(depth, height, count),
        convolved=(outputs, rows, columns - first * pool.strides[1] if pool else count),
        pads=(top, left - first * _step(layer), bottom, right),
        part=replace(spread, first=spread.first + first * spread.column_step),
    )


def _dense(layer: EngineLayer) -> NDArray[np.int16]:
    """Its kernel without groups and without dilation across columns: (outputs, channels, rows, columns)."""
    weights, groups, dilation = layer.weights, layer.groups, layer.dilations[1]
    outputs, inputs, rows, columns = weights.shape
    dense = np.zeros((outputs, groups, inputs, rows, (columns - 1) * dilation + 1), weights.dtype)
    each = np.arange(outputs)
    dense[each, each // (outputs // groups), :, :, ::dilation] = weights
    return dense.reshape(outputs, groups * inputs, rows, -1)


def _widened(layer: EngineLayer, count: int) -> EngineLayer:
    """``layer``, whose rows of results are multiples of ``count``, with ``count`` of them in each."""
    kernel, step, spread, pool = _dense(layer), _step(layer), layer.spread, layer.pool
    outputs, inputs, rows, columns = kernel.shape
    wide = np.zeros((count, outputs, inputs, rows, columns + (count - 1) * step), kernel.dtype)
    for neighbour in range(count):
        wide[neighbour, ..., neighbour * step : neighbour * step + columns] = kernel
    depth, height, width = layer.target
    target = count * depth, height, width // count
    (down, across), strides = layer.strides, layer.pool and layer.pool.strides
    return replace(
        layer,
        weights=wide.reshape(count * outputs, inputs, rows, -1),
        own_weights=layer.own_weights or int(layer.weights.size),
        bias=np.tile(layer.bias, count),
        mantissas=None if layer.mantissas is None else np.tile(layer.mantissas, count),
        shifts=None if layer.shifts is None else np.tile(layer.shifts, count),
        groups=1,
        dilations=(layer.dilations[0], 1),
        strides=(down, across) if pool else (down, across * count),
        target=target,
        convolved=(count * outputs, *layer.convolved[1:]) if pool else target,
        pool=replace(pool, strides=(strides[0], strides[1] * count)) if pool and strides else None,
        part=replace(spread, column_step=spread.column_step * count),
    )


class _Chooser:
    """Compares a layer with what it may become; geometries that come again are measured once."""

    def __init__(self, p: Parameters) -> None:
        self.p = p
        self.cost = cache(self._cost)

    def best(self, layer: EngineLayer) -> list[EngineLayer]:
        """The fastest of ``layer`` as it is and with neighbours side by side, as one piece or two."""
        chosen, least = [layer], self._costs([layer])
        if least is None:
            return chosen
        before = least
        for count in self._worth_trying(layer):
            pieces = beside(layer, count)
            costs = self._costs(pieces)
            if costs is None or costs[0] > before[0] * GAIN or costs[1] > before[1]:
                continue
            if sum(costs) < sum(least):
                chosen, least = pieces, costs
        return chosen

    def _worth_trying(self, layer: EngineLayer) -> list[int]:
        """Numbers of neighbours with less work than ``layer`` as it is, least first."""
        if not layer.on_array:
            return []
        work = work_of(layer, self.p)
        spelled = layer.groups > 1 or layer.dilations[1] > 1
        most = 2 * self.p.columns // layer.target[0]
        found = []
        for count in range(1 if spelled else 2, most + 1):
            if may_be_beside(layer, count):
                less = sum(work_of(piece, self.p) for piece in beside(layer, count))
                if less < work * GAIN:
                    found.append((less, count))
        return [count for _, count in sorted(found)[:TRIED]]

    def _costs(self, pieces: Sequence[EngineLayer]) -> tuple[float, float] | None:
        """Estimated cycles with all maps on chip, and with all in DRAM; None if they do not fit."""
        found = [
            (
                self.cost(it.geometry, it.spread.steps, it.tables is not None, resident=True),
                self.cost(it.geometry, it.spread.steps, it.tables is not None, resident=False),
            )
            for it in pieces
        ]
        here, there = zip(*found, strict=True)
        return None if None in there or None in here else (sum(here), sum(there))

    def _cost(self, g: Geometry, steps: Pair, tables: bool, *, resident: bool) -> float | None:
        space = self.p.activation_elements - (4 * TABLE_ENTRIES if tables else 0)
        moved = not resident
        found = Tilings(g, self.p, Traffic(moved, g.adds and moved, moved, steps)).best(space, 1.0)
        return None if found is None else found.cost


def work_of(layer: EngineLayer, p: Parameters) -> int:
    """Cycles of the busier of array and vector unit, if nothing keeps either waiting."""
    g = layer.geometry
    _, rows, columns = g.target
    tiles = sum(map(len, channel_tiles(g, p)))
    positions = g.convolved[1] * g.convolved[2]
    if (pool := g.pool) is not None:
        # tiles of one column of results convolve only what it pools
        across = min(columns * pool.kernel[1], (columns - 1) * pool.strides[1] + pool.kernel[1])
        positions = g.convolved[1] * across
    return tiles * max(whole(g, p).passes(p) * max(positions, p.pass_cycles), rows * columns * interval(g, p))
