"""Parts of a layer's results that lie elsewhere, each as a layer of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...quant.graph import Pair, Shape
from ..isa.program import Combine
from .engine_layer import EngineLayer
from .formats import ONE
from .spread import Spread, dense

FILLS = 16
"""Outputs that a part of a convolution must have: fewer would leave columns of most arrays idle."""

SCATTERED = 4
"""Copies that are cheaper than a selecting convolution, whatever they copy."""


def runs(channels: Sequence[int]) -> list[Pair]:
    """``channels`` as ranges of consecutive ones, (first, count)."""
    found: list[Pair] = []
    for channel in channels:
        if found and channel == sum(found[-1]):
            found[-1] = found[-1][0], found[-1][1] + 1
        else:
            found.append((channel, 1))
    return found


def scattered(channels: Sequence[int]) -> bool:
    """Whether so few of ``channels`` follow one another that a convolution selects them faster than copies."""
    count = len(runs(channels))
    return count > SCATTERED and len(channels) < FILLS * count // 2


def part_of(layer: EngineLayer, first: int, count: int) -> EngineLayer | None:
    """``layer`` for outputs ``first .. first + count`` alone; None if they cannot be told from the others, or are few.

    Where they lie in the output tensor is not looked at.
    """
    if (first, count) == (0, layer.target[0]):
        return layer
    if layer.operand or layer.normalization:
        return None
    made = replace(layer, convolved=(count, *layer.convolved[1:]), target=(count, *layer.target[1:]))
    if not layer.on_array:
        return replace(made, first_channel=layer.first_channel + first)
    if layer.groups > 1 or count < FILLS:
        return None
    outputs = slice(first, first + count)
    return replace(
        made,
        weights=layer.weights[outputs],
        bias=layer.bias[outputs],
        mantissas=None if layer.mantissas is None else layer.mantissas[outputs],
        shifts=None if layer.shifts is None else layer.shifts[outputs],
        macs=layer.macs // len(layer.weights) * count,
    )


def interleaved(layer: EngineLayer, name: str, old: Shape, new: Shape, block: Pair) -> list[EngineLayer] | None:
    """``layer``, which writes all or some channels of a tensor of shape ``old``, as layers that write ``new``.

    ``new`` has the channels of ``old`` as rows and columns (see graph.DepthToSpace): what lies side by side in a pixel
    of ``old`` does so in a row of ``new``, block[0] times.  None if the layer cannot be cut so.
    """
    side_by_side = block[1] * new[0]
    begin = layer.spread.first
    if layer.spread.steps != dense(old).steps or begin + layer.target[0] > old[0]:
        return None
    made: list[EngineLayer] = []
    end = begin + layer.target[0]
    for first in range(begin // side_by_side * side_by_side, end, side_by_side):
        low, high = max(first, begin), min(first + side_by_side, end)
        piece = part_of(layer, low - begin, high - low)
        if piece is None:
            return None
        row = new[0] * new[2]
        part = Spread(low // side_by_side * row + low % side_by_side, block[0] * row, side_by_side)
        named = f"{layer.name}+{name}" if layer.name != name else name
        number = f".{len(made)}" if high - low < layer.target[0] else ""
        made.append(replace(piece, name=f"{named}{number}", part=part))
    return made


def selecting(read: EngineLayer, channels: Sequence[int]) -> EngineLayer:
    """A convolution of 1x1 in place of ``read``, a layer that hands on a map, that takes ``channels`` of it.

    One weight of each output is 1 and its scale is 1, so sums are the stored values that it reads.
    """
    assert read.format is not None
    count = len(channels)
    weights = np.zeros((count, read.target[0], 1, 1), np.int16)
    weights[np.arange(count), np.array(channels)] = 1
    mantissa, shift = ONE
    return replace(
        read,
        convolved=(count, *read.convolved[1:]),
        target=(count, *read.target[1:]),
        weights=weights,
        bias=np.zeros(count, np.int64),
        mantissas=np.full(count, mantissa, np.int64),
        shifts=np.full(count, shift, np.int64),
        format=replace(read.format, zero_point=read.format.zero_point - read.source_zero),
        source_zero=0,
        combine=Combine.NONE,
    )
