"""Convolution in integers: sums of (x - zero_point) * w plus the bias.

Fast because float BLAS is exact inside a proven bound: products and every partial sum of integers are exact in float32
while ``sum |w| * max |x - zero_point| < 2**24`` and in float64 below 2**53, whatever the order of the additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..quant.graph import Conv, FeatureMap

EXACT_FLOAT32 = 2**24
LEAST_PART = 64  # products; shorter parts cost more in additions than float32 saves over float64
ROWS_AT_ONCE = 2**20  # weights whose magnitudes are summed at once, so that they stay in the cache


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution made ready: what its sums need besides the pixels.

    weights : float32 or float64, (groups, outputs / groups, products), exact
    parts : cuts of the reduction, inside each of which the sums are exact in that type
    bias : (outputs,);  of the type of the weights if even the whole sums are exact in it, else int32
    """

    weights: NDArray[Any]
    parts: list[slice]
    bias: NDArray[Any]


def prepare(layer: Conv, source: FeatureMap) -> Kernel:
    """The kernel of ``layer`` over ``source``, to be used for many images."""
    reach = max(source.high - source.zero_point, source.zero_point - source.low, 1)
    blocks = magnitudes(layer.weights.reshape(len(layer.weights), -1)) * reach
    cuts = reduction_cuts(blocks)
    kind, bound = (np.dtype(np.float32), EXACT_FLOAT32) if cuts else (np.dtype(np.float64), 2**53)
    weights = layer.weights.reshape(layer.groups, len(layer.weights) // layer.groups, -1).astype(kind)
    ends = [*(cuts or [0]), weights.shape[2]]
    whole = len(ends) == 2 and (blocks.sum(axis=1) + np.abs(layer.bias)).max() < bound
    bias = layer.bias.astype(kind if whole else np.int32)
    return Kernel(weights, [slice(start, end) for start, end in pairwise(ends)], bias)


def convolve(layer: Conv, source: FeatureMap, values: NDArray[Any], kernel: Kernel | None = None) -> NDArray[Any]:
    """Sums of ``layer`` over ``values``, integers of ``source``, (N, C, rows, columns): exact, as int32 or as floats.

    They fit int32, which quant.check has proven.  ``kernel`` is ``prepare``'s, if it is known already.
    """
    kernel = kernel or prepare(layer, source)
    count, (_, height, width) = len(values), source.shape
    top, left, bottom, right = layer.pads
    # Zero padding of the reals is zero here, once the zero point is subtracted.
    padded = np.zeros((count, values.shape[1], height + top + bottom, width + left + right), kernel.weights.dtype)
    inside = padded[:, :, top : top + height, left : left + width]
    np.subtract(values, source.zero_point, out=inside, dtype=padded.dtype)
    windows = _windows(padded, layer)
    rows, columns = windows.shape[2:4]
    groups, each, length = kernel.weights.shape
    matrix = windows.transpose(1, 4, 5, 0, 2, 3).reshape(groups, length, -1)
    sums = _product(kernel, matrix).reshape(groups * each, -1)
    sums += kernel.bias[:, None]
    return np.asarray(sums.reshape(groups * each, count, rows, columns).transpose(1, 0, 2, 3))


def _product(kernel: Kernel, matrix: NDArray[Any]) -> NDArray[Any]:
    """``weights @ matrix`` of each group, in the type of the bias, part by part; matrix (groups, K, positions)."""
    total: NDArray[Any] | None = None
    for part in kernel.parts:
        sums = np.matmul(kernel.weights[:, :, part], matrix[:, part]).astype(kernel.bias.dtype, copy=False)
        total = sums if total is None else np.add(total, sums, out=total)
    assert total is not None
    return total


def reduction_cuts(blocks: NDArray[np.int64]) -> list[int]:
    """Where parts of the reduction start inside each of which float32 is exact; none if float64 is better.

    blocks : the largest sum that each block of LEAST_PART products can reach, (outputs, blocks)
    """
    if blocks.sum(axis=1).max() < EXACT_FLOAT32:
        return [0]
    cuts, spent = [0], np.zeros(len(blocks), np.int64)
    for place, block in enumerate(blocks.T):
        if block.max() >= EXACT_FLOAT32:
            return []
        spent = spent + block
        if spent.max() >= EXACT_FLOAT32:
            cuts.append(place * LEAST_PART)
            spent = block
    return cuts


def magnitudes(flat: NDArray[np.int16]) -> NDArray[np.int64]:
    """``sum |w|`` of each block of LEAST_PART columns of ``flat``, (outputs, products) to (outputs, blocks)."""
    length = flat.shape[1]
    starts = np.arange(0, length, LEAST_PART)
    rows = max(1, ROWS_AT_ONCE // length)
    # Weights are above -2**15, so their magnitudes fit int16; sums of a block fit int32.
    chunks = [np.abs(flat[start : start + rows]) for start in range(0, len(flat), rows)]
    if length % LEAST_PART:
        summed = [np.add.reduceat(chunk, starts, axis=1, dtype=np.int32) for chunk in chunks]
    else:
        summed = [chunk.reshape(len(chunk), -1, LEAST_PART).sum(axis=2, dtype=np.int32) for chunk in chunks]
    return np.concatenate(summed).astype(np.int64)


def _windows(padded: NDArray[Any], layer: Conv) -> NDArray[Any]:
    """View of ``padded`` as (N, C, output rows, output columns, kernel rows, kernel columns)."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(layer.kernel, layer.dilations, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    strided = every[:, :, :: layer.strides[0], :: layer.strides[1], :: layer.dilations[0], :: layer.dilations[1]]
    return np.asarray(strided)
