"""A function of one value on two grids: the integer that each input integer becomes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import FeatureMap
from ..networks.execute import apply
from ..networks.layers import Function, refusal


def table(function: Function, source: FeatureMap, target: FeatureMap) -> NDArray[np.int32]:
    """``clamp(rne(fl32(f(fl32(s_x * (x - zp_x))) / s_y)) + zp_y)`` for each x in low..high, (high - low + 1,).

    This is what ONNX Runtime computes of DequantizeLinear, the function, QuantizeLinear.  Raises ModelError, naming the
    node, if the function has no value for one of the integers.
    """
    steps = np.arange(source.low, source.high + 1, dtype=np.int64) - source.zero_point
    with np.errstate(over="ignore"):  # the graph's check refuses such scales, by name
        reals = steps.astype(np.float32) * np.float32(source.scale)
    values = apply(function, [reals])
    if np.isnan(values).any():
        where = float(reals[np.isnan(values)][0])
        raise refusal(function, f"has no value at {where:g}, which its quantized input can reach")
    return on_grid(values, target)


def on_grid(values: NDArray[np.float32], target: FeatureMap) -> NDArray[np.int32]:
    """``clamp(rne(fl32(value / scale)) + zero_point)``: QuantizeLinear to ``target``'s low..high, int32."""
    with np.errstate(over="ignore"):
        scaled = np.clip(np.rint(values / np.float32(target.scale)), -(2.0**20), 2.0**20).astype(np.int32)
    return np.asarray(np.clip(scaled + target.zero_point, target.low, target.high), np.int32)
