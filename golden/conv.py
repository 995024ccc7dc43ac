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
LEAST_PART = 64  # shorter parts cost more in additions than float32 saves over float64
FEW_POSITIONS = 256  # maps smaller than this share one matrix product with the other images


def convolve(
    layer: Conv, source: FeatureMap, values: NDArray[Any], parts: list[slice] | None = None
) -> NDArray[np.int32]:
    """Sums of ``layer`` over ``values``, integers of ``source``: (N, C, rows, columns) to int32 of the same layout.

    The sums fit int32, which quant.check has proven.  ``parts`` are ``reduction_parts``, if they are known already.
    """
    count, (_, height, width) = len(values), source.shape
    top, left, bottom, right = layer.pads
    parts = reduction_parts(layer, source) if parts is None else parts
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
        chosen = slice(group * each, (group + 1) * each)
        weights = layer.weights[chosen].reshape(each, -1).astype(kind)
        matrix: NDArray[Any]
        taken = windows[:, group * inputs : (group + 1) * inputs]
        if rows * columns < FEW_POSITIONS:
            matrix = taken.transpose(1, 4, 5, 0, 2, 3).reshape(weights.shape[1], -1)
            sums = _product(weights, matrix, parts).reshape(each, count, rows * columns)
            result[:, chosen] = sums.transpose(1, 0, 2)
        else:
            matrix = taken.transpose(0, 1, 4, 5, 2, 3).reshape(count, weights.shape[1], -1)
            result[:, chosen] = _product(weights, matrix, parts)
    result += layer.bias.astype(np.int32)[:, None]
    return result.reshape(count, outputs, rows, columns)


def reduction_parts(layer: Conv, source: FeatureMap) -> list[slice]:
    """Cuts of the reduction inside each of which float32 is exact for all outputs; empty if float64 is better."""
    reach = max(source.high - source.zero_point, source.zero_point - source.low, 1)
    absolute = np.abs(layer.weights.astype(np.int32)).reshape(len(layer.weights), -1)
    length = absolute.shape[1]
    if int(absolute.sum(axis=1, dtype=np.int64).max()) * reach < EXACT_FLOAT32:
        return [slice(0, length)]
    totals = absolute.cumsum(axis=1, dtype=np.int64) * reach
    cuts = [0]
    spent = np.zeros(len(absolute), np.int64)
    while cuts[-1] < length:
        inside = (totals[:, cuts[-1] :] - spent[:, None] < EXACT_FLOAT32).all(axis=0)
        taken = int(inside.sum())  # totals never fall, so the true ones come first
        if taken == 0 or len(cuts) * LEAST_PART > length:
            return []
        cuts.append(cuts[-1] + taken)
        spent = totals[:, cuts[-1] - 1]
    return [slice(start, end) for start, end in pairwise(cuts)]


def _product(weights: NDArray[Any], matrix: NDArray[Any], parts: list[slice]) -> NDArray[np.int32]:
    """``weights @ matrix`` as int32, summed part by part; weights (outputs, K), matrix (..., K, positions)."""
    first, *others = parts or [slice(None)]
    total = np.matmul(weights[:, first], matrix[..., first, :]).astype(np.int32)
    for part in others:
        total += np.matmul(weights[:, part], matrix[..., part, :]).astype(np.int32)
    return np.asarray(total)


def _windows(padded: NDArray[Any], layer: Conv) -> NDArray[Any]:
    """View of ``padded`` as (N, C, output rows, output columns, kernel rows, kernel columns)."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    strided = every[:, :, :: layer.strides[0], :: layer.strides[1], :: layer.dilations[0], :: layer.dilations[1]]
    return np.asarray(strided)
