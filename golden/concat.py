"""Maps joined along the channels, each moved to the output's scale: ONNX Runtime's QLinearConcat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap
from .requantize import dequantize, quantize
from .storage import storage
from .table import look_up


def concat(parts: Sequence[NDArray[Any]], sources: Sequence[FeatureMap], target: FeatureMap) -> NDArray[Any]:
    """``parts``, integers (N, C, rows, columns) of ``sources``, joined into integers of ``target``."""
    kind = storage(target)
    result = np.empty((len(parts[0]), *target.shape), kind)
    start = 0
    for part, source in zip(parts, sources, strict=True):
        inside = (source.scale, source.zero_point) == (target.scale, target.zero_point)
        if not inside or source.low < target.low or source.high > target.high:
            part = look_up(part, moved(source, target), source)
        result[:, start : start + source.shape[0]] = part
        start += source.shape[0]
    return result


def moved(source: FeatureMap, target: FeatureMap) -> NDArray[np.int32]:
    """The integer of ``target`` for each of ``source``, low..high: its real in float32, quantized."""
    every = np.arange(source.low, source.high + 1, dtype=np.int32)
    if (source.scale, source.zero_point) == (target.scale, target.zero_point):
        return np.clip(every, target.low, target.high)
    return quantize(dequantize(every, source), target)
