"""Sum of two maps, ONNX Runtime's QLinearAdd, found by comparing all pairs of bytes; their difference, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap
from .requantize import dequantize, quantize
from .storage import storage


def add(
    first: NDArray[Any],
    second: NDArray[Any],
    sources: tuple[FeatureMap, FeatureMap],
    target: FeatureMap,
    pairs: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Integers of ``target`` for those of ``sources``, all of one shape.

    They are looked up in the sums of all ``pairs``, ``pair_sums``, if those are known already.
    """
    a, b = sources
    width = b.high - b.low + 1
    index = (first.astype(np.int32) - a.low) * np.int32(width) + (second.astype(np.int32) - b.low)
    pairs = pair_sums(a, b, target) if pairs is None else pairs
    return np.asarray(pairs.reshape(-1).take(index))


def pair_sums(a: FeatureMap, b: FeatureMap, target: FeatureMap) -> NDArray[Any]:
    """``clamp(rne(fl32(r_a * a + fl32(r_b * b + offset))))`` of every pair, (a, b): see quant.graph.Add."""
    ratio_a, ratio_b = (np.float32(source.scale) / np.float32(target.scale) for source in (a, b))
    inner = fused(ratio_b, np.array(b.zero_point), np.float32(0))
    offset = np.float32(target.zero_point) - fused(ratio_a, np.array(a.zero_point), inner)
    partial = fused(ratio_b, np.arange(b.low, b.high + 1), offset)
    sums = fused(ratio_a, np.arange(a.low, a.high + 1)[:, None], partial)
    return np.clip(np.rint(sums), target.low, target.high).astype(storage(target))


def pair_differences(a: FeatureMap, b: FeatureMap, target: FeatureMap) -> NDArray[Any]:
    """What DequantizeLinear, Sub and QuantizeLinear make of every pair in float32, (a, b): see quant.graph.Add."""
    reals_a, reals_b = (dequantize(np.arange(source.low, source.high + 1), source) for source in (a, b))
    return quantize(reals_a[:, None] - reals_b, target)


def fused(
    factor: np.float32, integers: NDArray[np.integer[Any]], addend: NDArray[np.float32] | np.float32
) -> NDArray[np.float32]:
    """``fl32(factor * integers + addend)``, rounded once: the fused multiply-add of float32, for integers of 16 bits.

    The product is exact in float64.  What its sum with the addend drops is known exactly (TwoSum, Knuth 1969), so the
    sum can be rounded to odd, and then rounding it to float32 is as if it were the first (Boldo and Melquiond 2008).
    """
    product = np.float64(factor) * integers.astype(np.float64)
    addend = np.asarray(addend, np.float64)
    total = np.asarray(product + addend)
    back = total - product
    dropped = (product - (total - back)) + (addend - back)
    inexact = dropped != 0
    if inexact.any():
        even = total.view(np.int64) & 1 == 0
        total = np.where(inexact & even, np.nextafter(total, np.copysign(np.inf, dropped)), total)
    return np.asarray(total, np.float32)
