"""Integers of weights and biases."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from systolith.quant.networks.layers import Convolution
from systolith.quant.posttraining.settings import RANGES, SCALES, Settings
from systolith.quant.posttraining.weights import quantize_weights

INT32_MAX = 2**31 - 1


def layer(weights: np.ndarray, bias: np.ndarray | None = None) -> Convolution:
    weights = np.asarray(weights, np.float32)
    bias = np.zeros(len(weights)) if bias is None else bias
    return Convolution("conv", "Conv", ("x",), "y", weights, np.asarray(bias, np.float32))


def normal(outputs: int = 6, inputs: int = 4, kernel: int = 5, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    spread = 2.0 ** random.integers(-4, 5, (outputs, 1, 1, 1))
    return (random.standard_normal((outputs, inputs, kernel, kernel)) * spread).astype(np.float32)


def error(weights: np.ndarray, bits: int, scales: str, ranges: str) -> float:
    found = quantize_weights(layer(weights), np.float32(0.01), 255, Settings(scales, bits, 8, ranges))
    per_channel = ((found.weights * found.scales[:, None, None, None] - weights) ** 2).sum(axis=(1, 2, 3))
    return float((per_channel / (weights**2).sum(axis=(1, 2, 3))).mean())


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("bits", range(2, 17))
def test_weights_are_symmetric_and_scales_are_what_was_asked_for(bits, scales, ranges):
    found = quantize_weights(layer(normal()), np.float32(0.01), 255, Settings(scales, bits, 8, ranges))
    top = 2 ** (bits - 1) - 1
    assert np.abs(found.weights).max() <= top
    assert found.weights.dtype == np.int16
    assert found.scales.dtype == np.float32
    assert (found.bias == 0).all()
    if scales == "pow2":
        assert (np.frexp(found.scales)[0] == 0.5).all()
    elif ranges != "mse" and bits <= 12:
        assert (np.abs(found.weights).max(axis=(1, 2, 3)) == top).all()


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("bits", range(2, 9))
def test_least_squares_is_never_worse_and_matters_for_narrow_weights(bits, scales):
    weights = normal(32, 8, 3)
    plain, careful = error(weights, bits, scales, "minmax"), error(weights, bits, scales, "mse")
    assert careful <= plain
    if bits <= 4:
        assert careful < 0.9 * plain


def test_errors_shrink_by_a_factor_of_four_with_each_bit():
    errors = [error(normal(64, 16, 3), bits, "float", "minmax") for bits in range(5, 13)]
    assert all(3.5 < before / after < 4.6 for before, after in pairwise(errors))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("ranges", RANGES)
def test_channels_of_zeros_keep_their_bias(scales, ranges):
    weights = normal()
    weights[2] = 0
    bias = np.array([0, 1, 0.75, -1, 0, 0])
    found = quantize_weights(layer(weights, bias), np.float32(0.01), 255, Settings(scales, ranges=ranges))
    assert (found.weights[2] == 0).all()
    np.testing.assert_allclose(found.bias * found.scales * np.float32(0.01), bias, atol=0.02)
    silent = quantize_weights(layer(weights * 0, bias), np.float32(0.01), 255, Settings(scales, ranges=ranges))
    assert (silent.weights == 0).all()
    np.testing.assert_allclose(silent.bias * silent.scales * np.float32(0.01), bias, atol=0.02)


@pytest.mark.parametrize("scales", SCALES)
def test_a_bias_that_would_leave_int32_gets_a_larger_scale(scales):
    weights = normal() * np.float32(1e-6)
    bias = np.array([0, 5e4, 0, -5e4, 0, 0])
    found = quantize_weights(layer(weights, bias), np.float32(0.01), 255, Settings(scales))
    worst = np.abs(found.weights.astype(np.int64)).sum(axis=(1, 2, 3)) * 255 + np.abs(found.bias)
    assert worst.max() <= INT32_MAX
    np.testing.assert_allclose(found.bias * found.scales.astype(np.float64) * np.float32(0.01), bias, rtol=1e-6)
    untouched = quantize_weights(layer(weights), np.float32(0.01), 255, Settings(scales))
    np.testing.assert_array_equal(found.scales[[0, 2, 4, 5]], untouched.scales[[0, 2, 4, 5]])


@pytest.mark.parametrize("scales", SCALES)
def test_sums_that_would_leave_int32_give_up_weight_bits_but_no_more_than_needed(scales):
    weights = normal(3, 400, 1)
    found = quantize_weights(layer(weights), np.float32(0.01), 65535, Settings(scales, 16, 16))
    worst = np.abs(found.weights.astype(np.int64)).sum(axis=(1, 2, 3)) * 65535
    assert worst.max() <= INT32_MAX
    assert (worst > INT32_MAX * (0.45 if scales == "pow2" else 0.95)).all()


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("factor", [1e-44, 1e-38, 1e-20, 1e36])
def test_weights_of_any_size_give_finite_integers_and_normal_scales(factor, scales):
    weights = (normal().astype(np.float64) * factor).astype(np.float32)
    for input_scale in (2.0**-100, 1.0, 2.0**80 / max(factor, 1)):
        found = quantize_weights(layer(weights, np.ones(6)), np.float32(input_scale), 255, Settings(scales))
        assert (found.scales.astype(np.float64) * input_scale >= 2.0**-126).all()
        assert np.isfinite(found.scales).all()
        assert np.abs(found.bias).max() <= INT32_MAX
        assert np.abs(found.weights).max() <= 127


def test_a_channel_far_smaller_than_the_others_keeps_scales_usable():
    weights = normal()
    weights[3] *= np.float32(1e-35)
    found = quantize_weights(layer(weights), np.float32(0.01), 255, Settings())
    assert ((found.scales * np.float32(0.01)) > 1e-30).all()
