"""Maximum over windows of integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import MaxPool, output_shape


def max_pool(layer: MaxPool, values: NDArray[Any]) -> NDArray[Any]:
    """Largest element of each window of ``values``, integers (N, C, rows, columns); what lies outside never wins."""
    top, left, bottom, right = layer.pads
    lowest = np.iinfo(values.dtype).min
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=lowest)
    _, rows, columns = output_shape(layer, (values.shape[1:],))
    down, across = layer.strides
    result: NDArray[Any] | None = None
    for ky in range(layer.kernel[0]):
        for kx in range(layer.kernel[1]):
            shifted = padded[:, :, ky : ky + rows * down : down, kx : kx + columns * across : across]
            shifted = shifted[:, :, :rows, :columns]
            result = shifted.copy() if result is None else np.maximum(result, shifted, out=result)
    assert result is not None
    return result
