"""The float network in NumPy: what calibration observes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .floats import Convolution, FloatGraph, Floats, Pooling
from .graph import Pair


def run_float(graph: FloatGraph, images: Floats) -> Iterator[tuple[str, Floats]]:
    """Each tensor of a simplified network in order, the input first: (name, float32 of shape (N, C, rows, columns)).

    images : float32, (N, C, rows, columns)
    """
    yield graph.input, images
    values = images
    for layer in graph.layers:
        if isinstance(layer, Convolution):
            values = convolve(layer, values)
        elif isinstance(layer, Pooling):
            values = pool(layer, values)
        else:
            raise TypeError(f"{type(layer).__name__} must be simplified away before running")
        yield layer.output, values


def convolve(layer: Convolution, images: Floats) -> Floats:
    """Convolution, bias and clamp of (N, C, rows, columns) by im2col and one matrix product for each group."""
    top, left, bottom, right = layer.pads
    padded = np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = _windows(padded, _pair(layer.weights.shape[2:]), layer.strides, layer.dilations)
    count, _, rows, columns = windows.shape[:4]
    outputs, inputs = layer.weights.shape[:2]
    each = outputs // layer.groups
    result = np.empty((count, outputs, rows, columns), np.float32)
    for group in range(layer.groups):
        taken = windows[:, group * inputs : (group + 1) * inputs]
        matrix = taken.transpose(0, 2, 3, 1, 4, 5).reshape(count * rows * columns, -1)
        weights = layer.weights[group * each : (group + 1) * each].reshape(each, -1)
        product = (matrix @ weights.T).reshape(count, rows, columns, each)
        result[:, group * each : (group + 1) * each] = product.transpose(0, 3, 1, 2)
    result += layer.bias[:, None, None]
    return np.clip(result, np.float32(layer.low), np.float32(layer.high))


def pool(layer: Pooling, images: Floats) -> Floats:
    """Maximum over windows; what lies outside the map never wins."""
    top, left, bottom, right = layer.pads
    outside = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(images, outside, constant_values=np.float32(-np.inf))
    return np.asarray(_windows(padded, layer.kernel, layer.strides, (1, 1)).max(axis=(4, 5)))


def _windows(padded: Floats, kernel: Pair, strides: Pair, dilations: Pair) -> Floats:
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    every = sliding_window_view(padded, extent, axis=(2, 3))
    return every[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _pair(values: tuple[int, ...]) -> Pair:
    return values[0], values[1]
