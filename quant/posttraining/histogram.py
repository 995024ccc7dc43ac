"""Streaming histograms: the distribution of a tensor over many batches in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph.errors import DataError
from ..networks.layers import Floats

BINS = 4096  # over -limit..limit; halved in resolution whenever the limit doubles


class Histogram:
    """Counts of values in equal bins over -limit..limit, where limit is a power of two that grows with the data.

    Zeros are counted apart: after a Relu they are most values, cost nothing, and must not blur the smallest bin.
    ``low`` and ``high`` are the exact extremes, and include 0.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.limit = 0.0
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.zeros = 0

    def add(self, name: str, values: Floats) -> None:
        """Count ``values``, any shape.  Raises DataError, naming the tensor, if one of them is not finite."""
        low, high = float(values.min(initial=0)), float(values.max(initial=0))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"tensor '{name}' reaches NaN or infinity on the calibration data; the model overflows on it"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._grow(max(-low, high))
        if self.limit == 0:
            self.zeros += values.size
            return
        nonzero = values[values != 0]
        self.zeros += values.size - nonzero.size
        places = nonzero.astype(np.float64) * (BINS / (2 * self.limit)) + BINS // 2
        places = np.clip(places, 0, BINS - 1).astype(np.int64)
        self.counts += np.bincount(places, minlength=BINS)

    def _grow(self, reach: float) -> None:
        if reach > 0 and self.limit == 0:
            self.limit = 2.0 ** float(np.ceil(np.log2(reach)))
        while self.limit < reach:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.limit *= 2

    @property
    def centers(self) -> NDArray[np.float64]:
        """Middle of each bin, (bins,), moved inside low..high."""
        width = 2 * self.limit / BINS
        return np.clip(-self.limit + width * (np.arange(BINS) + 0.5), self.low, self.high)

    def percentile(self, share: float) -> tuple[float, float]:
        """Range that leaves out ``1 - share`` of all values at each end, and contains 0."""
        total = self.zeros + int(self.counts.sum())
        spare = (1 - share) * total
        half = BINS // 2
        width = 2 * self.limit / BINS
        above = np.cumsum(self.counts[half:][::-1])
        below = np.cumsum(self.counts[:half])
        high = self.limit - width * int(np.searchsorted(above, spare, side="right"))
        low = -self.limit + width * int(np.searchsorted(below, spare, side="right"))
        return max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0))

    def nonzero(self, share: float) -> tuple[float, float]:
        """Range of the middle ``share`` of the values that are not 0, and 0, to the edges of bins."""
        total = int(self.counts.sum())
        if not total:
            return 0.0, 0.0
        width = 2 * self.limit / BINS
        below = np.cumsum(self.counts)
        first = int(np.searchsorted(below, (1 - share) / 2 * total, side="right"))
        last = int(np.searchsorted(below, (1 + share) / 2 * total))
        low, high = -self.limit + width * first, -self.limit + width * (last + 1)
        return max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0))


def merged(histograms: Sequence[Histogram]) -> Histogram:
    """The distribution of all values that ``histograms`` counted."""
    if len(histograms) == 1:
        return histograms[0]
    result = Histogram()
    for one in histograms:
        result._grow(one.limit)
        other = Histogram()
        other.limit, other.counts = one.limit, one.counts
        if one.limit:
            other._grow(result.limit)
            result.counts = result.counts + other.counts
        result.low, result.high = min(result.low, one.low), max(result.high, one.high)
        result.zeros += one.zeros
    return result
