"""Whole models by other quantizers, their integers kept: golden beside ONNX Runtime on the very file.

ONNX Runtime is not one answer: without its optimizations it computes in float and keeps float biases, with them in
integers and rounds those.  Each file says below where the two differ, and whom golden equals.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from onnxruntime import GraphOptimizationLevel
from onnxruntime.quantization import QuantFormat, QuantType

from systolith import golden, quant
from systolith.quant import Conv, FeatureMap, Graph
from systolith.quant.onnx.constants import Constants
from systolith.quant.qdq import qonnx

from . import models
from .test_quant_foreign import quantized_by_onnxruntime

DATA = Path(__file__).parent / "data" / "brevitas"
OFF, ON = GraphOptimizationLevel.ORT_DISABLE_ALL, GraphOptimizationLevel.ORT_ENABLE_ALL

BREVITAS = {
    "8": (OFF, ON),
    "4_float_bias": (ON,),
    "3_channels": (OFF, ON),
    "2_float_bias": (ON,),
    "pool_first": (OFF, ON),
    "norm_4": (OFF, ON),
    "residual": (OFF, ON),
    "leaky_table": (OFF, ON),
    "mean": (OFF, ON),
    "rounded_mean": (ON,),  # means that are ties
    "asymmetric": (OFF, ON),
}
"""Files by Brevitas, and with which optimizations ONNX Runtime returns what golden does."""


def session(model: onnx.ModelProto, level: GraphOptimizationLevel) -> onnxruntime.InferenceSession:
    """A session whose sums do not saturate wherever ONNX Runtime knows how."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    file = apart(model).SerializeToString()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, images: np.ndarray, level: GraphOptimizationLevel) -> np.ndarray:
    """What ONNX Runtime makes of ``images``."""
    return session(model, level).run(None, {_image(model): images})[0]


def apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with a zero point of its own for each DQ: ONNX Runtime 1.32 fails where weights share one."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in copied.graph.initializer}
    for node in copied.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) > 2 and node.input[2] in stored:
            own = copied.graph.initializer.add()
            own.CopyFrom(stored[node.input[2]])
            own.name = node.input[2] = f"{node.output[0]}_own_zero_point"
    return copied


def _image(model: onnx.ModelProto) -> str:
    stored = {tensor.name for tensor in model.graph.initializer}
    return next(value.name for value in model.graph.input if value.name not in stored)


def noise(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, size, size)).astype(np.float32)


def integers_of(graph: Graph, reals: np.ndarray) -> np.ndarray:
    """What integers of the output the reals of ONNX Runtime are, (N, channels, ...)."""
    last = graph.tensors[graph.output]
    if isinstance(last, FeatureMap):
        return np.rint(reals / last.scale).astype(np.int64) + last.zero_point
    scales, shifts = (
        values.reshape(-1, *(1,) * (reals.ndim - 2))
        for values in (last.scales, np.zeros_like(last.scales) if last.shifts is None else last.shifts)
    )
    return np.rint((reals.astype(np.float64) - shifts) / scales).astype(np.int64)


def different(graph: Graph, model: onnx.ModelProto, images: np.ndarray, level: GraphOptimizationLevel) -> int:
    """How many integers of the outputs are not ONNX Runtime's."""
    _, found = golden.output(graph, images)
    expected = integers_of(graph, run(model, images, level))
    assert found.size == expected.size
    return int((found.reshape(expected.shape) != expected).sum())


@pytest.mark.parametrize("name", BREVITAS)
def test_brevitas_qcdq_is_exact(name):
    model = onnx.load(DATA / f"{name}.qcdq.onnx")
    graph = quant.load(model)
    equal = [level for level in (OFF, ON) if different(graph, model, noise(48), level) == 0]
    assert equal == list(BREVITAS[name])


