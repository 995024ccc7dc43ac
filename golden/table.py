"""A function of one value: a look-up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap


def look_up(values: NDArray[Any], table: NDArray[np.int32], source: FeatureMap) -> NDArray[np.int32]:
    """``table[value - low]`` for ``values``, integers of ``source`` of any shape."""
    return np.asarray(table.take(values.astype(np.int32) - source.low))
