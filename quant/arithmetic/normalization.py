"""Local response normalization in integers: the tables of ``graph.Normalization``.

A bipartite table (Das Sarma and Matula 1995) splits the index in three: ``coarse`` knows the upper two thirds, and
``fine`` adds, for the upper and the lower third, how the factor differs from that of the middle.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..graph import EXPONENTS, FeatureMap, Normalization
from ..graph.errors import ModelError

Factors = NDArray[np.float64]
SUM_BITS, MANTISSA, THIRD = 16, 512, 16
FACTOR_BITS = 24


def normalization(
    name: str, source: FeatureMap, target: FeatureMap, size: int, alpha: float, beta: float, bias: float
) -> Normalization:
    """The layer that normalizes ``source`` into ``target``; parameters are rounded to float32, as files hold them.

    Raises ModelError, naming the node, if the factor is beyond what an engine can shift.
    """
    alpha, beta, bias = (float(np.float32(value)) for value in (alpha, beta, bias))
    step = float(source.scale)

    def factor(squares: Factors) -> Factors:
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(step / float(target.scale) * (bias + alpha / size * step**2 * squares) ** -beta)

    reach = max(source.high - source.zero_point, source.zero_point - source.low)
    shift = max(0, (size * reach**2).bit_length() - SUM_BITS)
    largest = float(factor(np.zeros(1))[0])
    exponent = FACTOR_BITS - math.frexp(largest)[1] if 0 < largest < math.inf else 0
    if not EXPONENTS[0] <= exponent <= EXPONENTS[1]:
        raise ModelError(
            f"node '{name}' (LRN): its output's scale {target.scale:g} is too far from its input's {source.scale:g};"
            " rescale the model's weights"
        )

    def at(upper: Factors, middle: Factors | float, lower: Factors | float) -> Factors:
        """The factor in the middle of the sums of squares that share this index."""
        exponent_of, mantissa = np.divmod((upper * THIRD + middle) * THIRD + lower, MANTISSA)
        width = 2.0 ** np.maximum(exponent_of - 1, 0)
        first = (mantissa + np.where(exponent_of > 0, MANTISSA, 0)) * width
        return factor((first + width / 2) * 2**shift - 0.5) * 2.0**exponent

    third = np.arange(THIRD, dtype=np.float64)
    half = (THIRD - 1) / 2
    coarse = np.rint(at(third[:, None], third, half))
    fine = np.rint(at(third[:, None], half, third) - at(third[:, None], half, half))
    # Where the two meet at the very top they may exceed 24 bits by their roundings.
    coarse = np.minimum(coarse, 2**FACTOR_BITS - 1 - fine.max(axis=1, keepdims=True))
    coarse = np.maximum(coarse, -fine.min(axis=1, keepdims=True))
    tables = (table.reshape(-1).astype(np.int32) for table in (coarse, fine))
    return Normalization(name, source.name, target.name, size, alpha, beta, bias, shift, exponent, *tables)
