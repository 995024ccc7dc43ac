"""Convolution in integers: int32 sums of (x - zero_point) * w plus the bias.

Fast because float BLAS is exact inside a proven bound: products and every partial sum of integers are exact in float32
while ``sum |w| * max |x - zero_point| < 2**24`` and in float64 below 2**53, whatever the order of the additions.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..quant.graph import Conv, FeatureMap

EXACT_FLOAT32 = 2**24
MOST_PARTS = 8  # more matrix products than this, and float64 is faster


def convolve(layer: Conv, source: FeatureMap, values: NDArray[Any]) -> NDArray[np.int32]:
    """Sums of ``layer`` over ``values``, integers of ``source``: (N, C, rows, columns) to int32 of the same layout.

    The sums fit int32, which quant.check has proven.
    """
    count, (_, height, width) = len(values), source.shape
    top, left, bottom, right = layer.pads
    parts = reduction_parts(layer, source)
    kind = np.float32 if parts else np.float64
    # Zero padding of the reals is zero here, once the zero point is subtracted.
    padded = np.zeros((count, values.shape[1], height + top + bottom, width + left + right), kind)
    np.subtract(values, source.zero_point, out=padded[:, :, top : top + height, left : left + width], dtype=kind)
    windows = _windows(padded, layer)
    rows, columns = windows.shape[2:4]
    outputs, inputs = layer.weights.shape[:2]
    each = outputs // layer.groups
    result = np.empty((count, outputs, rows * columns), np.int32)
    for group in range(layer.groups):
        matrix = windows[:, group * inputs : (group + 1) * inputs].transpose(0, 1, 4, 5, 2, 3)
        matrix = matrix.reshape(count, -1, rows * columns)
        chosen = slice(group * each, (group + 1) * each)
        weights = layer.weights[chosen].reshape(each, -1).astype(kind)
        result[:, chosen] = _product(weights, matrix, parts)
    result += layer.bias.astype(np.int32)[:, None]
    return result.reshape(count, outputs, rows, columns)


def reduction_parts(layer: Conv, source: FeatureMap) -> list[slice]:
    """Cuts of the reduction inside each of which float32 is exact for all outputs; empty if float64 is better."""
    reach = max(source.high - source.zero_point, source.zero_point - source.low, 1)
    absolute = np.abs(layer.weights.astype(np.int64)).reshape(len(layer.weights), -1) * reach
    totals = absolute.cumsum(axis=1)
    cuts = [0]
    spent = np.zeros(len(absolute), np.int64)
    while cuts[-1] < absolute.shape[1]:
        inside = (totals - spent[:, None] < EXACT_FLOAT32).all(axis=0)
        end = int(inside.sum())  # totals never fall, so the true ones come first
        if end <= cuts[-1] or len(cuts) > MOST_PARTS:
            return []
        cuts.append(end)
        spent = totals[:, end - 1]
    return [slice(start, end) for start, end in pairwise(cuts)]


def _product(weights: NDArray[Any], matrix: NDArray[Any], parts: list[slice]) -> NDArray[np.int32]:
    first, *others = parts or [slice(None)]
    total = np.matmul(weights[:, first], matrix[:, first]).astype(np.int32)
    for part in others:
        total += np.matmul(weights[:, part], matrix[:, part]).astype(np.int32)
    return np.asarray(total)


def _windows(padded: NDArray[Any], layer: Conv) -> NDArray[Any]:
    """View of ``padded`` as (N, C, output rows, output columns, kernel rows, kernel columns)."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    strided = every[:, :, :: layer.strides[0], :: layer.strides[1], :: layer.dilations[0], :: layer.dilations[1]]
    return np.asarray(strided)