@pytest.mark.parametrize("name", BREVITAS)
def test_brevitas_qonnx_is_the_same_network(name):
    """ONNX Runtime does not run QONNX; Brevitas writes one network in both."""
    one, other = (quant.load(DATA / f"{name}.{kind}.onnx") for kind in ("qcdq", "qonnx"))
    assert [layer.operator for layer in one.layers] == [layer.operator for layer in other.layers]
    for a, b in zip(one.layers, other.layers, strict=True):
        if isinstance(a, Conv):
            np.testing.assert_array_equal(a.weights, b.weights)
            np.testing.assert_array_equal(a.bias, b.bias)
    for a, b in zip(golden.output(one, noise(8)), golden.output(other, noise(8)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_narrow_weights_keep_their_width_and_a_normalization_takes_more():
    """A shift that ONNX Runtime computes in float is kept by finer sums: weights of up to 16 bits, all multiples."""
    narrow = quant.load(DATA / "3_channels.qcdq.onnx")
    assert [layer.weight_bits for layer in narrow.layers if isinstance(layer, Conv)] == [3, 3, 3]
    first, *_ = quant.load(DATA / "norm_4.qcdq.onnx").layers
    assert isinstance(first, Conv)
    for weights, scale in zip(first.weights, first.weight_scales, strict=True):
        whole = np.abs(weights[weights != 0]).min()
        assert whole & (whole - 1) == 0 or (weights % (whole & -whole) == 0).all()
        assert np.abs(weights // max(1, whole & -whole)).max() <= 7
        assert scale > 0


def test_a_bias_that_rounding_changes_is_told_by_layer_and_size(caplog):
    quant.load(DATA / "2_float_bias.qcdq.onnx")
    assert [record.getMessage() for record in caplog.records] == [
        "layer '/second/Conv': its float bias is rounded to the scale of its sums; that changes its output by up to"
        " 0.19 steps, in channel 1"
    ]
    caplog.clear()
    quant.load(DATA / "4_float_bias.qcdq.onnx")
    assert not caplog.records


def residual() -> onnx.ModelProto:
    """Every operator that ONNX Runtime's QOperator format has of ours but averages of windows, which are floats."""
    net = models.Builder((3, 12, 12)).conv(3, 6, 3, pads=[1] * 4).relu()
    shortcut = net.current
    branch = net.conv(6, 6, 3, pads=[1] * 4).node("Sigmoid").current
    net.join("Add", branch, shortcut).relu()
    summed = net.current
    other = net.at(summed).conv(6, 4, 1).node("LeakyRelu", alpha=0.1).current
    net.join("Concat", summed, other, axis=1).pool()
    net.conv(10, 6, 3).node("GlobalAveragePool").flatten().gemm(6, 8).relu()
    return net.node("MatMul", net.he(8, 5)).node("Add", net.bias(5)).model()


U8, S8 = QuantType.QUInt8, QuantType.QInt8
STATIC = {
    "U8S8": {"activation_type": U8},
    "S8S8": {"activation_type": S8},
    "U8U8": {"activation_type": U8, "weight_type": U8},
    "per channel": {"activation_type": U8, "per_channel": True},
    "reduced range": {"activation_type": U8, "reduce_range": True},
    "asymmetric weights": {"activation_type": U8, "extra_options": {"WeightSymmetric": False}},
    "4-bit weights": {"activation_type": U8, "weight_type": QuantType.QInt4},
    "unsigned 4-bit weights": {"activation_type": U8, "weight_type": QuantType.QUInt4},
    "symmetric": {"activation_type": S8, "extra_options": {"ActivationSymmetric": True}},
    "forced": {"activation_type": U8, "extra_options": {"ForceQuantizeNoInputCheck": True}},
    "its own Q": {"activation_type": U8, "extra_options": {"UseQDQContribOps": True}},
    "a Q for each reader": {"activation_type": S8, "extra_options": {"DedicatedQDQPair": True}},
    "float weights": {"activation_type": U8, "extra_options": {"AddQDQPairToWeight": True}},
}
"""Options of ONNX Runtime's quantize_static."""


@pytest.mark.parametrize("options", STATIC)
def test_onnxruntimes_qdq_is_exact(options, tmp_path):
    model = residual()
    images = models.images(model, 24)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, **dict(STATIC[options]))
    graph = quant.load(quantized)
    found = golden.run(graph, golden.quantize_input(graph, images))
    names = [node.output[0] for node in quantized.graph.node if node.output[0] in found]
    assert len(names) >= 13
    quantized.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    expected = session(quantized, ON).run(names, {"image": images})
    for name, values in zip(names, expected, strict=True):
        np.testing.assert_array_equal(found[name].reshape(values.shape), values, err_msg=name)


def test_16_bit_activations_are_exact_but_for_ties_of_float(tmp_path):
    """ONNX Runtime has no integer kernels for them: it computes in float32, whose 24 bits leave 8 for a rounding."""
    net = models.Builder((3, 8, 8)).conv(3, 6, 3).relu().pool()
    model = net.conv(6, 4, 3).flatten().gemm(4, 5).model()
    images = models.images(model, 24)
    kinds = {"activation_type": QuantType.QUInt16, "weight_type": QuantType.QInt8}
    quantized = quantized_by_onnxruntime(tmp_path, model, images, **kinds)
    graph = quant.load(quantized)
    found = golden.output(graph, images)[1].astype(np.int64)
    expected = integers_of(graph, run(quantized, images, OFF))
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("options", ["U8S8", "S8S8", "U8U8", "per channel", "reduced range", "asymmetric weights"])
def test_onnxruntimes_qoperator_is_exact(options, tmp_path):
    model = residual()
    images = models.images(model, 24)
    settings = dict(STATIC[options]) | {"quant_format": QuantFormat.QOperator}
    quantized = quantized_by_onnxruntime(tmp_path, model, images, **settings)
    assert {node.op_type for node in quantized.graph.node} >= {
        "QLinearConv", "QLinearAdd", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearMatMul", "QGemm",
        "QLinearGlobalAveragePool", "MaxPool",
    }  # fmt: skip
    # With its optimizations ONNX Runtime 1.32 fails on S8S8; without, its sums of U8S8 saturate on some processors.
    assert different(quant.load(quantized), quantized, images, OFF if options == "S8S8" else ON) == 0


@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ], ids=["QOperator", "QDQ"])
def test_a_last_softmax_is_the_hosts_quantized_or_not(form, tmp_path):
    model = models.Builder((3, 8, 8)).conv(3, 6, 3).relu().flatten().gemm(216, 5).node("Softmax", axis=1).model()
    images = models.images(model, 8)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, activation_type=U8, quant_format=form)
    graph = quant.load(quantized)
    last = next(node for node in quantized.graph.node if node.op_type in ("QGemm", "Gemm"))
    scores = last.output[0] if form == QuantFormat.QOperator else graph.output
    assert graph.output == scores
    quantized.graph.output.append(onnx.ValueInfoProto(name=scores))
    (expected,) = session(quantized, ON).run([scores], {"image": images})
    np.testing.assert_array_equal(golden.output(graph, images)[1].reshape(expected.shape), expected)


