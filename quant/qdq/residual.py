"""A convolution whose sums meet a quantized map before any Q, as TensorRT fuses them: one convolution over both.

``s_x * s_w[c] * sum[c] + s_r * r[c]`` is ``s_x * s_w[c] / m[c] * (m[c] * sum[c] + p[c] * r[c])`` with ``p[c] / m[c]``
in place of ``s_r / (s_x * s_w[c])``: among the fractions that 16-bit weights allow the nearest, which is mostly within
a millionth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..graph import LARGEST_WEIGHT, Concat, Conv, FeatureMap, Pair
from ..onnx.budget import INT32
from .reals import Weighted

Wide = NDArray[np.float64]


def tap(conv: Conv, source: FeatureMap, other: FeatureMap) -> Pair | None:
    """Which weight of the kernel (row, column) meets the pixel of ``other`` that its sum is added to.

    None if ``conv`` over ``source`` and ``other`` cannot be one convolution.
    """
    if conv.operator != "Conv" or conv.strides != (1, 1) or conv.groups != 1 or source.shape[1:] != other.shape[1:]:
        return None
    if len(conv.weights) != other.shape[0] or (_ratio(conv, source, other) > LARGEST_WEIGHT / 2).any():
        return None
    found = [divmod(pad, dilation) for pad, dilation in zip(conv.pads[:2], conv.dilations, strict=True)]
    if any(rest or place >= size for (place, rest), size in zip(found, conv.kernel, strict=True)):
        return None
    return found[0][0], found[1][0]


def moved_to(source: FeatureMap, grid: FeatureMap, name: str) -> tuple[Conv, FeatureMap]:
    """The integers of ``source``, less its zero point, as those of another grid: a convolution that copies channels."""
    channels, shift = source.shape[0], grid.zero_point - source.zero_point
    target = replace(grid, name=name, shape=source.shape, low=source.low + shift, high=source.high + shift)
    scales = np.full(channels, grid.scale / source.scale)
    ones, zeros = np.ones((channels, 1, 1, 1), np.int16), np.zeros(channels, np.int64)
    return Conv(name, "Conv", source.name, name, ones, scales, zeros, groups=channels), target


def side_by_side(first: FeatureMap, second: FeatureMap, name: str) -> tuple[Concat, FeatureMap]:
    """Both on the grid that they have in common, side by side."""
    low, high = min(first.low, second.low), max(first.high, second.high)
    shape = first.shape[0] + second.shape[0], *first.shape[1:]
    return Concat(name, (first.name, second.name), name), replace(first, name=name, shape=shape, low=low, high=high)


def with_residual(layer: Weighted, source: FeatureMap, other: FeatureMap, place: Pair, both: str) -> Weighted:
    """``layer`` over ``source`` plus the reals of ``other``, as a layer over the map ``both``, the two side by side.

    place : of the weight that meets the output's own pixel
    """
    conv = layer.conv
    outputs, inputs = conv.weights.shape[:2]
    reach = max(abs(bound - tensor.zero_point) for tensor in (source, other) for bound in (tensor.low, tensor.high))
    sums = np.abs(conv.weights).sum(axis=(1, 2, 3), dtype=np.int64) * reach + np.abs(layer.bias)
    ratio = _ratio(conv, source, other)
    largest = np.abs(conv.weights).max(axis=(1, 2, 3), initial=1)
    most = np.minimum(LARGEST_WEIGHT / np.maximum(largest, ratio + 1), INT32[-1] / (sums + (ratio + 1) * reach))
    factors, parts = _fractions(ratio, most.astype(np.int64))
    weights = np.zeros((outputs, inputs + outputs, *conv.kernel), np.int16)
    weights[:, :inputs] = conv.weights * factors[:, None, None, None]
    channels = np.arange(outputs)
    weights[channels, inputs + channels, place[0], place[1]] = parts
    scales = (conv.weight_scales / factors).astype(np.float32)
    return Weighted(replace(conv, input=both, weights=weights, weight_scales=scales), layer.bias * factors, exact=True)


def _ratio(conv: Conv, source: FeatureMap, other: FeatureMap) -> Wide:
    """A step of ``other`` in steps of the sums, (outputs,)."""
    return np.asarray(np.float64(other.scale) / (np.float64(source.scale) * conv.weight_scales))


def _fractions(ratios: Wide, most: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each ratio the m, 1 to its ``most``, and p whose ``p / m`` is nearest, the largest m of equals."""
    factors = np.ones(len(ratios), np.int64)
    for channel, (ratio, limit) in enumerate(zip(ratios, most, strict=True)):
        tried = np.arange(max(1, limit), 0, -1)
        factors[channel] = tried[np.argmin(np.abs(np.rint(ratio * tried) / tried - ratio))]
    return factors, np.rint(ratios * factors).astype(np.int64)
