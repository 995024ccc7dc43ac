"""Extrema and differences of two maps: every pair of bytes against ONNX Runtime, with optimizations and without."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith import golden, quant
from systolith.golden.add import pair_differences
from systolith.quant import Extremum, FeatureMap
from systolith.quant.networks.execute import run_float

from . import models, oracle

A, B = np.repeat(np.arange(256), 256).astype(np.uint8), np.tile(np.arange(256), 256).astype(np.uint8)


def grids(random: np.random.Generator, power_of_two: bool) -> list[FeatureMap]:
    scales = 2.0 ** random.uniform(-7, -4, 3)
    scales = 2.0 ** np.rint(np.log2(scales)) if power_of_two else scales
    zeros = random.integers(0, 256, 3).tolist()
    return [FeatureMap("x", (1, 1, 1), np.float32(s), z, 0, 255) for s, z in zip(scales, zeros, strict=True)]


def in_float(operator: str, maps: list[FeatureMap], optimized: bool) -> np.ndarray:
    """What ONNX Runtime makes of all pairs through DequantizeLinear, ``operator``, QuantizeLinear."""
    stored, nodes = [], []
    for name, grid in zip("aby", maps, strict=True):
        stored.append(numpy_helper.from_array(np.array(grid.scale), f"{name}_scale"))
        stored.append(numpy_helper.from_array(np.array(grid.zero_point, np.uint8), f"{name}_zero"))
    for name in "ab":
        nodes.append(helper.make_node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [f"{name}_real"]))
    nodes.append(helper.make_node(operator, ["a_real", "b_real"], ["y_real"]))
    nodes.append(helper.make_node("QuantizeLinear", ["y_real", "y_scale", "y_zero"], ["y"]))
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.UINT8, ["N"]) for name in "aby")
    graph = helper.make_graph(nodes, operator, [a, b], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return oracle.session(model, "ENABLE_ALL" if optimized else "DISABLE_ALL").run(None, {"a": A, "b": B})[0]


@pytest.mark.parametrize("operator", ["Max", "Min", "Sub"])
def test_every_pair_of_bytes_equals_onnxruntime(operator):
    random = np.random.default_rng(11)
    for number in range(25):
        a, b, target = maps = grids(random, number % 3 == 0)
        if operator == "Sub":
            found = pair_differences(a, b, target).reshape(-1)
        else:
            layer = Extremum("e", ("a", "b"), "y", operator)
            found = golden.extremum(layer, A.reshape(1, 1, 1, -1), B.reshape(1, 1, 1, -1), (a, b), target).reshape(-1)
        for optimized in (False, True):
            np.testing.assert_array_equal(found, in_float(operator, maps, optimized), err_msg=f"{maps}")


def two_maps(operator: str) -> models.Builder:
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    left = net.current
    right = net.conv(4, 4, 1).current
    return net.join(operator, left, right)


@pytest.mark.parametrize("operator", ["Max", "Min", "Sub"])
def test_networks_equal_onnxruntime_and_come_back(operator):
    model = two_maps(operator).conv(4, 3, 1).model()
    images = models.images(model, 8)
    graph = quant.quantize(model, images)
    assert [layer.operator for layer in graph.layers] == ["Conv", "Conv", operator, "Conv"]
    oracle.assert_every_tensor_equal(graph, images)
    again = quant.load(quant.to_onnx(graph))
    assert again.layers[2] == graph.layers[2]
    assert again.tensors == graph.tensors


def test_a_sum_of_three_is_two_sums():
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    one = net.current
    two = net.conv(4, 4, 1).current
    three = net.conv(4, 4, 1).current
    model = net.join("Sum", one, two, three).conv(4, 3, 1).model()
    images = models.images(model, 8)
    graph = quant.quantize(model, images)
    assert [layer.operator for layer in graph.layers] == ["Conv", "Conv", "Conv", "Add", "Add", "Conv"]
    oracle.assert_every_tensor_equal(graph, images)


SLOPES = {
    "above 0": (np.float32([0.1, 0.3, 0, 1.2]), ["Conv", "Conv", "Add", "Conv"]),
    "one below 0": (np.float32([0.1, -0.3, 0, 1.2]), ["Conv", "Conv", "Conv", "Add", "Conv"]),
}


@pytest.mark.parametrize(("slopes", "operators"), SLOPES.values(), ids=SLOPES)
def test_slopes_of_each_channel(slopes, operators):
    """Two clamped convolutions and a sum."""
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    model = net.node("PRelu", slopes.reshape(4, 1, 1)).conv(4, 3, 1).model()
    images = models.images(model, 8)
    network = quant.load_float(model)
    *_, (_, found) = run_float(network, images)
    np.testing.assert_allclose(found, oracle.run(model, images), rtol=1e-4, atol=1e-4)
    graph = quant.quantize(model, images)
    assert sorted(layer.operator for layer in graph.layers) == sorted(operators)
    oracle.assert_every_tensor_equal(graph, images)


def test_slopes_of_a_map_that_others_read():
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    source = net.current
    net.node("PRelu", np.float32([0.1, 0.3, 0, 1.2]).reshape(4, 1, 1))
    model = net.join("Add", source, net.current).model()
    network = quant.load_float(model)
    images = models.images(model, 8)
    assert [layer.operator for layer in network.layers] == ["Conv", "Relu", "Conv", "Add", "Add"]
    *_, (_, found) = run_float(network, images)
    np.testing.assert_allclose(found, oracle.run(model, images), rtol=1e-4, atol=1e-4)
