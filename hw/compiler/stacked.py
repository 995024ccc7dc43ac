"""Several convolutions of one map as one, whose results are its channels.

Those whose results lie side by side in a pixel are one convolution of all their outputs (``joined``): kernels get zeros
where others are wider.  Those whose results are rows that take turns, be they several layers' or every second row of
one, become one as well (``stacked``): it writes a map of its own, in which such rows are channels, and the vector unit
moves them to their places.  Both fill columns of the array that a convolution of few outputs leaves idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import Pair
from ..isa.program import Combine
from .beside import dense_kernel
from .engine_layer import EngineLayer
from .formats import Format
from .spread import Rearranged


def alike(a: EngineLayer, b: EngineLayer) -> bool:
    """Whether ``a`` and ``b`` differ in kernels, outputs and places alone."""
    dilations = a.dilations[0], b.dilations[0]
    return (
        all(it.on_array and not it.operand and it.pool is None and not it.raw for it in (a, b))
        and (a.input, a.output, a.source, a.first_channel) == (b.input, b.output, b.source, b.first_channel)
        and (a.strides, a.target[1:], a.spread.steps) == (b.strides, b.target[1:], b.spread.steps)
        and (a.format, a.combine, a.final, a.padding) == (b.format, b.combine, b.final, b.padding)
        and np.array_equal(_tables(a), _tables(b))
        and dilations[0] == dilations[1]
        and (a.pads[0] - b.pads[0]) % dilations[0] == 0
        and a.weights.shape[1] * a.groups == b.weights.shape[1] * b.groups
    )


def _tables(layer: EngineLayer) -> NDArray[np.int64]:
    return np.zeros(0, np.int64) if layer.tables is None else layer.tables


def joined(layers: Sequence[EngineLayer]) -> list[EngineLayer]:
    """Of ``layers``, which are alike, each run whose results lie side by side as one layer."""
    runs: list[list[EngineLayer]] = []
    for layer in sorted(layers, key=lambda it: it.spread.first):
        if runs and layer.spread.first == runs[-1][-1].spread.first + runs[-1][-1].target[0]:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return [run[0] if len(run) == 1 else _as_one(run) for run in runs]


def in_turns(layer: EngineLayer, count: int) -> list[EngineLayer]:
    """``layer``, whose rows of results are a multiple of ``count``, as a layer for each of ``count`` rows in turn."""
    outputs, height, width = layer.target
    top, left, bottom, right = layer.pads
    spread = layer.spread
    made = []
    for turn in range(count):
        shape = outputs, height // count, width
        made.append(
            replace(
                layer,
                target=shape,
                convolved=shape,
                strides=(layer.strides[0] * count, layer.strides[1]),
                pads=(top - turn * layer.strides[0], left, bottom, right),
                part=replace(spread, first=spread.first + turn * spread.row_step, row_step=count * spread.row_step),
                own_weights=layer.own_weights or int(layer.weights.size),
                macs=layer.macs // count,
            )
        )
    return made


def may_take_turns(layer: EngineLayer, count: int) -> bool:
    """Whether ``in_turns`` and then ``stacked`` say the same."""
    return (
        alike(layer, layer)
        and layer.target[1] % count == 0
        and (count == 1 or layer.strides[0] % layer.dilations[0] == 0)
        and layer.spread.column_step == layer.target[0]
    )


def step_of(layers: Sequence[EngineLayer]) -> int:
    """Elements from the results of each of ``layers`` to the next one's, in order; 0 if they differ."""
    firsts = [it.spread.first for it in layers]
    steps = {after - before for before, after in pairwise(firsts)}
    return steps.pop() if len(steps) == 1 and len({it.target for it in layers}) == 1 else 0


def stacked(layers: Sequence[EngineLayer], bits: int) -> list[EngineLayer]:
    """``layers``, alike and with one ``step_of`` them, as a convolution and copies of its channels, ``bits`` wide each.

    The convolution's output is a tensor that the graph does not have: see EngineLayer.rearranged.
    """
    first, step = layers[0], step_of(layers)
    depth, (height, width) = first.target[0], first.target[1:]
    one = _as_one(layers)
    named = f"{first.output}@{first.spread.first}"
    shape = one.target
    moved = Rearranged(first.spread, depth, step)
    made = [replace(one, output=named, tensor=first.output, rearranged=moved, part=None)]
    low = -(1 << (bits - 1))
    for turn, layer in enumerate(layers):
        piece = depth, height, width
        made.append(
            EngineLayer(
                name=f"{one.name}.rows{turn}",
                operator="DepthToSpace",
                input=named,
                output=first.output,
                source=shape,
                first_channel=turn * depth,
                convolved=piece,
                target=piece,
                format=Format(0, 0, low, -low - 1),
                combine=Combine.NONE,
                part=layer.spread,
            )
        )
    return made


def _as_one(layers: Sequence[EngineLayer]) -> EngineLayer:
    """One convolution with the outputs of all ``layers``, one behind the other, where the first one's lie."""
    first = layers[0]
    kernels = [dense_kernel(it) for it in layers]
    top, left = (max(it.pads[side] for it in layers) for side in (0, 1))
    dilation = first.dilations[0]
    corners: list[Pair] = [((top - it.pads[0]) // dilation, left - it.pads[1]) for it in layers]
    rows, columns = (
        max(corner[axis] + kernel.shape[2 + axis] for corner, kernel in zip(corners, kernels, strict=True))
        for axis in (0, 1)
    )
    outputs = sum(len(kernel) for kernel in kernels)
    weights = np.zeros((outputs, kernels[0].shape[1], rows, columns), kernels[0].dtype)
    output = 0
    for (down, across), kernel in zip(corners, kernels, strict=True):
        count, _, tall, wide = kernel.shape
        weights[output : output + count, :, down : down + tall, across : across + wide] = kernel
        output += count
    shape = outputs, *first.target[1:]
    scales = [(it.mantissas, it.shifts) for it in layers]
    return replace(
        first,
        name="+".join(dict.fromkeys(name for it in layers for name in it.name.split("+"))),
        weights=weights,
        own_weights=_own_weights(layers),
        bias=np.concatenate([it.bias for it in layers]),
        mantissas=np.concatenate([m for m, _ in scales if m is not None]),
        shifts=np.concatenate([s for _, s in scales if s is not None]),
        groups=1,
        dilations=(dilation, 1),
        pads=(top, left, *first.pads[2:]),
        convolved=shape,
        target=shape,
        part=first.spread,
        macs=sum(it.macs for it in layers),
    )


def _own_weights(layers: Sequence[EngineLayer]) -> int:
    """Of the graph's layers among ``layers``, each counted once."""
    own = {it.name: it.own_weights or int(it.weights.size) for it in layers}
    return sum(own.values())
