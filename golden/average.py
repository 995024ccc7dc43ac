"""Mean over windows, from exact integer sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..quant.graph import AveragePool, FeatureMap
from .requantize import saturate


def average(layer: AveragePool, values: NDArray[Any], source: FeatureMap, target: FeatureMap) -> NDArray[np.int32]:
    """``clamp(rne(fl32(fl32(sum) * s)) + zero_point)``, ``s = fl32(s_x / fl32(s_y * fl32(count)))``.

    values : integers of ``source``, (N, C, rows, columns);  what lies outside the map adds nothing
    """
    sums = window_sums(layer, values.astype(np.int32) - np.int32(source.zero_point))
    scales = np.float32(source.scale) / (np.float32(target.scale) * counts(layer, source).astype(np.float32))
    with np.errstate(over="ignore", under="ignore"):
        return saturate(sums.astype(np.float32) * scales, target)


def window_sums(layer: AveragePool, values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sum of each window of ``values``, (N, C, rows, columns), zeros outside."""
    top, left, bottom, right = layer.pads
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, layer.kernel, axis=(2, 3))[:, :, :: layer.strides[0], :: layer.strides[1]]
    return np.asarray(windows.sum(axis=(4, 5), dtype=np.int32))


def counts(layer: AveragePool, source: FeatureMap) -> NDArray[np.int32]:
    """How many elements each window counts, (rows, columns): those inside the map, or inside the pads but for ceil."""
    top, left, bottom, right = layer.pads
    counted = np.ones((1, 1, *source.shape[1:]), np.int32)
    if layer.include_pad:
        below, beside = bottom - layer.ceil[0], right - layer.ceil[1]
        counted = np.pad(counted, ((0, 0), (0, 0), (top, below), (left, beside)), constant_values=1)
        counted = np.pad(counted, ((0, 0), (0, 0), (0, layer.ceil[0]), (0, layer.ceil[1])))
        windows = sliding_window_view(counted, layer.kernel, axis=(2, 3))
        return np.asarray(windows[0, 0, :: layer.strides[0], :: layer.strides[1]].sum(axis=(2, 3)))
    return np.asarray(window_sums(layer, counted)[0, 0])