class Fused(models.Builder):
    """A network as TensorRT wants it: Q and DQ only before convolutions, and before a sum on the shortcut."""

    def qdq(self, scale: float) -> Fused:
        self.node("QuantizeLinear", np.float32(scale), np.int8(0))
        return self.node("DequantizeLinear", np.float32(scale), np.int8(0))

    def quantized_conv(self, inputs: int, outputs: int, kernel: int, scale: float, **attributes: int) -> Fused:
        """A convolution of a quantized input, its weights by channel, its bias float; nothing after it."""
        self.qdq(scale)
        scales = self.random.uniform(0.003, 0.01, outputs).astype(np.float32)
        weights = self.random.integers(-127, 128, (outputs, inputs, kernel, kernel)).astype(np.int8)
        number = len(self.nodes)
        names = [self.constant(values) for values in (weights, scales, np.zeros(outputs, np.int8))]
        self.nodes.append(helper.make_node("DequantizeLinear", names, [f"weights{number}"], f"dq{number}", axis=0))
        pads = [kernel // 2] * 4
        return self.join(
            "Conv", self.current, f"weights{number}", self.constant(self.bias(outputs)), pads=pads, **attributes
        )


def fused(shortcut_scale: float) -> onnx.ModelProto:
    net = Fused((3, 8, 8)).quantized_conv(3, 6, 3, 0.03).relu()
    for scale in (0.05, 0.09):
        source = net.current
        branch = net.quantized_conv(6, 6, 3, scale).relu().quantized_conv(6, 6, 3, 2 * scale).norm(6).current
        shortcut = net.at(source).qdq(shortcut_scale * scale).current
        net.join("Add", branch, shortcut).relu()
    return net.qdq(0.09).model()


@pytest.mark.parametrize("shortcut", [1.0, 1.7], ids=["same grid", "its own grid"])
def test_shortcuts_as_tensorrt_fuses_them_are_exact(shortcut):
    """The sum of a convolution that no Q ends and a map: one convolution over both, of weights up to 16 bits."""
    model = fused(shortcut)
    graph = quant.load(model)
    assert sum(isinstance(layer, quant.Add) for layer in graph.layers) == 0
    assert max(layer.weight_bits for layer in graph.layers if isinstance(layer, Conv)) == 16
    assert different(graph, model, noise(16), ON) == 0


def with_quant(operator: str = "Quant", zero: float = 0, bits: int = 4, **attributes: int) -> onnx.ModelProto:
    """A 1x1 convolution whose weights QONNX's ``operator`` quantizes."""
    net = models.Builder((1, 2, 2))
    net.node("QuantizeLinear", np.float32(0.1), np.int8(0)).node("DequantizeLinear", np.float32(0.1), np.int8(0))
    values = np.float32([-99, -7.5, -0.5, 1.5, 99]).reshape(5, 1, 1, 1)
    names = [net.constant(value) for value in (values, np.float32(1), np.float32(zero), np.float32(bits))]
    domain = "qonnx.custom_op.general"
    net.nodes.append(helper.make_node(operator, names, ["weights"], "weight_quant", domain=domain, **attributes))
    return net.join("Conv", net.current, "weights").model()


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"signed": 1, "narrow": 0}, [-8, -8, 0, 2, 7]),
        ({"signed": 1, "narrow": 1}, [-7, -7, 0, 2, 7]),
        ({"signed": 0, "narrow": 0}, [0, 0, 0, 2, 15]),
        ({"signed": 0, "narrow": 1}, [0, 0, 0, 2, 14]),
    ],
    ids=str,
)
def test_a_quants_integers_are_those_of_its_width(attributes, expected):
    (layer,) = quant.load(with_quant(**attributes)).layers
    assert layer.weights.ravel().tolist() == expected


