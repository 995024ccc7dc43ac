"""Golden local response normalization: its formula in rationals, and how far its tables are from the exact one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from systolith import golden, quant
from systolith.golden.normalization import table_index
from systolith.quant import (
    FeatureMap,
    Graph,
    Normalization,
    check,
)
from systolith.quant.arithmetic.normalization import normalization

from . import models, oracle
from .graphs import integers
from .rationals import fl32

ALEXNET = (5, 1e-4, 0.75, 1.0)
ZFNET = (5, 5e-4, 0.75, 2.0)
KRIZHEVSKY = (5, 1e-4, 0.75, 2.0)  # as in the paper
STRONG = (5, 1.0, 0.75, 1.0)


def graph_of(parameters, reach: float, channels: int = 9, bounds=(0, 255, 0), size=(4, 5)) -> Graph:
    """One normalization of a map whose largest magnitude is ``reach``; its largest output fills the output's grid."""
    low, high, zero_point = bounds
    width = max(high - zero_point, zero_point - low)
    source = FeatureMap("x", (channels, *size), np.float32(reach / width), zero_point, low, high)
    steps = np.arange(1, width + 1)
    largest = (steps * exact_factor(parameters, float(source.scale), steps**2)).max()
    target = FeatureMap("y", source.shape, np.float32(largest * float(source.scale) / width), zero_point, low, high)
    layer = normalization("lrn", source, target, *parameters)
    return check(Graph(("x",), ("y",), (layer,), {"x": source, "y": target}))


def exact_factor(parameters, scale: float, squares: np.ndarray) -> np.ndarray:
    size, alpha, beta, bias = parameters
    return (bias + alpha / size * scale**2 * squares.astype(np.float64)) ** -beta


def formula(layer: Normalization, source: FeatureMap, target: FeatureMap, pixel: np.ndarray) -> list[int]:
    """quant.graph.Normalization, word for word, for the channels of one pixel."""
    centred = [int(value) - source.zero_point for value in pixel]
    before = (layer.size - 1) // 2
    found = []
    for channel, value in enumerate(centred):
        near = range(channel - before, channel - before + layer.size)
        total = sum(centred[c] ** 2 for c in near if 0 <= c < len(centred)) >> layer.shift
        exponent = max(total.bit_length() - 9, 0)
        index = (exponent << 9) + (total >> (exponent - 1) & 511) if exponent else total
        factor = int(layer.coarse[index >> 4]) + int(layer.fine[(index >> 8 << 4) + (index & 15)])
        assert 0 <= index <= 4095
        assert 0 <= factor < 2**24
        step = round(fl32(Fraction(value * factor) / Fraction(2) ** layer.exponent)) + target.zero_point
        found.append(min(max(step, target.low), target.high))
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11])
@pytest.mark.parametrize("bounds", [(0, 255, 0), (-128, 127, 0), (0, 255, 77), (0, 31, 16)], ids=str)
def test_normalization_is_its_formula_in_rationals(bounds, size):
    for reach in (0.5, 20.0, 100.0):
        graph = graph_of((size, 1e-3, 0.75, 1.0), reach, 9, bounds)
        layer, source, target = graph.layers[0], graph.map_of("x"), graph.map_of("y")
        values = integers(graph, 2, seed=size)
        found = golden.normalize(layer, values, source, target)
        for n, y, x in np.ndindex(2, *source.shape[1:]):
            assert found[n, :, y, x].tolist() == formula(layer, source, target, values[n, :, y, x])


def largest_error(parameters, reach: float) -> float:
    """How far a step before its last rounding is from float64, over all sums of squares and the largest x for each."""
    graph = graph_of(parameters, reach)
    layer, source, target = graph.layers[0], graph.map_of("x"), graph.map_of("y")
    squares = np.arange(layer.size * 255**2 + 1, dtype=np.int32)
    index = table_index(squares >> layer.shift)
    factors = layer.coarse[index >> 4] + layer.fine[(index >> 8 << 4) + (index & 15)]
    ratio = float(source.scale) / float(target.scale)
    exact = ratio * exact_factor((layer.size, layer.alpha, layer.beta, layer.bias), float(source.scale), squares)
    largest = np.minimum(255, np.floor(np.sqrt(squares)))
    return float((largest * abs(factors * 2.0**-layer.exponent - exact)).max())


