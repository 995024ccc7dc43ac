"""The integer type that holds a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..quant.graph import FeatureMap


def storage(tensor: FeatureMap) -> np.dtype[Any]:
    """The narrowest of uint8, int8, uint16, int16 and int32 that holds low..high of ``tensor``."""
    kinds = (np.dtype(kind) for kind in (np.uint8, np.int8, np.uint16, np.int16, np.int32))
    return next(
        kind for kind in kinds if np.iinfo(kind.name).min <= tensor.low and tensor.high <= np.iinfo(kind.name).max
    )
