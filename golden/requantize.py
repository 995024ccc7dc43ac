"""From sums to activations, and between reals and activations: ONNX Runtime's arithmetic to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap, Sums, Tensor
from ..quant.graph.errors import unknown_kind
from .storage import storage


def requantize(sums: NDArray[Any], scales: NDArray[np.float32], target: FeatureMap) -> NDArray[Any]:
    """``clamp(rne(fl32(fl32(sum) * scale)) + zero_point, low, high)``: ONNX Runtime's QLinearConv and QGemm.

    sums : integers in any type, (N, C, rows, columns);  scales : float32, (C,), quant.graph.requantization_scales
    """
    with np.errstate(over="ignore", under="ignore"):  # infinity saturates as it should
        return saturate(sums.astype(np.float32) * scales[:, None, None], target)


def quantize(values: NDArray[np.float32], target: FeatureMap) -> NDArray[Any]:
    """``clamp(rne(fl32(value / scale)) + zero_point, low, high)``: ONNX QuantizeLinear-21 of float32 of any shape."""
    with np.errstate(over="ignore", under="ignore"):
        return saturate(values.astype(np.float32) / target.scale, target)


def dequantize(values: NDArray[Any], source: Tensor) -> NDArray[np.float32]:
    """The reals that integers (N, C, rows, columns) stand for, in float32 as ONNX Runtime computes them.

    A map's are ``fl32(fl32(q - zero_point) * scale)``, sums' are ``fl32(fl32(sum) * fl32(scale_x * scale_w))``, and
    then shifted where a bias stayed real.
    """
    match source:
        case FeatureMap():
            return (values.astype(np.int32) - source.zero_point).astype(np.float32) * source.scale
        case Sums():
            reals = values.astype(np.float32) * source.scales[:, None, None]
            return reals if source.shifts is None else reals + source.shifts[:, None, None]
        case unknown:
            unknown_kind(unknown)


def saturate(steps: NDArray[np.float32], target: FeatureMap) -> NDArray[Any]:
    """``clamp(rne(steps) + zero_point, low, high)`` in the map's type; ``steps``, float32, are overwritten."""
    # Clamped as floats, before anything can overflow; the bounds are small integers, so they are exact.
    np.clip(steps, np.float32(target.low - target.zero_point), np.float32(target.high - target.zero_point), out=steps)
    np.rint(steps, out=steps)
    steps += np.float32(target.zero_point)
    return steps.astype(storage(target))
