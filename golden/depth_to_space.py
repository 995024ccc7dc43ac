"""Channels side by side become rows and columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import DepthToSpace


def depth_to_space(layer: DepthToSpace, values: NDArray[Any]) -> NDArray[Any]:
    """``values``, integers (N, C, rows, columns), as (N, C / block, rows * block[0], columns * block[1])."""
    (high, wide), (count, channels, rows, columns) = layer.block, values.shape
    outputs = channels // (high * wide)
    apart = values.reshape(count, high, wide, outputs, rows, columns)
    # (N, outputs, rows, high, columns, wide)
    return np.ascontiguousarray(apart.transpose(0, 3, 4, 1, 5, 2)).reshape(count, outputs, rows * high, columns * wide)
