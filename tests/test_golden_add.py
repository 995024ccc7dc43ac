"""Golden addition against exact rationals, and against ONNX Runtime's QLinearAdd on every pair of bytes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith import golden
from systolith.golden.add import fused, pair_sums
from systolith.quant import FeatureMap

from . import oracle
from .rationals import fl32

SCALES = st.floats(2.0**-20, 2.0**10, width=32)
BYTE = st.integers(0, 255)


def map_of(scale: float, zero_point: int, low: int = 0, high: int = 255) -> FeatureMap:
    return FeatureMap("x", (1, 1, 1), np.float32(scale), zero_point, low, high)


@settings(max_examples=2000, deadline=None)
@given(SCALES, st.integers(-(2**16), 2**16), st.floats(-(2.0**30), 2.0**30, width=32))
def test_fused_rounds_once(factor, integer, addend):
    found = fused(np.float32(factor), np.array([integer]), np.float32(addend))
    assert Fraction(float(found[0])) == fl32(Fraction(factor) * integer + Fraction(addend))


@settings(max_examples=500, deadline=None)
@given(st.integers(2**23, 2**24 - 1), st.integers(1, 255), st.integers(-20, 20))
def test_fused_at_ties(mantissa, integer, shift):
    """An addend that is half a unit of the product, and a hair more or less: where two roundings would go wrong."""
    factor = np.float32(mantissa * 2.0**-23)
    for addend in (2.0**shift, np.nextafter(np.float32(2.0**shift), np.float32(0)), 2.0**-60):
        found = fused(factor, np.array([integer]), np.float32(addend))
        assert Fraction(float(found[0])) == fl32(Fraction(float(factor)) * integer + Fraction(float(addend)))


def exact(a: int, b: int, sources: tuple[FeatureMap, FeatureMap], target: FeatureMap) -> int:
    """quant.graph.Add's formula, word for word, in rationals."""
    ratio_a, ratio_b = (fl32(Fraction(float(s.scale)) / Fraction(float(target.scale))) for s in sources)
    offset = fl32(target.zero_point - fl32(ratio_a * sources[0].zero_point + fl32(ratio_b * sources[1].zero_point)))
    total = fl32(ratio_a * a + fl32(ratio_b * b + offset))
    return min(max(round(total), target.low), target.high)


@settings(max_examples=1000, deadline=None)
@given(BYTE, BYTE, SCALES, SCALES, SCALES, BYTE, BYTE, BYTE)
def test_add_is_its_formula_in_rationals(a, b, scale_a, scale_b, scale_y, zero_a, zero_b, zero_y):
    sources = map_of(scale_a, zero_a), map_of(scale_b, zero_b)
    target = map_of(scale_y, zero_y)
    found = golden.add(np.array([[[[a]]]]), np.array([[[[b]]]]), sources, target)
    assert found.item() == exact(a, b, sources, target)


def draws(count: int, seed: int) -> list[tuple[list[float], list[int]]]:
    """Scales and zero points of a, b and y: any, equal ones, powers of two, and zero points at the ends."""
    random = np.random.default_rng(seed)
    found = []
    for index in range(count):
        scales = [float(np.float32(2.0**e)) for e in random.uniform(-12, 4, 3)]
        if index % 2:
            scales[2] = float(np.float32(max(scales[:2]) * 2.0 ** random.uniform(-1, 2)))
        if index % 5 == 0:
            scales[1] = scales[0]
        if index % 7 == 0:
            scales = [2.0 ** round(np.log2(scale)) for scale in scales]
        if index % 11 == 0:
            scales = [scales[0]] * 3
        zeros = [int(zero) for zero in random.integers(0, 256, 3)]
        if index % 4 == 0:
            zeros = [(0, 128, 255)[index // 4 % 3]] * 3
        found.append((scales, zeros))
    return found


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_every_pair_of_bytes_equals_onnxruntime(kind):
    """150 draws of scales and zero points for each type: 19.7 million sums in all, with vector bodies and tails."""
    low = int(np.iinfo(kind).min)
    a, b = (values.reshape(-1) for values in np.meshgrid(*[np.arange(low, low + 256, dtype=kind)] * 2, indexing="ij"))
    run = oracle.linear_add(kind)
    random = np.random.default_rng(0)
    for scales, zeros in draws(150, seed=int(low < 0)):
        maps = [map_of(scale, zero + low, low, low + 255) for scale, zero in zip(scales, zeros, strict=True)]
        expected = pair_sums(maps[0], maps[1], maps[2]).reshape(-1)
        np.testing.assert_array_equal(run(a, b, maps), expected)
        for length in (1, 5, 13, 31, 47):
            chosen = random.integers(0, len(a), length)
            np.testing.assert_array_equal(run(a[chosen], b[chosen], maps), expected[chosen])


def test_the_order_of_the_operands_matters_and_is_kept():
    """Both orders are within one step, yet not the same: the comparison above would notice a swap."""
    differ = 0
    for scales, zeros in draws(150, seed=0):
        a, b, y = (map_of(scale, zero) for scale, zero in zip(scales, zeros, strict=True))
        one, other = pair_sums(a, b, y).astype(int), pair_sums(b, a, y).astype(int).T
        assert abs(one - other).max() <= 1
        differ += int((one != other).sum())
    assert differ > 0


def test_a_narrow_target_clamps():
    source = map_of(0.1, 128)
    target = FeatureMap("y", (1, 1, 1), np.float32(0.1), 5, 3, 9)
    found = pair_sums(source, source, target)
    assert (found.min(), found.max()) == (3, 9)
    assert found[128, 128] == 5
