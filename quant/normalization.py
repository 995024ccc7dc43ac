"""Local response normalization in integers: the tables of ``graph.Normalization``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import FeatureMap, Normalization

INDEX_BITS, FACTOR_BITS = 12, 24
EXPONENTS = (20, 80)  # what an engine can shift by


@dataclass(frozen=True, eq=False)
class Tables:
    """shift, exponent, coarse and fine of ``graph.Normalization``."""

    shift: int
    exponent: int
    coarse: NDArray[np.int32]
    fine: NDArray[np.int32]


def factor(
    squares: NDArray[np.float64],
    source: FeatureMap,
    target: FeatureMap,
    size: int,
    alpha: float,
    beta: float,
    bias: float,
) -> NDArray[np.float64]:
    """``s_x / s_y * (bias + alpha / size * s_x**2 * squares)**-beta``: what ``x - zero_point`` is multiplied by."""
    step = float(source.scale)
    base = bias + alpha / size * step**2 * squares
    return np.asarray(step / float(target.scale) * base**-beta)


def normalization_tables(
    name: str, source: FeatureMap, target: FeatureMap, size: int, alpha: float, beta: float, bias: float
) -> Tables:
    """The tables for one normalization.  Raises ModelError, naming the node, if its factor leaves the engine's range.

    A bucket of sums of squares stands for its middle.  Within each sixteenth of the range the factor is a function of
    the upper index bits plus one of the lower: their means, the sum of two functions with the least squared error.
    """
    reach = max(source.high - source.zero_point, source.zero_point - source.low)
    shift = max(0, (size * reach**2).bit_length() - INDEX_BITS)
    index = np.arange(2**INDEX_BITS, dtype=np.float64)
    middle = index * 2**shift + (2**shift - 1) / 2
    exact = factor(middle, source, target, size, alpha, beta, bias)
    exponent = FACTOR_BITS - math.frexp(float(exact.max()))[1]
    if not EXPONENTS[0] <= exponent <= EXPONENTS[1]:
        raise ModelError(
            f"node '{name}' (LRN): its output's scale {target.scale:g} is too far from its input's {source.scale:g};"
            " rescale the model's weights"
        )
    blocks = (exact * 2.0**exponent).reshape(16, 16, 16)
    coarse = np.rint(blocks.mean(axis=2))
    fine = np.rint((blocks - coarse[:, :, None]).mean(axis=1))
    # The two roundings may leave 0 .. 2**24 - 1 at the ends.
    coarse = np.clip(coarse, -fine.min(axis=1, keepdims=True), 2**FACTOR_BITS - 1 - fine.max(axis=1, keepdims=True))
    return Tables(shift, exponent, coarse.reshape(-1).astype(np.int32), fine.reshape(-1).astype(np.int32))


def normalization(
    name: str, source: FeatureMap, target: FeatureMap, size: int, alpha: float, beta: float, bias: float
) -> Normalization:
    """The layer that normalizes ``source`` into ``target``.  Raises ModelError as ``normalization_tables`` does.

    The parameters are rounded to float32, as an ONNX file holds them.
    """
    alpha, beta, bias = (float(np.float32(value)) for value in (alpha, beta, bias))
    made = normalization_tables(name, source, target, size, alpha, beta, bias)
    names = name, source.name, target.name
    return Normalization(*names, size, alpha, beta, bias, made.shift, made.exponent, made.coarse, made.fine)
