"""Element-wise operators that depend on one value become one table, however they are spelled."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import golden, quant
from systolith.quant.graph import LOOKUP
from systolith.quant.networks.execute import compute, run_float
from systolith.quant.onnx.context import Context
from systolith.quant.onnx.operators import BUILDERS

from . import models, oracle

f32 = np.float32


def silu(net, x):
    net.at(x).node("Sigmoid")
    net.join("Mul", x, net.current)


def mish(net, x):
    net.at(x).node("Softplus").node("Tanh")
    net.join("Mul", net.current, x)


def mish_in_full(net, x):
    net.at(x).node("Exp").node("Add", f32(1)).node("Log").node("Tanh")
    net.join("Mul", net.current, x)


def gelu_erf(net, x):
    half = net.at(x).node("Mul", f32(0.5)).current
    net.at(x).node("Div", f32(1.4142135)).node("Erf").node("Add", f32(1))
    net.join("Mul", half, net.current)


def gelu_tanh(net, x):
    net.at(x).node("Pow", f32(3)).node("Mul", f32(0.044715))
    net.join("Add", x, net.current).node("Mul", f32(0.7978846)).node("Tanh").node("Add", f32(1))
    net.join("Mul", x, net.current).node("Mul", f32(0.5))


def gelu_without_pow(net, x):
    net.join("Mul", x, x)
    net.join("Mul", net.current, x).node("Mul", f32(0.044715))
    net.join("Add", x, net.current).node("Mul", f32(0.7978846)).node("Tanh").node("Add", f32(1))
    net.join("Mul", x, net.current).node("Mul", f32(0.5))


def quick_gelu(net, x):
    net.at(x).node("Mul", f32(1.702)).node("Sigmoid")
    net.join("Mul", x, net.current)


def hard_swish(net, x):
    net.at(x).node("Add", f32(3)).node("Clip", f32(0), f32(6))
    net.join("Mul", x, net.current).node("Div", f32(6))


def hard_swish_of_relu6(net, x):
    net.at(x).node("Add", f32(3)).relu().node("Min", f32(6)).node("Mul", f32(1 / 6))
    net.join("Mul", net.current, x)


def hard_sigmoid(net, x):
    net.at(x).node("Add", f32(3)).node("Clip", f32(0), f32(6)).node("Div", f32(6))


def leaky_max(net, x):
    net.at(x).node("Mul", f32(0.1))
    net.join("Max", x, net.current)


def leaky_where(net, x):
    slope = net.at(x).node("Mul", f32(0.2)).current
    net.at(x).node("Greater", f32(0))
    net.join("Where", net.current, x, slope)


def leaky_of_two_relus(net, x):
    up = net.at(x).relu().current
    down = net.at(x).node("Neg").relu().node("Mul", f32(0.25)).current
    net.join("Sub", up, down)


def elu(net, x):
    net.at(x).node("Exp").node("Sub", f32(1)).node("Min", f32(0))
    below = net.current
    net.at(x).relu()
    net.join("Add", net.current, below)


def softsign(net, x):
    net.at(x).node("Abs").node("Add", f32(1))
    net.join("Div", x, net.current)


def sigmoid_in_full(net, x):
    net.at(x).node("Neg").node("Exp").node("Add", f32(1))
    net.join("Div", net.constant(f32(1)), net.current)


def square(net, x):
    net.join("Mul", x, x)


def cube(net, x):
    net.at(x).node("Pow", f32(3))


def power_of_two(net, x):
    net.join("Pow", net.constant(f32(2)), x)


def above_one(net, x):
    net.at(x).node("Clip", f32(1), f32(2))


def window(net, x):
    low = net.at(x).node("GreaterOrEqual", f32(-0.5)).current
    high = net.at(x).node("LessOrEqual", f32(1.5)).current
    net.join("And", low, high)
    net.join("Where", net.current, x, net.constant(f32(0.25)))


def mean_of_three(net, x):
    low, high = net.at(x).node("Tanh").current, net.at(x).relu().current
    net.join("Mean", x, low, high)


CHAINS = (
    *(silu, mish, mish_in_full, gelu_erf, gelu_tanh, gelu_without_pow, quick_gelu, hard_swish, hard_swish_of_relu6),
    *(leaky_max, leaky_where, leaky_of_two_relus, elu, softsign, sigmoid_in_full, square, cube, power_of_two),
    *(above_one, window, mean_of_three),
)


def network(chain, *, opset=21) -> onnx.ModelProto:
    """conv, the chain, conv."""
    net = models.Builder((2, 6, 5), seed=3, opset=opset).conv(2, 4, 3)
    chain(net, net.current)
    return net.conv(4, 3, 1).model()


def quantized(model: onnx.ModelProto) -> quant.Graph:
    return quant.quantize(model, models.images(model, 8))


@pytest.mark.parametrize("chain", CHAINS)
def test_a_chain_is_one_table(chain):
    model = network(chain)
    images = models.images(model, 5)
    network_ = quant.load_float(model)
    assert len(network_.layers) == 3
    *_, (_, found) = run_float(network_, images)
    np.testing.assert_allclose(found, oracle.run(model, images), rtol=1e-4, atol=1e-4)
    graph = quantized(model)
    assert [layer.operator for layer in graph.layers] == ["Conv", LOOKUP, "Conv"]
    oracle.assert_equal_at_every_level(graph, images)
    again = quant.load(quant.to_onnx(graph))
    assert [layer.operator for layer in again.layers] == ["Conv", LOOKUP, "Conv"]
    np.testing.assert_array_equal(again.layers[1].values, graph.layers[1].values)
    assert again.tensors.keys() == graph.tensors.keys()


@pytest.mark.parametrize(("chain", "bounds"), [(hard_sigmoid, (0, 1))])
def test_a_hard_sigmoid_is_a_clamp(chain, bounds):
    """Its factor goes into the convolution, so its clamp does too, and no table is needed."""
    model = network(chain)
    layers = quant.load_float(model).layers
    assert [(layer.operator, layer.low, layer.high) for layer in layers[:1]] == [("Conv", *bounds)]
    assert len(layers) == 2
    images = models.images(model, 5)
    *_, (_, found) = run_float(quant.load_float(model), images)
    np.testing.assert_allclose(found, oracle.run(model, images), rtol=1e-4, atol=1e-4)


def test_behind_what_cannot_take_them_clamps_and_factors_are_a_table():
    net = models.Builder((2, 6, 5)).pool()
    hard_sigmoid(net, net.current)
    model = net.conv(2, 3, 1).model()
    assert [layer.operator for layer in quantized(model).layers] == ["MaxPool", LOOKUP, "Conv"]
    oracle.assert_equal_at_every_level(quantized(model), models.images(model, 5))


def test_relu6_as_maximum_and_minimum_is_a_clamp():
    net = models.Builder((2, 6, 5)).conv(2, 4, 3).node("Max", f32(0)).node("Min", f32(6))
    (layer,) = quant.load_float(net.model()).layers
    assert (layer.operator, layer.low, layer.high) == ("Conv", 0, 6)


def test_what_others_read_is_made_once():
    """A sigmoid that a convolution reads besides the product: two tables of the same map."""
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    x = net.current
    gate = net.node("Sigmoid").current
    left = net.join("Mul", x, gate).conv(4, 3, 1).current
    right = net.at(gate).conv(4, 3, 1).current
    model = net.join("Add", left, right).model()
    graph = quantized(model)
    assert [layer.operator for layer in graph.layers] == ["Conv", "Sigmoid", LOOKUP, "Conv", "Conv", "Add"]
    assert graph.layers[1].inputs == graph.layers[2].inputs == (graph.layers[0].output,)
    oracle.assert_equal_at_every_level(graph, models.images(model, 5))


def test_a_chain_that_begins_with_a_tensor_that_others_read_begins_there():
    net = models.Builder((2, 6, 5)).conv(2, 4, 3)
    first = net.relu().current
    silu(net, first)
    right = net.conv(4, 4, 1).current
    model = net.join("Add", first, right).model()
    layers = quant.load_float(model).layers
    assert [(layer.operator, layer.inputs[0]) for layer in layers[:2]] == [("Conv", "image"), ("Mul", first)]


def test_swish_of_opset_24():
    """The installed onnx may not know it: the node goes straight to its builder."""
    node = onnx.helper.make_node("Swish", ["x"], ["y"], "swish", alpha=1.5)
    layer, size = BUILDERS["Swish"](Context(node, {}, {"x": (1, 2, 3, 4)}, 24))
    values = np.linspace(-4, 4, 24, dtype=f32).reshape(1, 2, 3, 4)
    assert size == (1, 2, 3, 4)
    wide = values.astype(np.float64)
    np.testing.assert_array_equal(compute(layer, [values]), (wide / (1 + np.exp(-1.5 * wide))).astype(f32))


def test_a_table_of_negative_integers_counts_from_the_end():
    """A file in int8, and maps that do not use all of it."""
    values = np.arange(-90, 38, dtype=np.int32)[::-1].copy()
    source = quant.FeatureMap("x", (1, 2, 64), f32(0.5), -3, -90, 37)
    target = quant.FeatureMap("y", (1, 2, 64), f32(0.25), 5, -100, 100)
    layer = quant.Table("table", LOOKUP, "x", "y", values)
    graph = quant.Graph(("x",), ("y",), (layer,), {"x": source, "y": target})
    images = (np.arange(-90, 38).reshape(1, 1, 2, 64) + 3).astype(f32) * f32(0.5)
    oracle.assert_equal_at_every_level(graph, images)
    np.testing.assert_array_equal(golden.output(graph, images)[1].reshape(-1), values)
    again = quant.load(quant.to_onnx(graph))
    np.testing.assert_array_equal(again.layers[0].values, values)
    assert again.tensors == graph.tensors


REFUSED = {
    "rows": (np.zeros((2, 256), f32), "of float32, (2, 256); one row of finite float32 works"),
    "doubles": (np.zeros(256), "of float64, (256,); one row of finite float32 works"),
    "nan": (np.full(256, np.nan, f32), "of float32, (256,); one row of finite float32 works"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused(case):
    values, message = REFUSED[case]
    model = quant.to_onnx(quantized(network(silu)))
    stored = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".table"))
    stored.CopyFrom(onnx.numpy_helper.from_array(values, stored.name))
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == f"node 'mul1' (Gather): looks integers up in a constant {message}"


def test_a_table_that_is_too_short_is_refused():
    model = quant.to_onnx(quantized(network(silu)))
    stored = next(tensor for tensor in model.graph.initializer if tensor.name.endswith(".table"))
    stored.CopyFrom(onnx.numpy_helper.from_array(np.zeros(255, f32), stored.name))
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == "node 'mul1' (Gather): looks up 0..255 in 255 values; each needs its own"
