"""The float network in NumPy: what calibration observes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..graph import Pads, Pair
from ..graph.ports import by_name
from . import functions
from .expressions import evaluate
from .layers import (
    Addition,
    Average,
    Clamped,
    Concatenation,
    Convolution,
    Extreme,
    FloatGraph,
    Floats,
    Function,
    LocalResponse,
    PixelShuffle,
    Pooling,
    Product,
    Simple,
    Slicing,
    simple,
)


def run_float(graph: FloatGraph, images: Floats | Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    """Each tensor of a simplified network in order, the inputs first: (name, float32 of shape (N, C, rows, columns)).

    images : float32, (N, C, rows, columns), of each input by name if there are several
    A tensor is forgotten once its last reader has run.
    """
    left = Counter(name for layer in graph.layers for name in layer.inputs)
    found = by_name(images, graph.inputs)
    yield from found.copy().items()
    for layer in graph.layers:
        values = compute(simple(layer), [found[name] for name in layer.inputs])
        for name in layer.inputs:
            left[name] -= 1
            if not left[name]:
                found.pop(name, None)
        found[layer.output] = values
        yield layer.output, values


def compute(layer: Simple, sources: list[Floats]) -> Floats:
    """What ``layer`` makes of ``sources``, float32 (N, C, rows, columns) all."""
    match layer:
        case Convolution():
            values = convolve(layer, sources[0])
        case Pooling():
            values = pool(layer, sources[0])
        case Slicing():
            values = take(layer, sources[0])
        case PixelShuffle():
            values = shuffle(layer, sources[0])
        case Average():
            values = average(layer, sources[0])
        case Addition():
            values = sources[0] - sources[1] if layer.operator == "Sub" else sources[0] + sources[1]
        case Product():
            values = sources[0] * sources[1]
        case Extreme():
            values = (np.maximum if layer.operator == "Max" else np.minimum)(sources[0], sources[1])
        case Concatenation():
            values = np.concatenate(sources, axis=layer.axis)
        case Function():
            values = apply(layer, sources)
        case LocalResponse():
            values = normalize(layer, sources[0])
        case unknown:
            assert_never(unknown)
    if isinstance(layer, Clamped) and (layer.low, layer.high) != (-np.inf, np.inf):
        np.clip(values, np.float32(layer.low), np.float32(layer.high), out=values)
    return values


def apply(layer: Function, sources: Sequence[Floats]) -> Floats:
    """``layer``'s function of each value."""
    if layer.steps:
        return evaluate(layer.steps, sources)
    return functions.apply(layer.operator, layer.attributes, sources[0])


def convolve(layer: Convolution, images: Floats) -> Floats:
    """Convolution and bias of (N, C, rows, columns), by one matrix product for each image and group."""
    outputs, inputs = layer.weights.shape[:2]
    each = outputs // layer.groups
    seen = windows_of(layer, images)
    count, _, rows, columns = seen.shape[:4]
    if inputs == each == 1:
        return _depthwise(layer, seen)
    result = np.empty((count, outputs, rows * columns), np.float32)
    for group in range(layer.groups):
        chosen = slice(group * each, (group + 1) * each)
        weights = layer.weights[chosen].reshape(each, -1)
        for index in range(count):  # one at a time: the matrix of windows stays small
            taken = seen[index, group * inputs : (group + 1) * inputs]
            matrix = taken.transpose(0, 3, 4, 1, 2).reshape(weights.shape[1], -1)
            np.matmul(weights, matrix, out=result[index, chosen])
    result += layer.bias[:, None]
    return result.reshape(count, outputs, rows, columns)


def windows_of(layer: Convolution, images: Floats) -> Floats:
    """What ``layer`` sees of ``images``: a view, (N, C, output rows, output columns, kernel rows, kernel columns)."""
    around = padded(images, layer.pads, 0)
    return windows(around, layer.weights.shape[2:], layer.strides, layer.dilations)