# Steps of 8 bits, and alpha / size * sum of squares / bias, the strength of the normalization.
BOUNDS = [
    (ALEXNET, 30, 0.018),  # 0.09
    (ALEXNET, 150, 0.32),  # 2.3
    (ALEXNET, 500, 0.75),  # 25
    (KRIZHEVSKY, 30, 0.009),  # 0.05
    (KRIZHEVSKY, 150, 0.23),  # 1.1
    (KRIZHEVSKY, 500, 0.6),  # 13
    (ZFNET, 30, 0.051),  # 0.23
    (ZFNET, 150, 0.42),  # 5.6
    (STRONG, 1, 0.21),  # 1
    (STRONG, 3, 0.51),  # 9
]


@pytest.mark.parametrize(("parameters", "reach", "bound"), BOUNDS)
def test_the_tables_stay_within_their_bound(parameters, reach, bound):
    found = largest_error(parameters, reach)
    assert bound / 2 < found <= bound  # a bound that is far from reached would say nothing


@pytest.mark.parametrize(("parameters", "reach"), [(ALEXNET, 100), (KRIZHEVSKY, 150), (ZFNET, 60)])
def test_integers_differ_from_the_rounded_exact_value_by_one_at_most_and_seldom(parameters, reach):
    graph = graph_of(parameters, reach, channels=64, size=(20, 20))
    layer, source, target = graph.layers[0], graph.map_of("x"), graph.map_of("y")
    random = np.random.default_rng(0)
    values = np.clip(random.exponential(40, (1, *source.shape)), 0, 255).astype(np.uint8)
    squares = np.zeros(values.shape, np.int64)
    for shift in range(-2, 3):
        moved = np.roll(values.astype(np.int64), shift, axis=1) ** 2
        if shift:
            outside = slice(None, shift) if shift > 0 else slice(shift, None)
            moved[:, outside] = 0
        squares += moved
    ratio = float(source.scale) / float(target.scale)
    exact = (
        values * ratio * exact_factor((layer.size, layer.alpha, layer.beta, layer.bias), float(source.scale), squares)
    )
    found = golden.normalize(layer, values, source, target)
    off = np.abs(found.astype(int) - np.rint(exact).clip(0, 255).astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


def test_onnxruntime_agrees_as_far_as_float_and_tables_do():
    net = models.Builder((3, 12, 12)).conv(3, 16, 3).relu().node("LRN", size=5, alpha=1e-2, beta=0.75, bias=1.0)
    model = net.conv(16, 8, 3).relu().model()
    images = models.images(model, 8)
    graph = quant.quantize(model, images)
    lrn = next(layer for layer in graph.layers if isinstance(layer, Normalization))
    found = golden.run(graph, golden.quantize_input(graph, images))[lrn.output]
    (expected,) = oracle.run_tensors(quant.to_onnx(graph), images, [lrn.output])
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1
    oracle.assert_every_tensor_equal(graph, images)


def test_the_index_never_falls_and_leaves_out_nothing():
    index = table_index(np.arange(2**16, dtype=np.int32))
    assert set(np.diff(index)) <= {0, 1}
    assert (index[0], index[511], index[1023], index[-1]) == (0, 511, 1023, 4095)


def test_scales_too_far_apart_are_refused():
    source = FeatureMap("x", (3, 1, 1), np.float32(1), 0, 0, 255)
    for scale in (1e-3, 1e20):
        with pytest.raises(quant.ModelError) as caught:
            normalization("lrn", source, FeatureMap("y", (3, 1, 1), np.float32(scale), 0, 0, 255), *ALEXNET)
        assert str(caught.value) == (
            f"node 'lrn' (LRN): its output's scale {scale:g} is too far from its input's 1; rescale the model's weights"
        )


def test_the_tables_use_their_24_bits():
    for parameters, reach in ((ALEXNET, 100), (ZFNET, 60), (STRONG, 3)):
        layer = graph_of(parameters, reach).layers[0]
        assert 2**23 <= layer.coarse.max() + layer.fine.max() < 2**24 + 2**16
