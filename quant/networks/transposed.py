"""Transposed convolutions become convolutions whose results interleave (Dumoulin and Visin 2016, section 4)."""

from __future__ import annotations

from itertools import product
from math import gcd

import numpy as np

from ..graph import Pair
from .layers import Convolution, FloatGraph, FloatLayer, Floats, TransposedConvolution, refusal
from .picking import interleave
from .shapes import shapes

MOST_WEIGHTS = 2**25
"""Weights of a convolution that is padded with zeros."""


def lower_transposed(graph: FloatGraph) -> FloatGraph:
    """For each place (row, column) within a stride one convolution, which computes the results at such places.

    Joined along the channels they are rows and columns, after a PixelShuffle, and of these the first that belong to the
    result.  The multiplications are those of the model: none is with a zero in between.
    """
    sizes = shapes(graph)
    found: list[FloatLayer] = []
    for layer in graph.layers:
        if isinstance(layer, TransposedConvolution):
            _, rows, columns = sizes[layer.inputs[0]]
            found += _lowered(layer, (rows, columns))
        else:
            found.append(layer)
    return graph.with_layers(found)


def _lowered(layer: TransposedConvolution, size: Pair) -> list[FloatLayer]:
    """``layer`` over a map of ``size`` (rows, columns)."""
    whole = -(-layer.size[0] // layer.strides[0]), -(-layer.size[1] // layer.strides[1])
    if layer.strides == (1, 1):
        return [_part(layer, layer.name, (0, 0), size, whole, layer.output)]
    made: list[FloatLayer] = []
    for number, (row, column) in enumerate(product(*map(range, layer.strides))):
        made.append(_part(layer, f"{layer.name}/{number}", (row, column), size, whole, f"{layer.output}/{number}"))
    shape = len(layer.weights), *layer.size
    parts = [one.output for one in made]
    return made + interleave(layer.name, layer.operator, parts, layer.output, shape, layer.strides)


def _part(layer: TransposedConvolution, name: str, places: Pair, size: Pair, whole: Pair, output: str) -> Convolution:
    """The convolution ``name`` over a map of ``size`` whose ``whole`` results lie at ``places`` of each block."""
    weights, pads, dilations = layer.weights, [], []
    for axis in (0, 1):
        weights, begin, end, dilation = _along(layer, weights, axis, places[axis], (size[axis], whole[axis]))
        pads.append((begin, end))
        dilations.append(dilation)
    return Convolution(
        name,
        "Conv",
        layer.inputs,
        output,
        weights,
        layer.bias,
        pads=(pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
        dilations=(dilations[0], dilations[1]),
        groups=layer.groups,
        low=layer.low,
        high=layer.high,
    )


def _along(
    layer: TransposedConvolution, weights: Floats, axis: int, place: int, size: Pair
) -> tuple[Floats, int, int, int]:
    """Weights, pads before and after, and dilation along one axis of the convolution for results at ``place``.

    Result ``place + stride * y`` is the sum of input ``y + offset`` times the kernel's tap ``k``, for all k with
    ``place + pad - k * dilation = stride * offset``.  Where a convolution would begin behind the map's first row or end
    before its last, it gets taps of 0 there: ONNX has no pads below 0.
    """
    stride, dilation, pad = layer.strides[axis], layer.dilations[axis], layer.pads[axis]
    step = dilation // gcd(dilation, stride)
    taps = [k for k in range(weights.shape[2 + axis]) if (place + pad - k * dilation) % stride == 0]
    offsets = [(place + pad - k * dilation) // stride for k in taps][::-1]
    values = weights.take(taps[::-1], axis=2 + axis)
    if not taps:
        offsets = [0]
        values = np.zeros((*weights.shape[: 2 + axis], 1, *weights.shape[3 + axis :]), np.float32)
    before = max(0, -(-offsets[0] // step))
    first = offsets[0] - before * step
    length = (len(offsets) + before - 1) * step + 1
    needed = size[1] - 1 + length - size[0] + first  # behind the map's last
    behind = max(0, -(needed // step))
    if (before or behind) and values.size * (len(offsets) + before + behind) > MOST_WEIGHTS * len(offsets):
        raise refusal(
            layer, f"has pads or a size that take {before + behind:,} rows or columns of zeros; leave them to a Slice"
        )
    around = [(0, 0)] * 4
    around[2 + axis] = before, behind
    return np.pad(values, around), -first, needed + behind * step, step
