"""QDQ files of other quantizers: ONNX Runtime's own, to the last bit, and the spellings of Brevitas and PyTorch."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from systolith import golden, quant

from . import models, npz, oracle
from .qdq import WEIGHTS, Qdq, conv_chain

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


class Batches(CalibrationDataReader):
    def __init__(self, images: np.ndarray, name: str) -> None:
        self.feeds = iter([{name: images}])

    def get_next(self):
        return next(self.feeds, None)


def quantized_by_onnxruntime(tmp_path, model, images, **options) -> onnx.ModelProto:
    source, target = tmp_path / "float.onnx", tmp_path / "quantized.onnx"
    onnx.save(model, source)
    extra = options.pop("extra_options", {})
    logging.disable(logging.WARNING)
    try:
        quantize_static(
            source,
            target,
            Batches(images, model.graph.input[0].name),
            quant_format=options.pop("quant_format", QuantFormat.QDQ),
            weight_type=options.pop("weight_type", QuantType.QInt8),
            extra_options=extra,
            **options,
        )
    finally:
        logging.disable(logging.NOTSET)
    return onnx.load(target)


EXTRA = [
    {},
    {"ActivationSymmetric": True},
    {"AddQDQPairToWeight": True},
    {"QuantizeBias": False},
    {"DedicatedQDQPair": True},
]


@pytest.mark.parametrize("extra", EXTRA, ids=lambda extra: next(iter(extra), "plain"))
@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8], ids=str)
def test_lenet5_by_onnxruntimes_quantizer_on_all_held_out_images(tmp_path, kind, per_channel, extra):
    calibration = npz.read(LENET / "calibration.npz")["x"][:100]
    model = quantized_by_onnxruntime(
        tmp_path,
        onnx.load(LENET / "lenet5.onnx"),
        calibration,
        per_channel=per_channel,
        activation_type=kind,
        extra_options=extra,
    )
    images = npz.read(LENET / "test.npz")["x"]
    found, _ = golden.output(quant.load(model), images)
    np.testing.assert_array_equal(found, oracle.run(model, images))


@pytest.mark.parametrize("name", ["relu6", "conv_pool_overlap", "groups2", "asymmetric_pads", "dilation2", "depthwise"])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8], ids=str)
def test_single_layers_by_onnxruntimes_quantizer(tmp_path, name, kind):
    model = models.single(name)
    images = models.images(model, 8)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, per_channel=True, activation_type=kind)
    found, _ = golden.output(quant.load(quantized), images)
    np.testing.assert_array_equal(found, oracle.run(quantized, images))


def test_matmul_and_add_by_onnxruntimes_quantizer(tmp_path):
    net = models.Builder((3, 4, 4)).conv(3, 4, 3).flatten()
    net.node("MatMul", net.he(16, 5)).node("Relu").node("MatMul", net.he(5, 4))
    model = net.model()
    images = models.images(model, 8)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, activation_type=QuantType.QUInt8)
    found, _ = golden.output(quant.load(quantized), images)
    np.testing.assert_array_equal(found, oracle.run(quantized, images))


@pytest.mark.parametrize("scale", [0.01, [0.01], [0.01, 0.02, 0.03, 0.04]], ids=str)
@pytest.mark.parametrize("zero", [None, np.int8(0), np.zeros(4, np.int8)], ids=["none", "scalar", "vector"])
def test_weight_scales_of_any_shape(scale, zero):
    if np.size(zero) != np.size(scale) and zero is not None:
        zero = np.zeros(np.shape(scale), np.int8)
    graph = quant.load(conv_chain(scale, zero).qdq(scale=0.3).model())
    np.testing.assert_array_equal(graph.layers[0].weights, WEIGHTS)
    np.testing.assert_array_equal(graph.layers[0].weight_scales, np.broadcast_to(np.float32(scale), 4))


def test_float_weights_behind_q_and_dq_are_rounded_as_onnx_says():
    chain = Qdq().qdq()
    net = chain.net
    reals = np.random.default_rng(0).standard_normal((4, 2, 3, 3)).astype(np.float32)
    reals[0, 0, 0] = [0.005, 0.015, 99]  # two ties, and one that saturates
    names = [net.constant(reals, "w"), net.constant(np.float32(0.01), "s"), net.constant(np.int8(0), "z")]
    net.nodes.append(helper.make_node("QuantizeLinear", names, ["w_q"], "w_quantize"))
    net.nodes.append(helper.make_node("DequantizeLinear", ["w_q", *names[1:]], ["w_dq"], "w_dequantize"))
    model = chain.layer("Conv", "w_dq").qdq(scale=0.3).model()
    graph = quant.load(model)
    (expected,) = oracle.run_tensors(model, models.images(model, 1), ["w_q"])
    np.testing.assert_array_equal(graph.layers[0].weights, expected)


def test_weights_may_be_clipped_and_transposed_and_activations_clipped_as_integers():
    """Brevitas writes narrow weights and activations as Clip between integers, and PyTorch transposed weights."""
    chain = Qdq().q().node("Clip", np.uint8(10), np.uint8(200)).dq().node("Flatten")
    net = chain.net
    values = np.random.default_rng(1).integers(-128, 128, (5, 72)).astype(np.int8)
    names = [net.constant(values, "w"), net.constant(np.int8(-100), "low"), net.constant(np.int8(99), "high")]
    net.nodes.append(helper.make_node("Clip", names, ["w_clipped"], "w_clip"))
    net.nodes.append(
        helper.make_node("DequantizeLinear", ["w_clipped", net.constant(np.float32(0.01), "s")], ["w_dq"], "dq")
    )
    net.nodes.append(helper.make_node("Transpose", ["w_dq"], ["w_t"], "transpose", perm=[1, 0]))
    model = chain.layer("MatMul", "w_t").qdq(scale=1).model()
    graph = quant.load(model)
    assert (graph.map_of(graph.input).low, graph.map_of(graph.input).high) == (10, 200)
    np.testing.assert_array_equal(graph.layers[0].weights.reshape(5, 72), values.clip(-100, 99))
    images = models.images(model, 8) * 4
    _, y_q = golden.output(graph, images)
    np.testing.assert_allclose(golden.output(graph, images)[0], oracle.run(model, images), atol=1.01)
    assert y_q.dtype == np.uint8


def test_matmul_with_a_quantized_bias_added():
    chain = Qdq().qdq().node("Flatten")
    values = np.random.default_rng(1).integers(-128, 128, (72, 5)).astype(np.int8)
    chain.layer("MatMul", chain.weights(values, np.full(5, 0.01), axis=1))
    bias = np.arange(5, dtype=np.int32) * 1000
    name = chain.weights(bias, np.float32(0.05) * np.full(5, 0.01, np.float32), name="bias")
    chain.net.nodes.append(helper.make_node("Add", [name, "layer_out"], ["sum"], "add"))
    chain.net.current = "sum"
    graph = quant.load(chain.node("Relu").qdq(scale=1, zero_point=3).model())
    np.testing.assert_array_equal(graph.layers[0].bias, bias)
    np.testing.assert_array_equal(graph.layers[0].weights.reshape(5, 72), values.T)
    assert graph.map_of(graph.output).low == 3


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0, np.inf, (128, 255)), (-1, 2.03, (118, 148)), (-np.inf, 6, (0, 188))]
)
def test_activation_functions_become_clamps(low, high, expected):
    chain = conv_chain().node("Clip", np.float32(low), np.float32(high)).qdq(scale=0.1)
    target = quant.load(chain.model()).map_of("quantizelinear2_out")
    assert (target.low, target.high) == expected


def test_a_last_softmax_is_left_to_the_host():
    graph = quant.load(conv_chain().qdq(scale=0.3).node("Softmax", axis=1).model())
    assert graph.output == "quantizelinear2_out"


def float_bias():
    chain = Qdq().qdq()
    bias = chain.net.constant(np.float32([1, -1, 0.00024, 0]), "bias")
    return chain.layer("Conv", chain.weights(WEIGHTS, 0.01), bias).qdq(scale=0.3)


def test_a_float_bias_is_rounded_to_the_scale_of_the_sums():
    assert quant.load(float_bias().model()).layers[0].bias.tolist() == [2000, -2000, 0, 0]


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("kind", [QuantType.QUInt8, QuantType.QInt8], ids=str)
@pytest.mark.parametrize("name", ["blocks", "shortcuts", "sums_last", "squeeze"])
def test_networks_that_branch_by_onnxruntimes_quantizer(tmp_path, name, kind, per_channel):
    model = OURS[name]() if name in OURS else models.branched(name)
    images = models.images(model, 12)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, per_channel=per_channel, activation_type=kind)
    graph = quant.load(quantized)
    oracle.assert_every_tensor_equal(graph, images)  # as written anew
    found, _ = golden.output(graph, images)
    np.testing.assert_array_equal(found.reshape(12, -1), oracle.run(quantized, images).reshape(12, -1))


def squeeze() -> onnx.ModelProto:
    """Two fire modules of SqueezeNet: concatenations, and the global average at the end."""
    net, channels = models.Builder((3, 17, 17)).conv(3, 8, 3, strides=[2, 2]).relu().pool(3, 2), 8
    for _ in range(2):
        source = net.conv(channels, 4, 1).relu().current
        one, other = net.conv(4, 6, 1).relu().current, net.at(source).conv(4, 6, 3, pads=[1] * 4).relu().current
        net.join("Concat", one, other, axis=1)
        channels = 12
    return net.conv(12, 5, 1).node("GlobalAveragePool").model()


def blocks() -> onnx.ModelProto:
    """Two residual blocks, the second with a convolution on its shortcut."""
    net, channels = models.Builder((3, 10, 10)).conv(3, 6, 3).relu(), 6
    for outputs, stride in ((6, 1), (8, 2)):
        shortcut = net.current
        branch = net.conv(channels, outputs, 3, pads=[1] * 4, strides=[stride] * 2).relu()
        branch = branch.conv(outputs, outputs, 1).current
        if stride > 1:
            shortcut = net.at(shortcut).conv(channels, outputs, 1, strides=[stride] * 2).current
        net.join("Add", branch, shortcut).relu()
        channels = outputs
    return net.node("GlobalAveragePool").flatten().gemm(8, 5).model()


OURS = {"blocks": blocks, "squeeze": squeeze}


def test_functions_by_onnxruntimes_quantizer(tmp_path):
    net = models.Builder((3, 8, 8)).conv(3, 6, 3).node("Sigmoid").conv(6, 5, 3).node("LeakyRelu", alpha=0.1)
    model = net.pool().flatten().gemm(20, 4).model()
    images = models.images(model, 12)
    quantized = quantized_by_onnxruntime(tmp_path, model, images, activation_type=QuantType.QUInt8)
    found, _ = golden.output(quant.load(quantized), images)
    np.testing.assert_array_equal(found, oracle.run(quantized, images))


def test_a_relu_after_a_pooling_narrows_the_map_before_it():
    chain = Qdq().qdq().node("MaxPool", kernel_shape=[2, 2]).node("Relu").qdq()
    model = chain.model()
    graph = quant.load(model)
    assert [layer.operator for layer in graph.layers] == ["MaxPool"]
    assert graph.map_of(graph.input).low == 128
    images = models.images(model, 4)
    np.testing.assert_array_equal(golden.output(graph, images)[0], oracle.run(model, images))


def test_a_map_with_two_readers_may_have_a_dq_for_each():
    chain = Qdq().q()
    integers = chain.net.current
    one = chain.dq().net.current
    other = chain.net.at(integers) and chain.dq().net.current
    chain.net.join("Add", one, other)
    model = chain.qdq(scale=0.1).model()
    graph = quant.load(model)
    assert graph.layers[0].inputs == ("quantizelinear1_out",) * 2
    images = models.images(model, 4)
    np.testing.assert_array_equal(golden.output(graph, images)[0], oracle.run(model, images))


def test_a_dequantized_constant_is_no_map():
    chain = Qdq().qdq()
    chain.layer("Sum", chain.weights(np.ones((1, 2, 6, 6), np.int8), 0.01)).qdq()
    message = "node 'layer' (Sum): has a value for each pixel; one for each channel works in a quantized model"
    with pytest.raises(quant.ModelError, match=f"^{re.escape(message)}$"):
        quant.load(chain.model())
