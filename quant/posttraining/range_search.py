"""Choosing the scale and zero point of a feature map from its histogram."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np

from .histogram import BINS, Histogram
from .settings import PERCENTILE, Settings

Grid = tuple[np.float32, int]  # scale, zero point of the unsigned integers 0 .. 2**bits - 1

SHRINK_STEPS = 64  # ranges that "mse" tries for each end
SMALLEST = 2.0**-100  # keeps products of scales inside float32's normal numbers


def choose_grid(histogram: Histogram, bits: int, settings: Settings) -> Grid:
    """Scale and zero point for the values counted, on unsigned integers of ``bits``."""
    match settings.scales:
        case "float":
            return affine_grid(*_range(histogram, bits, settings), bits)
        case "pow2":
            return _power_of_two(histogram, bits, settings)
        case unknown:
            assert_never(unknown)


def _range(histogram: Histogram, bits: int, settings: Settings) -> tuple[float, float]:
    """The reals that a grid of any scale must cover."""
    match settings.ranges:
        case "minmax":
            return histogram.low, histogram.high
        case "percentile":
            return histogram.percentile(PERCENTILE)
        case "mse":
            return _least_squares(histogram, bits)
        case unknown:
            assert_never(unknown)


def affine_grid(low: float, high: float, bits: int) -> Grid:
    """The grid whose ends are nearest to ``low <= 0 <= high`` and that holds 0 exactly."""
    top = 2**bits - 1
    scale = np.float32(max((high - low) / top, SMALLEST)) if high > low else np.float32(1)
    return scale, int(np.clip(np.rint(-low / float(scale)), 0, top))


def _power_of_two(histogram: Histogram, bits: int, settings: Settings) -> Grid:
    """The finest power of two that covers the range, or, of all values, the one of least error among it and finer ones.

    The zero point is 0 if nothing is negative, else the middle, so that hardware needs no addition.
    """
    tries = settings.ranges == "mse"
    low, high = (histogram.low, histogram.high) if tries else _range(histogram, bits, settings)
    zero_point = 0 if histogram.low >= 0 else 2 ** (bits - 1)
    top = 2**bits - 1
    need = max(high / (top - zero_point), -low / zero_point if zero_point else 0.0, SMALLEST)
    widest = math.ceil(math.log2(need)) if high > low else 0
    exponents = range(widest, widest - bits - 3, -1) if tries and high > low else (widest,)
    errors = [_error(histogram, 2.0**exponent, zero_point, top) for exponent in exponents]
    return np.float32(2.0 ** exponents[int(np.argmin(errors))]), zero_point


def _least_squares(histogram: Histogram, bits: int) -> tuple[float, float]:
    """The range of least squared error: both ends shrink together, then each one alone."""
    low, high = histogram.low, histogram.high

    def error(candidate: tuple[float, float]) -> float:
        scale, zero_point = affine_grid(*candidate, bits)
        return _error(histogram, float(scale), zero_point, 2**bits - 1)

    shares = np.linspace(1, 1 / SHRINK_STEPS, SHRINK_STEPS)
    best = min([(low * share, high * share) for share in shares], key=error)
    best = min([best] + [(low * share, best[1]) for share in shares], key=error)
    return min([best] + [(best[0], high * share) for share in shares], key=error)


def _error(histogram: Histogram, scale: float, zero_point: int, top: int) -> float:
    """Sum of squared errors of all values counted, on the grid ``scale * (0..top - zero_point)``.

    A step finer than a few bins is counted as evenly distributed, scale**2 / 12 (Bennett 1948).
    """
    centers = histogram.centers
    steps = np.clip(np.rint(centers / scale), -zero_point, top - zero_point)
    squared = (centers - steps * scale) ** 2
    if scale < 8 * histogram.limit / BINS:
        inside = np.clip(centers, (-zero_point - 0.5) * scale, (top - zero_point + 0.5) * scale)
        squared = np.where(inside == centers, scale**2 / 12, squared)
    return float(squared @ histogram.counts)
