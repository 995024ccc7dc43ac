"""Golden's rounding against exact rational numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from systolith import golden
from systolith.quant import FeatureMap, Sums

from .rationals import fl32

INT32 = st.integers(-(2**31), 2**31 - 1)
SCALES = st.floats(2.0**-40, 2.0**10, width=32)
RANGES = st.sampled_from(
    [(0, 255, 0), (0, 255, 128), (-128, 127, -128), (0, 15, 8), (3, 200, 17), (0, 65535, 32768), (0, 3, 2)]
)


def feature_map(bounds: tuple[int, int, int], scale: float = 1.0) -> FeatureMap:
    return FeatureMap("y", (1, 1, 1), np.float32(scale), bounds[2], bounds[0], bounds[1])


def exact(total: int, scale: float, target: FeatureMap) -> int:
    product = fl32(fl32(Fraction(total)) * Fraction(scale))
    return min(max(round(product) + target.zero_point, target.low), target.high)


def requantized(total: int, scale: float, target: FeatureMap) -> int:
    sums = np.array(total, np.int32).reshape(1, 1, 1, 1)
    return int(golden.requantize(sums, np.array([scale], np.float32), target).item())


@settings(max_examples=2000, deadline=None)
@given(INT32, SCALES, RANGES)
@example(2**31 - 1, 2.0**-23, (0, 255, 0))
@example(-(2**31), 2.0**10, (0, 65535, 32768))
@example(2**24 + 1, 2.0**-17, (0, 255, 0))
def test_requantize_is_exact(total, scale, bounds):
    target = feature_map(bounds)
    assert requantized(total, scale, target) == exact(total, scale, target)


@settings(max_examples=1000, deadline=None)
@given(st.integers(-300, 300), st.integers(1, 20), st.integers(-2, 2), RANGES)
def test_requantize_near_ties(step, shift, nudge, bounds):
    """Sums at, just below and just above the middle between two steps, with a power-of-two scale."""
    total = step * 2**shift + 2 ** (shift - 1) + nudge
    target = feature_map(bounds)
    assert requantized(total, 2.0**-shift, target) == exact(total, 2.0**-shift, target)


def test_ties_go_to_even():
    target = feature_map((-128, 127, 0))
    assert [requantized(total, 0.5, target) for total in (-5, -3, -1, 1, 3, 5)] == [-2, -2, 0, 0, 2, 2]


def test_a_sum_wider_than_24_bits_is_rounded_before_the_product():
    # 2**24 + 1 becomes 2**24, so that the product is 100 and a half exactly, and the tie goes to 100.
    scale = float(np.float32(100.5 / 2**24))
    assert requantized(2**24 + 1, scale, feature_map((0, 255, 0))) == 100
    assert round(Fraction(2**24 + 1) * Fraction(scale)) == 101


def test_each_channel_has_its_own_scale():
    sums = np.full((2, 3, 1, 2), 100, np.int32)
    found = golden.requantize(sums, np.array([0.1, 0.5, 10], np.float32), feature_map((0, 255, 3)))
    assert found[1, :, 0, 1].tolist() == [13, 53, 255]


@settings(max_examples=1000, deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), SCALES, RANGES)
@example(0.5, 1.0, (0, 255, 0))
@example(3.4e38, 2.0**-40, (0, 255, 0))
def test_quantize_is_exact(value, scale, bounds):
    target = feature_map(bounds, scale)
    quotient = fl32(Fraction(value) / Fraction(scale))
    if 0 < abs(quotient) < Fraction(2) ** -120:
        quotient = Fraction(0)  # float32 has no such numbers; they round to 0 either way
    expected = min(max(round(quotient) + target.zero_point, target.low), target.high)
    assert golden.quantize(np.float32([value]), target).item() == expected


@pytest.mark.parametrize("bounds", [(0, 255, 7), (0, 65535, 30000), (-128, 127, -3)], ids=str)
def test_quantize_inverts_dequantize_for_every_integer(bounds):
    for scale in (0.1, 1 / 3, 2.0**-6, 7e-5):
        target = feature_map(bounds, scale)
        every = np.arange(bounds[0], bounds[1] + 1).reshape(-1, 1, 1, 1)
        np.testing.assert_array_equal(golden.quantize(golden.dequantize(every, target), target), every)


@settings(max_examples=500, deadline=None)
@given(INT32, st.floats(2.0**-60, 1, width=32))
def test_sums_are_dequantized_with_two_roundings(total, scale):
    sums = Sums("y", (1, 1, 1), np.array([scale], np.float32))
    found = golden.dequantize(np.array(total, np.int32).reshape(1, 1, 1, 1), sums)
    assert Fraction(float(found.item())) == fl32(fl32(Fraction(total)) * Fraction(scale))
