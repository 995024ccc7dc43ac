"""Maps joined along one axis, each moved to the output's scale: ONNX Runtime's QLinearConcat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap
from .requantize import dequantize, quantize
from .storage import storage
from .table import look_up


def concat(
    parts: Sequence[NDArray[Any]], sources: Sequence[FeatureMap], target: FeatureMap, axis: int = 1
) -> NDArray[Any]:
    """``parts``, integers (N, C, rows, columns) of ``sources``, joined along ``axis`` into integers of ``target``."""
    kind = storage(target)
    result = np.empty((len(parts[0]), *target.shape), kind)
    start = 0
    for part, source in zip(parts, sources, strict=True):
        if (source.scale, source.zero_point) != (target.scale, target.zero_point):
            part = look_up(part, moved(source, target), source)
        end = start + source.shape[axis - 1]
        result[(slice(None),) * axis + (slice(start, end),)] = part
        start = end
    return result


def moved(source: FeatureMap, target: FeatureMap) -> NDArray[Any]:
    """The integer of ``target`` for each of ``source``, low..high: its real in float32, quantized."""
    return quantize(dequantize(np.arange(source.low, source.high + 1), source), target)
