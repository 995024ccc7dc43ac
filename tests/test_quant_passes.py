"""What is fused into what: only where nobody else reads what lies between."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import quant

from . import models


def layers_of(net: models.Builder) -> list[tuple[str, str]]:
    """Operator and output of each layer."""
    return [(layer.operator, layer.output) for layer in quant.load_float(net.model()).layers]


def test_a_norm_of_a_map_that_is_read_elsewhere_stays_a_layer():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    before = net.current
    net.join("Add", net.norm(3).current, before)
    assert [operator for operator, _ in layers_of(net)] == ["Conv", "Conv", "Add"]


def test_a_clamp_of_a_map_that_is_read_elsewhere_is_a_function():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    before = net.current
    other = net.conv(3, 3, 1).current
    net.join("Add", net.at(before).relu6().current, other)
    network = quant.load_float(net.model())
    assert [layer.operator for layer in network.layers] == ["Conv", "Conv", "Clip", "Add"]
    assert network.layers[2].attributes == {"min": 0, "max": 6}


@pytest.mark.parametrize(
    "build",
    [
        lambda net: net.conv(2, 3, 3),
        lambda net: net.join("Add", "image", "image"),
        lambda net: net.node("AveragePool", kernel_shape=[2, 2]),
        lambda net: net.node("Sigmoid"),
        lambda net: net.node("LRN", size=3),
        lambda net: net.conv(2, 3, 3).pool().pool(),
    ],
    ids=["conv", "add", "average", "function", "lrn", "conv and poolings"],
)
def test_a_clamp_becomes_part_of_the_layer_that_computes(build):
    net = build(models.Builder((2, 9, 9)))
    before = len(layers_of(net))
    network = quant.load_float(net.relu6().model())
    assert len(network.layers) == before
    assert (network.layers[0].low, network.layers[0].high) == (0, 6)
    assert network.outputs[0] == network.layers[-1].output == "clip1_out"


@pytest.mark.parametrize(
    "build",
    [lambda net: net, lambda net: net.pool(), lambda net: net.join("Concat", "image", "image", axis=1)],
    ids=["input", "pooled input", "concatenation"],
)
def test_a_clamp_of_what_only_moves_values_is_a_function(build):
    assert layers_of(build(models.Builder((2, 8, 8))).relu())[-1] == ("Relu", "relu1_out")


def test_a_clamp_after_a_pooling_stays_there_if_its_source_is_read_elsewhere():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    source = net.current
    pooled = net.pool(3, 1, pads=[1] * 4).relu().current
    net.join("Add", pooled, source)
    assert [operator for operator, _ in layers_of(net)] == ["Conv", "MaxPool", "Relu", "Add"]


def test_dropout_on_both_ways_of_a_branch():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    source = net.current
    one, other = net.node("Dropout").current, net.at(source).node("Identity").current
    net.join("Add", one, other).node("Dropout")
    network = quant.load_float(net.model())
    assert [layer.operator for layer in network.layers] == ["Conv", "Add"]
    assert network.layers[1].inputs[0] == network.layers[1].inputs[1] == network.layers[0].output
    assert network.outputs[0] == "dropout2_out"


def test_a_map_is_flattened_for_one_reader_only():
    net = models.Builder((2, 4, 4)).conv(2, 3, 1)
    source = net.current
    dense = net.flatten().gemm(48, 6).current
    other = net.at(source).conv(3, 6, 4).flatten().current
    net.join("Add", dense, other)
    network = quant.load_float(net.model())
    assert [layer.operator for layer in network.layers] == ["Conv", "Gemm", "Conv", "Add"]
    assert network.layers[1].weights.shape == (6, 3, 4, 4)


def test_every_image_gives_the_same_after_the_passes_as_before():
    """Folding in float64 changes no weight by more than a rounding."""
    net = models.Builder((3, 6, 6)).conv(3, 4, 3).norm(4).node("Mul", np.float32(0.5)).node("Add", np.float32(1))
    (layer,) = quant.load_float(net.model()).layers
    raw = quant.import_onnx(net.model())
    conv, norm, scale, shift = raw.layers
    expected = conv.weights * (norm.scale * scale.scale)[:, None, None, None]
    np.testing.assert_allclose(layer.weights, expected, rtol=1e-6)
    bias = (conv.bias * norm.scale + norm.shift) * scale.scale + shift.shift
    np.testing.assert_allclose(layer.bias, bias, rtol=1e-6, atol=1e-6)
