"""Thin layers: neighbouring results of a convolution of few outputs, side by side in one tile of the array.

A convolution of k outputs keeps k of the array's C columns busy.  It equals one of n * k outputs whose result is 1 / n
as wide: output (q, k) has kernel k moved right by q strides, with zeros beside it.  Maps lie as NHWC, so n neighbouring
pixels of k channels and one pixel of n * k channels are the same bytes: who reads the result, and what is added to it,
need not know.  The run grows by n - 1 strides, and n times as many positions come out of it.

Behind a max pooling the same holds of its results: their windows are moved by its strides, and a spatial tile of one
column of them convolves only what it pools.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .engine_layer import EngineLayer
from .geometry import Neighbours


def beside(layer: EngineLayer, count: int) -> list[EngineLayer]:
    """``layer`` with ``count`` of its results, neighbours in a row, in each; what is left of a row in a second one.

    A ``count`` of 1 only spells out dilation across columns and groups.  See ``may_be_beside``.
    """
    width = layer.target[2]
    rest = width % count
    made = [widened(_columns(layer, 0, width - rest), count)]
    if rest:
        left = _columns(layer, width - rest, rest)
        made.append(replace(widened(left, rest), name=f"{layer.name}.rest", macs=0))
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
    return count <= width


def _step(layer: EngineLayer) -> int:
    """Columns of the source from one result to the next."""
    return layer.strides[1] * (layer.pool.strides[1] if layer.pool else 1)


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


def dense_kernel(layer: EngineLayer) -> NDArray[np.int16]:
    """Its kernel without groups and without dilation across columns: (outputs, channels, rows, columns)."""
    weights, groups, dilation = layer.weights, layer.groups, layer.dilations[1]
    outputs, inputs, rows, columns = weights.shape
    dense = np.zeros((outputs, groups, inputs, rows, (columns - 1) * dilation + 1), weights.dtype)
    each = np.arange(outputs)
    dense[each, each // (outputs // groups), :, :, ::dilation] = weights
    return dense.reshape(outputs, groups * inputs, rows, -1)


def widened(layer: EngineLayer, count: int) -> EngineLayer:
    """``layer``, whose rows of results are multiples of ``count``, with ``count`` of them in each."""
    kernel, step, spread, pool = dense_kernel(layer), _step(layer), layer.spread, layer.pool
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
        neighbours=Neighbours(count, outputs, step * layer.source[0]),
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