@pytest.mark.parametrize(("zero", "bits", "low", "high"), [(8, 4, -8, 7), (-9, 4, -8, 7), (2**62, 8, -128, 127)])
def test_a_quants_zero_point_is_one_of_its_integers(zero, bits, low, high):
    with pytest.raises(quant.ModelError) as caught:
        quant.load(with_quant(zero=zero, bits=bits))
    said = f"its zero point '{{}}' is {zero}; it must be one of its integers, {low} to {high}"
    name = with_quant().graph.node[-2].input[2]
    assert str(caught.value) == f"node 'weight_quant' (qonnx.custom_op.general.Quant): {said.format(name)}"
    quant.load(with_quant(zero=high if bits == 4 else 0, bits=4))


def test_a_quant_of_32_bits_saturates_at_the_largest_integer():
    constants = Constants(onnx.ModelProto(), 20)
    values = {"x": [-4e9, -1, 3e9], "scale": 1, "zero": 0, "bits": 32}
    for name, value in values.items():
        constants.add(helper.make_node("Constant", [], [name]), np.asarray(value, np.float32))
    node = helper.make_node("Quant", [*values], ["y"], "weights", domain="qonnx.custom_op.general")
    (made,) = qonnx.spelled(node, constants)
    assert constants[made.input[0]].tolist() == [-(2**31), -1, 2**31 - 1]


@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("BipolarQuant", "values of -1 and 1 are not supported; a Quant of 2 bits, signed and narrow, has them"),
        (
            "Trunc",
            "with 4 inputs is not supported; of QONNX Quant with four and Trunc with six are, so put one where the"
            " values are to be rounded",
        ),
    ],
)
def test_what_qonnx_says_otherwise_is_refused_by_name(operator, reason):
    with pytest.raises(quant.ModelError) as caught:
        quant.load(with_quant(operator))
    assert str(caught.value) == f"node 'weight_quant' (qonnx.custom_op.general.{operator}): {reason}"


def test_a_last_float_bias_is_added_to_the_reals_and_kept_in_the_file():
    graph = quant.load(DATA / "4_float_bias.qcdq.onnx")
    last = graph.tensors[graph.outputs[0]]
    stored = {tensor.name: tensor for tensor in onnx.load(DATA / "4_float_bias.qcdq.onnx").graph.initializer}
    np.testing.assert_array_equal(last.shifts, onnx.numpy_helper.to_array(stored["last.bias"]))
    again = quant.load(quant.to_onnx(graph))
    for one in (graph, again):
        y, sums = golden.output(one, noise(4))
        np.testing.assert_array_equal(y, sums.astype(np.float32) * last.scales + last.shifts)
