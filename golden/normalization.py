"""Local response normalization in integers: squares of neighbouring channels, two tables, one product."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap, Normalization
from .requantize import saturate


def normalize(layer: Normalization, values: NDArray[Any], source: FeatureMap, target: FeatureMap) -> NDArray[np.int32]:
    """``clamp(rne(fl32((x - zp_x) * G * 2**-exponent)) + zp_y)``: quant.graph.Normalization.

    values : integers of ``source``, (N, C, rows, columns)
    """
    centred = values.astype(np.int32) - np.int32(source.zero_point)
    index = table_index(square_sums(layer.size, centred) >> layer.shift)
    factors = layer.coarse[index >> 4] + layer.fine[(index >> 8 << 4) + (index & 15)]
    # Nine bits times 24 are exact in float64; a power of two changes nothing.
    products = centred * factors.astype(np.float64)
    return saturate(np.ldexp(products, -layer.exponent).astype(np.float32), target)


def table_index(sums: NDArray[np.int32]) -> NDArray[np.int32]:
    """``sums``, 16 bits, as floats of 3 bits of exponent and 9 of mantissa."""
    exponent = np.maximum(np.frexp(sums.astype(np.float32))[1] - 9, 0)
    return np.where(exponent > 0, (exponent << 9) + (sums >> np.maximum(exponent - 1, 0) & 511), sums)


def square_sums(size: int, centred: NDArray[np.int32]) -> NDArray[np.int32]:
    """Sum of the squares of ``size`` channels around each, (N, C, rows, columns); channels outside add nothing."""
    before = (size - 1) // 2
    channels = centred.shape[1]
    squares = np.pad(centred * centred, ((0, 0), (before, size - 1 - before), (0, 0), (0, 0)))
    result = squares[:, :channels].copy()
    for start in range(1, size):
        result += squares[:, start : start + channels]
    return result
