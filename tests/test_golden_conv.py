"""Golden convolution against naive loops over Python integers, at the edges of what float BLAS computes exactly."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import golden
from systolith.golden.conv import EXACT_FLOAT32, prepare
from systolith.quant import Conv, FeatureMap

from .graphs import conv_graph, integers


def naive(layer: Conv, source: FeatureMap, values: np.ndarray, shape) -> np.ndarray:
    """``bias + sum of w * (x - zero_point)`` over whatever of the window lies inside the map, in int64 loops."""
    outputs, rows, columns = shape
    each = outputs // layer.groups
    inputs = layer.weights.shape[1]
    top, left, _, _ = layer.pads
    reals = values.astype(np.int64) - source.zero_point
    result = np.zeros((len(values), outputs, rows, columns), np.int64)
    for o, y, x in np.ndindex(outputs, rows, columns):
        total = np.full(len(values), layer.bias[o])
        for i, ky, kx in np.ndindex(inputs, *layer.kernel):
            row = y * layer.strides[0] - top + ky * layer.dilations[0]
            column = x * layer.strides[1] - left + kx * layer.dilations[1]
            if 0 <= row < source.shape[1] and 0 <= column < source.shape[2]:
                total += int(layer.weights[o, i, ky, kx]) * reals[:, o // each * inputs + i, row, column]
        result[:, o, y, x] = total
    return result


WINDOWS = {
    "plain": ((3, 6, 5), (4, 3, 3, 3), {}),
    "1x1": ((5, 3, 4), (2, 5, 1, 1), {}),
    "whole map": ((3, 4, 5), (6, 3, 4, 5), {}),
    "strides": ((2, 9, 10), (3, 2, 3, 2), {"strides": (2, 3)}),
    "stride above kernel": ((2, 9, 10), (3, 2, 2, 1), {"strides": (3, 4)}),
    "pads": ((2, 4, 4), (3, 2, 3, 3), {"pads": (1, 1, 1, 1)}),
    "asymmetric pads": ((2, 5, 4), (3, 2, 3, 3), {"pads": (2, 0, 1, 3)}),
    "pads above kernel": ((1, 3, 3), (2, 1, 2, 2), {"pads": (4, 3, 5, 2), "strides": (2, 1)}),
    "dilations": ((2, 9, 8), (3, 2, 3, 2), {"dilations": (2, 3), "pads": (1, 0, 2, 3)}),
    "groups": ((6, 5, 5), (4, 3, 3, 3), {"groups": 2, "pads": (1, 1, 1, 1)}),
    "depthwise": ((4, 5, 5), (8, 1, 3, 3), {"groups": 4, "strides": (2, 2)}),
    "many positions": ((4, 18, 17), (4, 2, 2, 2), {"groups": 2, "pads": (0, 1, 1, 0)}),
    "kernel 11 stride 4": ((3, 19, 23), (2, 3, 11, 11), {"strides": (4, 4), "pads": (2, 2, 2, 2)}),
}


@pytest.mark.parametrize(
    "bounds", [(0, 255, 0), (0, 255, 77), (-128, 127, -128), (0, 15, 8), (0, 65535, 40000)], ids=str
)
@pytest.mark.parametrize("name", WINDOWS)
def test_convolution_equals_naive_loops(name, bounds):
    shape, weights_shape, window = WINDOWS[name]
    random = np.random.default_rng(5)
    weights = random.integers(-60, 61, weights_shape)
    bias = random.integers(-100_000, 100_000, weights_shape[0])
    graph = conv_graph(shape, weights, bias=bias, source=bounds, target=None, **window)
    layer, source = graph.layers[0], graph.map_of("x")
    values = integers(graph, 2)
    found = golden.convolve(layer, source, values)
    assert found.dtype in (np.int32, np.float32, np.float64)
    np.testing.assert_array_equal(found, naive(layer, source, values, graph.tensors["y"].shape))


def kernel_of(weights: np.ndarray, bounds):
    graph = conv_graph(weights.shape[1:], weights, source=bounds, target=None)
    return prepare(graph.layers[0], graph.map_of("x"))


@pytest.mark.parametrize(
    ("total", "expected"),
    [(EXACT_FLOAT32 - 255, [slice(0, 600)]), (EXACT_FLOAT32 + 255, [slice(0, 576), slice(576, 600)])],
)
def test_reduction_is_cut_where_a_partial_sum_could_reach_two_to_the_24(total, expected):
    weights = np.full(600, 109)
    weights[-1] = total // 255 - 599 * 109
    kernel = kernel_of(weights.reshape(1, 600, 1, 1), (0, 255, 0))
    assert kernel.parts == expected
    assert (kernel.weights.dtype, kernel.bias.dtype) == (np.float32, np.float32 if len(expected) == 1 else np.int32)


def test_a_bias_that_lifts_the_sum_beyond_two_to_the_24_is_added_in_int32():
    weights = np.full((1, 4, 1, 1), 127)
    for bias, kind in ((EXACT_FLOAT32 - 4 * 127 * 255 - 1, np.float32), (EXACT_FLOAT32 - 4 * 127 * 255, np.int32)):
        graph = conv_graph((4, 1, 1), weights, bias=np.array([bias]), source=(0, 255, 0), target=None)
        kernel = prepare(graph.layers[0], graph.map_of("x"))
        assert kernel.bias.dtype == kind
        values = np.full((1, 4, 1, 1), 255)
        assert int(golden.convolve(graph.layers[0], graph.map_of("x"), values).item()) == 4 * 127 * 255 + bias


def test_a_reduction_of_wide_numbers_uses_float64():
    for weights in (np.full((1, 50, 1, 1), 500), np.full((1, 1, 1, 1), 32767)):
        kernel = kernel_of(weights, (0, 65535, 0))
        assert kernel.weights.dtype == np.float64
        assert kernel.parts == [slice(0, weights.size)]


# Weights and inputs so that every product has the same sign and the largest magnitude: sums reach the bound itself.
EXTREMES = {
    "one part": ((0, 255, 0), 127, 500),
    "three parts": ((0, 255, 255), 127, 1500),
    "float64": ((0, 65535, 0), 32767, 1),
    "float64, int32 full": ((-32768, 32767, 0), 16383, 4),
    "many parts": ((0, 255, 0), 127, 66000),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("case", EXTREMES)
def test_extreme_sums_are_exact(case, sign):
    (low, high, zero_point), weight, count = EXTREMES[case]
    random = np.random.default_rng(3)
    weights = np.full((2, count, 1, 1), weight * sign)
    # The second channel differs in single units, which a rounded partial sum would lose.
    weights[1] -= random.integers(0, 2, (count, 1, 1)) * sign
    graph = conv_graph((count, 1, 1), weights, source=(low, high, zero_point), target=None)
    farthest = low if zero_point - low > high - zero_point else high
    values = np.full((1, count, 1, 1), farthest, np.int32)
    values[0, ::7] -= np.sign(farthest - zero_point)
    found = golden.convolve(graph.layers[0], graph.map_of("x"), values)
    reals = values[0, :, 0, 0].astype(object) - zero_point
    for o in range(2):
        assert int(found[0, o, 0, 0]) == sum(int(w) * int(x) for w, x in zip(weights[o, :, 0, 0], reals, strict=True))


def test_bias_reaches_both_ends_of_int32():
    graph = conv_graph(
        (1, 1, 1), np.array([[[[1]]], [[[-1]]]]), bias=np.array([2**31 - 256, -(2**31) + 256]), target=None
    )
    values = np.array([[[[255]]], [[[0]]]])
    found = golden.convolve(graph.layers[0], graph.map_of("x"), values)
    assert found[:, :, 0, 0].astype(np.int64).tolist() == [[2**31 - 129, -(2**31) + 129], [2**31 - 384, -(2**31) + 384]]
