"""Histograms, and the scales that are chosen from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from systolith import quant
from systolith.quant import DataError, FeatureMap, FloatGraph
from systolith.quant.arithmetic.tables import table
from systolith.quant.networks.layers import Function, LocalResponse
from systolith.quant.posttraining.histogram import BINS, Histogram
from systolith.quant.posttraining.quantize import observe
from systolith.quant.posttraining.range_search import affine_grid, choose_grid
from systolith.quant.posttraining.settings import RANGES, SCALES, Settings

RANDOM = np.random.default_rng(11)
NORMAL = RANDOM.standard_normal(50_000).astype(np.float32)
RELU = np.maximum(NORMAL, 0)
HEAVY = (RANDOM.standard_t(2, 50_000)).astype(np.float32)


def histogram(*batches: np.ndarray) -> Histogram:
    result = Histogram()
    for batch in batches:
        result.add("t", np.asarray(batch, np.float32))
    return result


def error(values: np.ndarray, scale: float, zero_point: int, bits: int) -> float:
    integers = np.clip(np.rint(values / scale) + zero_point, 0, 2**bits - 1)
    return float(np.mean(((integers - zero_point) * scale - values) ** 2))


def test_every_value_is_counted_once_however_the_range_grows():
    batches = [NORMAL[:100] * 1e-3, NORMAL[:999], np.zeros(7), NORMAL[:50] * 1e4]
    found = histogram(*batches)
    assert found.zeros == 7
    assert found.counts.sum() == 100 + 999 + 50
    assert (found.low, found.high) == (float(batches[3].min()), float(batches[3].max()))
    assert found.limit == 2 ** math.ceil(math.log2(max(-found.low, found.high)))


def test_batches_make_the_histogram_of_the_whole():
    whole, parts = histogram(NORMAL), histogram(*np.split(NORMAL, 10))
    assert (whole.low, whole.high, whole.limit) == (parts.low, parts.high, parts.limit)
    # Values at the edge of a bin may fall on either side when bins were narrower before.
    assert np.abs(np.cumsum(whole.counts) - np.cumsum(parts.counts)).max() <= 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(quant.DataError, match=r"^tensor 'a' reaches NaN or infinity on the calibration data; "):
        Histogram().add("a", np.float32([1, bad, 2]))


def test_percentile_leaves_out_the_outliers_of_each_end():
    values = np.concatenate([np.linspace(-1, 2, 99_998), [-50, 90]])
    low, high = histogram(values).percentile(0.999)
    assert low == pytest.approx(-1, abs=0.1)
    assert high == pytest.approx(2, abs=0.1)
    assert histogram(values).percentile(1.0) == pytest.approx((-50, 90), abs=2 * 128 / BINS)


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("values", [NORMAL, RELU, HEAVY, -RELU], ids=["normal", "relu", "heavy", "negative"])
def test_zero_is_exact_and_the_grid_legal(values, bits, scales, ranges):
    scale, zero_point = choose_grid(histogram(values), bits, Settings(scales, ranges=ranges))
    assert isinstance(scale, np.float32)
    assert scale > 0
    assert 0 <= zero_point < 2**bits
    if scales == "pow2":
        assert math.frexp(float(scale))[0] == 0.5
        assert zero_point == (0 if values.min() >= 0 else 2 ** (bits - 1))


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8, 12, 16])
@pytest.mark.parametrize("scales", SCALES)
def test_minmax_saturates_nothing(bits, scales):
    for values in (NORMAL, RELU, HEAVY):
        scale, zero_point = choose_grid(histogram(values), bits, Settings(scales, ranges="minmax"))
        slack = 0.5 * (1 + 1e-5)  # moving the range so that 0 is exact may cost half a step at one end
        assert (2**bits - 1 - zero_point + slack) * scale >= values.max()
        assert (-zero_point - slack) * scale <= values.min()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("values", [NORMAL, RELU, HEAVY], ids=["normal", "relu", "heavy"])
def test_least_squares_is_at_least_as_good_as_minmax_and_near_the_best(values, scales, bits):
    values = values[:5000]
    grids = {r: choose_grid(histogram(values), bits, Settings(scales, ranges=r)) for r in ("minmax", "mse")}
    errors = {r: error(values, float(scale), zero, bits) for r, (scale, zero) in grids.items()}
    assert errors["mse"] <= errors["minmax"] * 1.001
    low, high = float(values.min()), float(values.max())
    tried = [affine_grid(low * a, high * b, bits) for a in np.linspace(0.02, 1, 50) for b in np.linspace(0.02, 1, 50)]
    if scales == "pow2":
        tried = [(2.0**e, 0 if low >= 0 else 2 ** (bits - 1)) for e in range(-12, 8)]
    best = min(error(values, float(scale), zero, bits) for scale, zero in tried)
    assert errors["mse"] <= best * 1.1  # histograms see bins, not values


def test_a_map_of_zeros_gets_a_legal_grid():
    for scales in SCALES:
        for ranges in RANGES:
            scale, zero_point = choose_grid(histogram(np.zeros(9)), 8, Settings(scales, ranges=ranges))
            assert (scale, zero_point) == (1, 0)


def test_tiny_and_huge_values():
    for factor in (1e-44, 1e-38, 1e-30, 1e30, 5e37):
        for scales in SCALES:
            scale, _ = choose_grid(histogram(NORMAL * np.float32(factor)), 8, Settings(scales))
            assert np.isfinite(scale)
            assert scale > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("float", 1), "weight bits must be 2 to 16, not 1"),
        (("float", 17), "weight bits must be 2 to 16, not 17"),
        (("float", 8, 0), "activation bits must be 2 to 16, not 0"),
        (("pow3",), "scales must be one of float, pow2, not 'pow3'"),
        (("pow2", 8, 8, "max"), "range must be one of minmax, percentile, mse, not 'max'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(arguments, message):
    with pytest.raises(quant.ConfigurationError) as caught:
        Settings(*arguments)
    assert str(caught.value) == message


def test_a_table_of_values_beyond_float32_gives_no_warning():
    """The graph's check refuses such a scale, by name; what comes before must not stumble over it."""
    source = FeatureMap("x", (1, 1, 1), np.float32(1e38), 0, 0, 255)
    target = FeatureMap("y", (1, 1, 1), np.float32(1 / 127), 0, -128, 127)
    assert table(Function("tanh", "Tanh", ("x",), "y"), source, target).tolist() == [0, *[127] * 255]


def test_a_normalization_that_divides_by_zero_is_named():
    network = FloatGraph({"x": (1, 2, 2)}, ("y",), (LocalResponse("lrn", "LRN", ("x",), "y", 1, 1.0, 0.75, 1e-300),))
    with pytest.raises(DataError, match=r"^tensor 'y' reaches NaN or infinity on the calibration data"):
        observe(network, np.zeros((1, 1, 2, 2), np.float32))
