"""Choosing the integers of weights and biases: symmetric, one scale for each output channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..graph import INT32, FeatureMap
from ..networks.layers import Convolution, Floats
from .settings import Settings

Scales = NDArray[np.float32]

# A channel this much smaller than the largest one of its layer rounds to 0 in the output's common scale anyway.
SMALLEST_SHARE = 2.0**-24
SMALLEST_SCALE = 2.0**-120
BIAS_STEPS = 2.0**24  # of the largest bias of a layer without weights, which is all that it has
LARGEST_STEP = 2.0**60  # of a scale beside its channel's largest weight: all its integers are 0 long before
CHUNK_VALUES = 2**17  # weights whose errors are weighed at once


@dataclass(frozen=True, eq=False)
class QuantizedWeights:
    """weights : int16, (outputs, inputs, rows, columns);  scales : float32, (outputs,);  bias : int64, (outputs,)"""

    weights: NDArray[np.int16]
    scales: Scales
    bias: NDArray[np.int64]


def reach_of(source: FeatureMap) -> int:
    """The largest ``|x - zero_point|`` of the map ``source``."""
    return max(source.high - source.zero_point, source.zero_point - source.low)


def quantize_weights(layer: Convolution, input_scale: np.float32, reach: int, settings: Settings) -> QuantizedWeights:
    """Integers of ``layer``'s weights and bias for an input of scale ``input_scale``.

    ``reach`` is the largest ``|x - zero_point|``.  A channel whose sum could leave int32 gets a larger scale, that is
    fewer weight bits, until it cannot.
    """
    flat = layer.weights.reshape(layer.weights.shape[0], -1)
    top = 2 ** (settings.weight_bits - 1) - 1
    # The scales, and their float32 products with the input's, must stay normal numbers.
    smallest = SMALLEST_SCALE / min(float(input_scale), 1.0)
    finest = float(np.abs(layer.bias).max(initial=0)) / BIAS_STEPS / float(input_scale) * top or 1.0
    scales = _scales(flat, top, smallest, finest, settings)
    while True:
        weights, total = _rounded(flat, scales, top)
        with np.errstate(over="ignore"):  # the graph's check refuses such scales, by name
            bias = np.rint(layer.bias.astype(np.float64) / (input_scale * scales))
        excess = (total * reach + np.abs(bias)) / INT32.max
        if excess.max() <= 1:
            break
        growth = np.where(excess > 1, np.maximum(excess * 1.001, 1.001), 1.0)
        if settings.power_of_two:
            growth = 2 ** np.ceil(np.log2(growth))
        scales = (scales * growth).astype(np.float32)
    return QuantizedWeights(weights.reshape(layer.weights.shape), scales, bias.astype(np.int64))


def _rounded(flat: Floats, scales: Scales, top: int) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Integers of the weights ``flat``, (outputs, products), and the sum of their magnitudes, (outputs,)."""
    weights = np.empty(flat.shape, np.int16)
    total = np.empty(len(flat), np.int64)
    for part in _chunks(flat):
        steps = flat[part] / scales[part].astype(np.float64)[:, None]
        np.clip(np.rint(steps, out=steps), -top, top, out=steps)
        weights[part] = steps
        total[part] = np.abs(steps, out=steps).sum(axis=1)
    return weights, total


def _scales(flat: Floats, top: int, smallest: float, finest: float, settings: Settings) -> Scales:
    """One scale a channel, (outputs,): the one that just holds its largest weight, or that of least squared error.

    finest : the largest weight that a layer is taken to have of which all are 0
    """
    largest = np.maximum(-flat.min(axis=1, initial=0), flat.max(axis=1, initial=0)).astype(np.float64)
    floor = largest.max() * SMALLEST_SHARE or finest
    # An all-zero channel may have any scale; its layer's largest keeps its bias small.
    largest = np.where(largest > 0, np.maximum(largest, floor), max(largest.max(), floor))
    exact = np.maximum(largest / top, smallest)
    if settings.power_of_two:
        exact = 2 ** np.ceil(np.log2(exact))
    if settings.ranges != "mse":
        return np.asarray(exact, np.float32)
    best = exact.copy()
    for part in _chunks(flat):
        candidates = np.array([exact[part] * share for share in _shares(top, settings)])
        # Relative to the largest weight, so that float32, which is fast, holds the squares of any weights.
        relative = (flat[part] / largest[part, None]).astype(np.float32)
        steps = np.minimum(candidates / largest[part], LARGEST_STEP).astype(np.float32)
        errors = [_error(relative, step, top) for step in steps]
        chosen = np.argmin(errors, axis=0)
        best[part] = candidates[chosen, np.arange(len(chosen))]
    return np.asarray(best, np.float32)


def _error(values: Floats, scales: Scales, top: int) -> NDArray[np.float32]:
    """Sum of the squared errors of each row of ``values`` on its scale, (rows,)."""
    steps = values / scales[:, None]
    np.clip(np.rint(steps, out=steps), -top, top, out=steps)
    steps *= scales[:, None]
    steps -= values
    return np.asarray(np.einsum("ij,ij->i", steps, steps))


def _chunks(flat: Floats) -> list[slice]:
    """Rows of ``flat`` that together stay in the cache."""
    rows = max(1, CHUNK_VALUES // flat.shape[1])
    return [slice(start, start + rows) for start in range(0, len(flat), rows)]


def _shares(top: int, settings: Settings) -> NDArray[np.float64]:
    """Shares of the full range to try; wide weights have little to gain from clipping, narrow ones much."""
    if settings.power_of_two:
        return np.array([1.0, 0.5, 0.25])
    return np.linspace(1, 0.75, 11) if top >= 127 else np.linspace(1, 0.3, 57)
