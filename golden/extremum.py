"""The larger, or the smaller, of two maps: each moved to the output's scale, then compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import Extremum, FeatureMap
from .concat import moved
from .table import look_up


def extremum(
    layer: Extremum,
    first: NDArray[Any],
    second: NDArray[Any],
    sources: tuple[FeatureMap, FeatureMap],
    target: FeatureMap,
) -> NDArray[Any]:
    """Integers of ``target`` for those of ``sources``, all of one shape."""
    a, b = (
        look_up(values, moved(source, target), source) for values, source in zip((first, second), sources, strict=True)
    )
    return np.asarray(np.maximum(a, b) if layer.operator == "Max" else np.minimum(a, b))
