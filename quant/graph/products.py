"""Products of two maps: the factor with which a requantization makes of each what QLinearMul does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .layers import FeatureMap

NEARBY = 64
"""Units in the last place that a factor is tried on either side."""


def product_factor(a: FeatureMap, b: FeatureMap, target: FeatureMap) -> np.float32 | None:
    """A float32 ``f`` that makes all products, p, what QLinearMul makes them:

        clamp(rne(fl32(fl32(p) * f)) + zero_point), a tie going where its sum with the zero point is even

    QLinearMul adds the zero point before it rounds, in float32, where more values are ties.  So the factor may have to
    be a neighbour of the ratio of scales, the nearest that does; None if there is none nearby.
    """
    values = products(a, b)
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.float32(a.scale * b.scale) / target.scale
    if not 0 < ratio < np.inf:
        return None
    shifted = values * ratio + np.float32(target.zero_point)
    wanted = np.clip(np.rint(shifted), target.low, target.high)
    odd = target.zero_point % 2
    for step in sorted(range(-NEARBY, NEARBY + 1), key=abs):
        factor = (ratio.view(np.int32) + np.int32(step)).view(np.float32)
        rounded = np.rint((values * factor).astype(np.float64) + odd) - odd + target.zero_point
        if np.array_equal(np.clip(rounded, target.low, target.high), wanted):
            return np.float32(factor)
    return None


def products(a: FeatureMap, b: FeatureMap) -> NDArray[np.float32]:
    """``(a - zp_a) * (b - zp_b)`` of all pairs of integers, each once, in order; exact, for maps of 8 bits."""
    first, second = (np.arange(m.low - m.zero_point, m.high - m.zero_point + 1) for m in (a, b))
    return np.unique(np.outer(first, second)).astype(np.float32)
