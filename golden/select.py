"""Some of a map's channels, rows and columns, as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import Selection


def select(layer: Selection, values: NDArray[Any]) -> NDArray[Any]:
    """``values``, integers (N, C, rows, columns), at the channels, rows and columns of ``layer``."""
    rows, columns = (first + step * np.arange(count) for first, step, count in (layer.rows, layer.columns))
    return values[:, np.array(layer.channels)[:, None, None], rows[:, None], columns]