def _depthwise(layer: Convolution, seen: Floats) -> Floats:
    """One channel of input for each of output: products of shifted maps, summed."""
    count, channels, rows, columns, down, across = seen.shape
    result = np.empty((count, channels, rows, columns), np.float32)
    result[:] = layer.bias[:, None, None]
    for ky in range(down):
        for kx in range(across):
            result += seen[..., ky, kx] * layer.weights[:, :1, ky, kx, None]
    return result


def pool(layer: Pooling, images: Floats) -> Floats:
    """Maximum over windows; what lies outside the map never wins."""
    seen = windows(padded(images, layer.pads, -np.inf), layer.kernel, layer.strides, (1, 1))
    result = seen[..., 0, 0].copy()
    for ky, kx in np.ndindex(*layer.kernel):
        np.maximum(result, seen[..., ky, kx], out=result)
    return result


def take(layer: Slicing, images: Floats) -> Floats:
    """The channels, rows and columns that ``layer`` takes."""
    rows, columns = (first + step * np.arange(count) for first, step, count in (layer.rows, layer.columns))
    return images[:, np.array(layer.channels)[:, None, None], rows[:, None], columns]


def shuffle(layer: PixelShuffle, images: Floats) -> Floats:
    """(N, C, rows, columns) as (N, C / block, rows * block[0], columns * block[1])."""
    (high, wide), (count, channels, rows, columns) = layer.block, images.shape
    apart = images.reshape(count, high, wide, -1, rows, columns).transpose(0, 3, 4, 1, 5, 2)
    return apart.reshape(count, channels // (high * wide), rows * high, columns * wide)


def average(layer: Average, images: Floats) -> Floats:
    """Mean over windows; what lies outside the map adds nothing."""
    if layer.kernel == images.shape[2:] and not any(layer.pads):
        return np.asarray(images.mean(axis=(2, 3), keepdims=True, dtype=np.float32))
    seen = windows(padded(images, layer.pads, 0), layer.kernel, layer.strides, (1, 1))
    total = sum(seen[..., ky, kx] for ky, kx in np.ndindex(*layer.kernel))
    return np.asarray(total / counts(layer, (images.shape[2], images.shape[3])), np.float32)


def counts(layer: Average, size: Pair) -> Floats:
    """What each window over a map of ``size`` divides by, float32, (rows, columns)."""
    top, left, bottom, right = layer.pads
    inside = np.ones((1, 1, *size), np.float32)
    if layer.include_pad:
        inside = padded(inside, (top, left, bottom - layer.ceil[0], right - layer.ceil[1]), 1)
        top, left, bottom, right = 0, 0, *layer.ceil
    seen = windows(padded(inside, (top, left, bottom, right), 0), layer.kernel, layer.strides, (1, 1))
    return np.asarray(seen.sum(axis=(4, 5))[0, 0])


def normalize(layer: LocalResponse, images: Floats) -> Floats:
    """``x * (bias + alpha / size * sum of x**2 over channels nearby)**-beta`` (Krizhevsky et al. 2012)."""
    before = (layer.size - 1) // 2
    squares = np.pad(images**2, ((0, 0), (before, layer.size - 1 - before), (0, 0), (0, 0)))
    channels = images.shape[1]
    total = sum(squares[:, start : start + channels] for start in range(layer.size))
    base = np.float32(layer.bias) + np.float32(layer.alpha / layer.size) * np.asarray(total)
    return np.asarray(images * base ** np.float32(-layer.beta))


def padded(images: Floats, pads: Pads, value: float) -> Floats:
    """``images`` with ``value`` around them."""
    top, left, bottom, right = pads
    if not any(pads):
        return images
    return np.pad(images, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=np.float32(value))


def windows(around: Floats, kernel: tuple[int, ...], strides: Pair, dilations: Pair) -> Floats:
    """View of (N, C, rows, columns) as (N, C, output rows, output columns, kernel rows, kernel columns)."""
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    every = sliding_window_view(around, extent, axis=(2, 3))
    return every[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
