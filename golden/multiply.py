"""Product of two maps: ONNX Runtime's QLinearMul, found by comparing all 65,536 pairs of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap
from .storage import storage


def multiply(
    first: NDArray[Any], second: NDArray[Any], sources: tuple[FeatureMap, FeatureMap], target: FeatureMap
) -> NDArray[Any]:
    """Integers of ``target`` for those of ``sources``, of one shape but for rows and columns of 1.

    Each product and the zero point's addition are rounded to float32, and then to an integer: see quant.graph.Multiply.
    """
    a, b = sources
    ratio = np.float32(a.scale * b.scale) / target.scale
    product: NDArray[np.int32] = (first.astype(np.int32) - a.zero_point) * (second.astype(np.int32) - b.zero_point)
    shifted = product.astype(np.float32) * ratio + np.float32(target.zero_point)
    return np.asarray(np.clip(np.rint(shifted), target.low, target.high), storage(target))
