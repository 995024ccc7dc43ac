"""Golden multiplication against exact rationals, and against ONNX Runtime's QLinearMul on every pair of bytes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith import golden, quant
from systolith.quant import FeatureMap
from systolith.quant.graph import product_factor, products

from . import models, oracle
from .rationals import fl32

SCALES = st.floats(2.0**-12, 2.0, width=32)
BYTE = st.integers(0, 255)


def map_of(scale: float, zero_point: int, low: int = 0, high: int = 255, name: str = "x") -> FeatureMap:
    return FeatureMap(name, (1, 1, 1), np.float32(scale), zero_point, low, high)


def exact(a: int, b: int, sources: tuple[FeatureMap, FeatureMap], target: FeatureMap) -> int:
    """quant.graph.Multiply's formula, word for word, in rationals."""
    s_a, s_b, s_y = (Fraction(float(tensor.scale)) for tensor in (*sources, target))
    ratio = fl32(fl32(s_a * s_b) / s_y)
    product = (a - sources[0].zero_point) * (b - sources[1].zero_point)
    return min(max(round(fl32(fl32(product * ratio) + target.zero_point)), target.low), target.high)


@settings(max_examples=1000, deadline=None)
@given(BYTE, BYTE, SCALES, SCALES, SCALES, BYTE, BYTE, BYTE)
def test_multiply_is_its_formula_in_rationals(a, b, scale_a, scale_b, scale_y, zero_a, zero_b, zero_y):
    sources = map_of(scale_a, zero_a), map_of(scale_b, zero_b)
    target = map_of(scale_y, zero_y)
    found = golden.multiply(np.array([[[[a]]]]), np.array([[[[b]]]]), sources, target)
    assert found.item() == exact(a, b, sources, target)


def grids(random: np.random.Generator, kind: type, power_of_two: bool) -> list[FeatureMap]:
    """Of two inputs and the output of a product, which may fill its output or not."""
    info = np.iinfo(kind)
    scales = 2.0 ** random.uniform(-9, 1, 3)
    if random.random() < 0.6:
        scales[2] = scales[0] * scales[1] * random.uniform(20, 300)
    if power_of_two:
        scales = 2.0 ** np.rint(np.log2(scales))
    zeros = random.integers(info.min, info.max + 1, 3).tolist()
    return [map_of(scale, zero, info.min, info.max) for scale, zero in zip(scales, zeros, strict=True)]


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_every_pair_of_bytes_equals_onnxruntime(kind):
    random = np.random.default_rng(8)
    every = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind)
    a, b = np.repeat(every, 256), np.tile(every, 256)
    run = oracle.linear_add(kind, "QLinearMul")
    for number in range(100):
        first, second, target = grids(random, kind, number % 3 == 0)
        found = golden.multiply(a, b, (first, second), target)
        np.testing.assert_array_equal(found, run(a, b, (first, second, target)), err_msg=f"{first} {second} {target}")


def test_one_pixel_times_a_map_equals_onnxruntime():
    random = np.random.default_rng(9)
    run = oracle.linear_add(np.uint8, "QLinearMul", "nchw")
    for number in range(20):
        maps = grids(random, np.uint8, number % 3 == 0)
        a = random.integers(0, 256, (2, 5, 3, 7), np.uint8)
        b = random.integers(0, 256, (2, 5, 1, 1), np.uint8)
        np.testing.assert_array_equal(golden.multiply(a, b, (maps[0], maps[1]), maps[2]), run(a, b, maps))
        np.testing.assert_array_equal(
            golden.multiply(b, a, (maps[1], maps[0]), maps[2]), run(b, a, [*maps[1::-1], maps[2]])
        )


def requantized(values: np.ndarray, factor: np.float32, target: FeatureMap) -> list[int]:
    """What the hardware makes of products: one rounding to float32, ties where the sum with the zero point is even."""
    found = []
    for value in values.tolist():
        steps = fl32(int(value) * Fraction(float(factor)))
        whole = steps.numerator // steps.denominator
        tie = steps - whole == Fraction(1, 2)
        steps = whole + (whole + target.zero_point) % 2 if tie else round(steps)
        found.append(min(max(steps + target.zero_point, target.low), target.high))
    return found


def test_a_factor_gives_every_product_or_there_is_none():
    random = np.random.default_rng(10)
    none = moved = 0
    for number in range(300):
        first, second, target = grids(random, np.uint8, number % 3 == 0)
        factor = product_factor(first, second, target)
        none += factor is None
        if factor is None:
            continue
        moved += factor != np.float32(first.scale * second.scale) / target.scale
        values = random.choice(products(first, second), 300)
        ties = values * factor % 1 == 0.5
        values = np.concatenate([values[ties], values[:30]])
        wanted = golden.multiply(
            values.astype(np.int32), np.ones(1), (map_of(first.scale, 0), map_of(second.scale, 0)), target
        )
        assert requantized(values, factor, target) == wanted.tolist()
    assert none <= 6
    assert moved


def squeeze_and_excite(seed: int = 0) -> models.Builder:
    net = models.Builder((3, 9, 9), seed=seed).conv(3, 8, 3).relu()
    kept = net.current
    net.node("GlobalAveragePool").conv(8, 4, 1).relu().conv(4, 8, 1).node("Sigmoid")
    net.join("Mul", kept, net.current)
    return net


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_squeeze_and_excite_equals_onnxruntime(scales, tmp_path):
    model = squeeze_and_excite().conv(8, 4, 1).model()
    images = models.images(model, 8)
    graph = quant.quantize(model, images, quant.Settings(scales=scales))
    assert [type(layer).__name__ for layer in graph.layers] == [
        "Conv",
        "AveragePool",
        "Conv",
        "Conv",
        "Table",
        "Multiply",
        "Conv",
    ]
    if scales == "float":
        oracle.assert_every_tensor_equal(graph, images)
        assert "QLinearMul" in oracle.kernels(quant.to_onnx(graph), str(tmp_path / "optimized.onnx"))
    again = quant.load(quant.to_onnx(graph))
    assert again.layers[5] == graph.layers[5]
    assert again.tensors == graph.tensors


def test_grids_of_products_have_factors():
    """Whatever is calibrated, hardware can multiply: scales are moved until it can."""
    for seed in range(12):
        model = squeeze_and_excite(seed).model()
        graph = quant.quantize(model, models.images(model, 4, seed=seed))
        (layer,) = [layer for layer in graph.layers if isinstance(layer, quant.Multiply)]
        maps = [graph.map_of(name) for name in (*layer.inputs, layer.output)]
        assert product_factor(*maps) is not None
