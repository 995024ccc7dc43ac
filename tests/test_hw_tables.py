"""The tables of additions, rescalings and functions: right for all inputs, or refused."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith import golden
from systolith.golden.concat import moved
from systolith.hw.compiler.tables import (
    addition_tables,
    nearest,
    normalization_tables,
    reference_sum,
    rescaling_tables,
    unary_tables,
)
from systolith.hw.isa.program import TABLE_FRACTION
from systolith.quant import (
    ConfigurationError,
    FeatureMap,
    Normalization,
    Table,
)

from .hw_networks import element_offset
from .rationals import fl32

RANGES = [(0, 255), (-128, 127), (0, 127), (3, 200), (-7, 0), (0, 0)]


def offset_of(tensor):
    return element_offset(tensor, 8)


def feature_map(rng, scale):
    low, high = RANGES[rng.integers(len(RANGES))]
    zero_point = int(rng.choice([low, high, rng.integers(low, high + 1)]))
    return FeatureMap("", (1, 1, 1), np.float32(scale), zero_point, low, high)


def looked_up(tables, first, second, target):
    """What the hardware makes of stored bytes: the sum of both entries, half to even, clamped, as an integer."""
    a = tables[(first & 255)] + tables[256 + (second & 255)]
    offset = offset_of(target)
    steps = np.floor_divide(a, 1 << TABLE_FRACTION)
    rest = a - (steps << TABLE_FRACTION)
    half = 1 << (TABLE_FRACTION - 1)
    steps += (rest > half) | ((rest == half) & (steps & 1 == 1))
    return np.clip(steps, target.low - offset, target.high - offset) + offset


def check_sums(sources, target):
    """All pairs against golden.add, which knows nothing of tables."""
    tables = addition_tables(sources, tuple(map(offset_of, sources)), target, offset_of(target), "sum")
    assert tables.min() >= -(2**31)
    assert tables.max() < 2**31
    a, b = (np.arange(s.low, s.high + 1) for s in sources)
    first, second = np.meshgrid(a, b, indexing="ij")
    expected = golden.add(first, second, sources, target)
    stored = first - offset_of(sources[0]), second - offset_of(sources[1])
    np.testing.assert_array_equal(looked_up(tables, *stored, target), expected)
    np.testing.assert_array_equal(reference_sum(sources, target), expected)


def test_a_sum_that_float64_rounds_to_a_tie_of_float32_is_still_rounded_once():
    """130 * 16519105 = 2**31 + 2: the sum is 128.5 + 2**-17 + 2**-47, beyond the middle of two float32."""
    first, second, target = (
        FeatureMap("", (1, 1, 1), np.float32(scale), 0, 0, 255) for scale in (16519105 * 2.0**-48, 128.5, 1.0)
    )
    sums = reference_sum((first, second), target)
    assert sums[130, 1] == 129
    np.testing.assert_array_equal(sums, golden.add(*np.mgrid[:256, :256], (first, second), target))


@pytest.mark.parametrize("part", range(4))
def test_sums_of_random_scales_are_right_for_all_pairs(part):
    rng = np.random.default_rng(part)
    refused = 0
    for _ in range(60):
        sources = feature_map(rng, rng.uniform(0.004, 0.08)), feature_map(rng, rng.uniform(0.004, 0.08))
        target = feature_map(rng, rng.uniform(0.01, 0.1))
        try:
            check_sums(sources, target)
        except ConfigurationError as error:
            assert "fit no tables" in str(error)  # noqa: PT017
            refused += 1
    assert refused == 0


POWERS = [*product((-6, -5), (-7, -5, -3), (-6, -4))]


@pytest.mark.parametrize(("a", "b", "y"), POWERS)
def test_sums_of_powers_of_two_are_right_for_all_pairs(a, b, y):
    """Where every other sum may be a tie."""
    rng = np.random.default_rng([-a, -b, -y])
    check_sums((feature_map(rng, 2.0**a), feature_map(rng, 2.0**b)), feature_map(rng, 2.0**y))


@pytest.mark.parametrize(("low", "high"), [(1, 256), (-129, 126)])
@pytest.mark.parametrize("constant", [0, 1])
def test_ties_go_the_right_way_where_a_map_is_stored_an_odd_number_less(low, high, constant):
    """What is even then is odd where it is stored: every tie must be moved off, up or down."""
    half = FeatureMap("", (1, 1, 1), np.float32(0.5), 0, -128, 127)
    nothing = FeatureMap("", (1, 1, 1), np.float32(0.5), 0, 0, 0)
    target = FeatureMap("", (1, 1, 1), np.float32(1), low + 60, low, high)
    assert offset_of(target) % 2 == 1
    check_sums((nothing, half) if constant == 0 else (half, nothing), target)


@pytest.mark.parametrize("scale", [0.0173, 1.0, 0.3, 2.0**-20])
@pytest.mark.parametrize("ratio", [1, 3, Fraction(1, 2), Fraction(1, 3)])
def test_sums_of_equal_scales_are_right_for_all_pairs(scale, ratio):
    rng = np.random.default_rng(int(1000 * scale) + ratio.numerator)
    source = feature_map(rng, scale), feature_map(rng, scale)
    check_sums(source, feature_map(rng, np.float32(scale) * np.float32(float(ratio))))


@pytest.mark.parametrize(("a", "b"), [(600.0, 0.01), (0.01, 5000.0), (0.3, 0.3)])
def test_sums_that_overflow_the_tables_only_where_they_are_clamped_are_right(a, b):
    full = FeatureMap("", (1, 1, 1), np.float32(a), 3, -128, 127)
    other = FeatureMap("", (1, 1, 1), np.float32(b), -9, -128, 127)
    check_sums((full, other), FeatureMap("", (1, 1, 1), np.float32(0.05), 0, -128, 127))


@pytest.mark.parametrize("scales", [(3000, 3000, 0.05), (3, 3, 0.01), (0.5, 0.5, 0.001)])
def test_sums_that_no_tables_give_are_refused_with_their_scales(scales):
    """256 levels, each of them a whole range of results above the next, are beyond 12 bits."""
    a, b, y = (FeatureMap("", (1, 1, 1), np.float32(scale), 0, -128, 127) for scale in scales)
    with pytest.raises(ConfigurationError) as caught:
        addition_tables((a, b), (0, 0), y, 0, "sum")
    assert str(caught.value) == (
        f"layer 'sum': its sums at scales {a.scale:g}, {b.scale:g}, {y.scale:g} fit no tables; requantize its inputs to"
        " scales nearer to its output's"
    )


def test_a_pair_that_no_tables_can_give_is_seen(monkeypatch):
    """One result changed by hand, so that no A + B gives all four corners."""
    source = FeatureMap("", (1, 1, 1), np.float32(0.05), 0, 0, 20)
    target = FeatureMap("", (1, 1, 1), np.float32(0.05), 0, 0, 40)
    wanted = reference_sum((source, source), target)
    wanted[5, 5] += 3
    monkeypatch.setattr("systolith.hw.compiler.tables.reference_sum", lambda sources, target: wanted)
    with pytest.raises(ConfigurationError, match=r"^layer 'sum': its sums at scales 0.05, 0.05, 0.05 fit no tables"):
        addition_tables((source, source), (0, 0), target, 0, "sum")


@pytest.mark.parametrize("part", range(2))
def test_rescaling_is_goldens_concatenation(part):
    rng = np.random.default_rng(50 + part)
    for _ in range(100):
        source = feature_map(rng, rng.choice([rng.uniform(0.001, 1), 2.0 ** rng.integers(-8, 1)]))
        target = feature_map(rng, rng.choice([rng.uniform(0.001, 1), 2.0 ** rng.integers(-8, 1), 1e-6, 1e6]))
        tables = rescaling_tables(source, offset_of(source), target, offset_of(target))
        values = np.arange(source.low, source.high + 1)
        found = looked_up(tables, values - offset_of(source), np.zeros_like(values), target)
        np.testing.assert_array_equal(found, moved(source, target))
        assert not tables[256:].any()


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.25, 1.5, 2.5])
def test_rescaling_rounds_twice_where_goldens_concatenation_does(ratio):
    """Near ties: the ratio of the scales is not quite what it is in float32."""
    rng = np.random.default_rng(int(100 * ratio))
    for scale in rng.uniform(0.01, 1, 200).astype(np.float32):
        source = FeatureMap("", (1, 1, 1), np.float32(scale * np.float32(ratio)), 0, -128, 127)
        target = FeatureMap("", (1, 1, 1), scale, 0, -128, 127)
        tables = rescaling_tables(source, 0, target, 0)
        values = np.arange(-128, 128)
        np.testing.assert_array_equal(looked_up(tables, values, np.zeros_like(values), target), moved(source, target))


@pytest.mark.parametrize("bounds", RANGES)
def test_functions_are_their_values(bounds):
    rng = np.random.default_rng(bounds[1])
    for _ in range(10):
        source = FeatureMap("", (1, 1, 1), np.float32(1), bounds[0], *bounds)
        target = feature_map(rng, 1)
        values = rng.integers(target.low, target.high + 1, bounds[1] - bounds[0] + 1).astype(np.int32)
        layer = Table("t", "Random", "x", "y", values)
        tables = unary_tables(layer, source, offset_of(source), offset_of(target))
        x = np.arange(bounds[0], bounds[1] + 1)
        found = looked_up(tables, x - offset_of(source), np.zeros_like(x), target)
        np.testing.assert_array_equal(found, golden.look_up(x, values, source))


def test_normalizations_tables_are_its_own_one_after_the_other():
    coarse, fine = np.arange(256, dtype=np.int32) * 1000, -np.arange(256, dtype=np.int32)
    layer = Normalization("n", "x", "y", 3, 1e-4, 0.75, 1.0, 0, 24, coarse, fine)
    assert normalization_tables(layer).tolist() == [*coarse.tolist(), *fine.tolist()]


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.fractions(max_denominator=1 << 40), st.integers(-60, 60))
def test_nearest_is_the_nearest_float32(value, exponent):
    value *= Fraction(2) ** exponent
    assert nearest(value) == fl32(value)


def test_nearest_is_numpys_float32_at_ties_and_powers_of_two():
    """Products and sums of two float32 are exact in float64, or nearly; numpy rounds those to float32."""
    rng = np.random.default_rng(3)
    values = [
        *np.ldexp(1.0, np.arange(-30, 30)),
        *np.ldexp(rng.integers(2**24, 2**26, 2000), rng.integers(-40, 10, 2000)),
    ]
    values += [v * (1 - 2.0**-25) for v in values[:60]] + [v * (1 - 2.0**-26) for v in values[:60]]
    values += [v * (1 + 2.0**-24) for v in values[:60]]  # half-way to the next
    for value in values:
        for signed in (float(value), -float(value)):
            assert nearest(Fraction(signed)) == Fraction(float(np.float32(signed)))
    assert nearest(Fraction(0)) == 0
