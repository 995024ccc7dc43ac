"""QDQ files: ours come back as they went, those of ONNX Runtime's quantizer are understood, others refused by name."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from systolith import golden, quant

from . import models, oracle
from .graphs import conv_graph, pool_graph

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


def assert_same(found: quant.Graph, expected: quant.Graph) -> None:
    assert (found.input, found.output) == (expected.input, expected.output)
    assert list(found.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        if isinstance(tensor, quant.FeatureMap):
            assert found.tensors[name] == tensor
        else:
            assert (found.tensors[name].name, found.tensors[name].shape) == (name, tensor.shape)
            np.testing.assert_array_equal(found.tensors[name].scales, tensor.scales)
    assert len(found.layers) == len(expected.layers)
    for one, other in zip(found.layers, expected.layers, strict=True):
        if isinstance(other, quant.MaxPool):
            assert one == other
            continue
        for field in ("name", "operator", "input", "output", "strides", "pads", "dilations", "groups"):
            assert getattr(one, field) == getattr(other, field), field
        for field in ("weights", "weight_scales", "bias"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
            assert getattr(one, field).dtype == getattr(other, field).dtype


BITS = [(8, 8), (2, 2), (4, 6), (16, 8), (8, 16), (12, 9)]


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), BITS)
@pytest.mark.parametrize(
    "name", ["relu6", "conv_pool_overlap", "asymmetric_pads", "groups2", "gemm_of_map", "pool_ceil"]
)
def test_what_is_written_is_read_back(name, weight_bits, activation_bits, scales, tmp_path):
    model = models.single(name)
    graph = quant.quantize(model, models.images(model, 4), quant.Settings(scales, weight_bits, activation_bits))
    quant.save(graph, tmp_path / "q.onnx")
    assert_same(quant.load(tmp_path / "q.onnx"), graph)


def test_whole_networks_are_read_back():
    graph = quant.quantize(LENET / "lenet5.onnx", np.load(LENET / "calibration.npz")["x"][:50])
    assert_same(quant.load(quant.to_onnx(graph)), graph)
    model = models.cifar()
    graph = quant.quantize(model, models.images(model, 2), quant.Settings("pow2"))
    assert_same(quant.load(quant.to_onnx(graph)), graph)


@pytest.mark.parametrize(
    "bounds", [(0, 255, 0), (-128, 127, 5), (3, 77, 20), (0, 65535, 32768), (-300, 200, 0), (-128, 127, -128)], ids=str
)
def test_any_range_is_read_back(bounds):
    weights = np.random.default_rng(0).integers(-127, 128, (3, 2, 3, 3))
    for target in (bounds, None):
        graph = conv_graph((2, 6, 7), weights, bias=np.arange(3), source=bounds, target=target, pads=(0, 1, 2, 0))
        assert_same(quant.load(quant.to_onnx(graph)), graph)
    graph = pool_graph((2, 6, 7), (3, 2), (2, 1), (1, 0, 0, 1), bounds)
    assert_same(quant.load(quant.to_onnx(graph)), graph)


def test_the_same_graph_makes_the_same_bytes(tmp_path):
    model = models.tiny()
    for name in ("a.onnx", "b.onnx"):
        quant.save(quant.quantize(model, models.images(model, 4)), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("bits", [8, 5])
def test_onnxruntime_runs_every_layer_in_integers(tmp_path, scales, bits):
    net = models.Builder((3, 12, 12)).conv(3, 8, 3).relu6().pool().conv(8, 6, 3, group=2).flatten().gemm(54, 9).relu()
    model = net.gemm(9, 4).model()
    graph = quant.quantize(model, models.images(model, 8), quant.Settings(scales, bits, bits))
    found = oracle.kernels(quant.to_onnx(graph), str(tmp_path / "optimized.onnx"))
    assert (found.count("QLinearConv"), found.count("QGemm")) == (2, 2)
    assert not {"Conv", "Gemm", "MatMul", "FusedConv"} & set(found)


def test_names_that_clash_are_told_apart():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3).relu().conv(3, 2, 3)
    for node in net.nodes:
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = {"relu1_out": "image_quantized", "conv1_out": "image_scale"}.get(name, name)
        node.name = "same"
    model = net.model()
    graph = quant.quantize(model, models.images(model, 4))
    assert_same(quant.load(quant.to_onnx(graph)), graph)
    onnx.checker.check_model(quant.to_onnx(graph), full_check=True)


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
    calibration = np.load(LENET / "calibration.npz")["x"][:100]
    model = quantized_by_onnxruntime(
        tmp_path,
        onnx.load(LENET / "lenet5.onnx"),
        calibration,
        per_channel=per_channel,
        activation_type=kind,
        extra_options=extra,
    )
    images = np.load(LENET / "test.npz")["x"]
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


class Qdq:
    """A QDQ chain written by hand, node by node, in the spellings of other tools."""

    def __init__(self) -> None:
        self.net = models.Builder((2, 6, 6))

    def q(self, scale=0.05, zero_point=128, kind=np.uint8, name=None):
        return self._linear("QuantizeLinear", scale, zero_point, kind, name)

    def dq(self, scale=0.05, zero_point=128, kind=np.uint8, name=None):
        return self._linear("DequantizeLinear", scale, zero_point, kind, name)

    def _linear(self, operator, scale, zero_point, kind, name):
        self.net.node(operator, np.float32(scale), np.array(zero_point, kind), name=name)
        return self

    def qdq(self, **grid):
        return self.q(**grid).dq(**grid)

    def node(self, *arguments, **keywords):
        self.net.node(*arguments, **keywords)
        return self

    def weights(self, values, scale, zero_point=None, axis=0, name="weights"):
        """A DequantizeLinear of the constant ``values``; returns what to pass to ``layer``."""
        constants = [self.net.constant(values, f"{name}_q"), self.net.constant(np.float32(scale), f"{name}_scale")]
        if zero_point is not None:
            constants.append(self.net.constant(zero_point, f"{name}_zero"))
        self.net.nodes.append(helper.make_node("DequantizeLinear", constants, [name], f"{name}_dq", axis=axis))
        return name

    def layer(self, operator, *names, **attributes):
        self.net.nodes.append(
            helper.make_node(operator, [self.net.current, *names], ["layer_out"], "layer", **attributes)
        )
        self.net.current = "layer_out"
        return self

    def model(self):
        return self.net.model()


WEIGHTS = np.random.default_rng(2).integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)


def conv_chain(scale=0.01, zero_point=None, **attributes) -> Qdq:
    chain = Qdq().qdq()
    return chain.layer("Conv", chain.weights(WEIGHTS, scale, zero_point), **attributes)


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


def bad_bias():
    chain = Qdq().qdq()
    bias = chain.weights(np.ones(4, np.int32), 0.1, name="bias")
    return chain.layer("Conv", chain.weights(WEIGHTS, 0.01), bias).qdq()


def wrong_axis():
    chain = Qdq().qdq()
    return chain.layer("Conv", chain.weights(WEIGHTS, [0.1, 0.2], axis=1)).qdq()


def residual():
    chain = conv_chain().qdq()
    net = chain.net
    net.nodes.append(helper.make_node("Add", [net.current, "dequantizelinear1_out"], ["sum"], "shortcut"))
    net.current = "sum"
    return chain


def blocks():
    chain = Qdq().qdq()
    chain.layer("Conv", chain.weights(WEIGHTS, 0.1))
    chain.net.nodes[-2].attribute.append(helper.make_attribute("block_size", 2))
    return chain.qdq()


# What to build, and the whole message.
REFUSED = {
    "asymmetric weights": (
        lambda: conv_chain(0.01, np.int8(3)).qdq(),
        "node 'weights_dq' (DequantizeLinear): zero point 3 makes the weights asymmetric; it must be 0",
    ),
    "float model": (
        lambda: Qdq().node("Conv", np.ones((3, 2, 3, 3), np.float32)),
        "node 'conv1' (Conv): reads the input 'image' before a QuantizeLinear; quantize the model first",
    ),
    "float weights": (
        lambda: Qdq().qdq().node("Conv", np.ones((3, 2, 3, 3), np.float32)).qdq(),
        "node 'conv1' (Conv): its weights 'conv1_0' are not quantized; they need a DequantizeLinear before",
    ),
    "no Q between layers": (
        lambda: conv_chain().node("MaxPool", kernel_shape=[2, 2]).qdq(),
        "node 'maxpool1' (MaxPool): reads 'layer_out', which is not quantized; "
        "it needs QuantizeLinear and DequantizeLinear before",
    ),
    "no DQ": (
        lambda: Qdq().q().node("MaxPool", kernel_shape=[2, 2]).dq(),
        "node 'maxpool1' (MaxPool): reads integers, 'quantizelinear1_out'; a DequantizeLinear must come before",
    ),
    "pool changes scale": (
        lambda: Qdq().qdq().node("MaxPool", kernel_shape=[2, 2]).qdq(scale=0.1),
        "node 'quantizelinear2' (QuantizeLinear): changes the scale from 0.05 to 0.1 (zero point 128 to 128)"
        " with no convolution between; only the same scale works",
    ),
    "DQ of another scale": (
        lambda: Qdq().q().dq(scale=0.06),
        "node 'dequantizelinear1' (DequantizeLinear): has scale 0.06 and zero point 128, "
        "but 'quantizelinear1_out' was quantized with 0.05 and 128; they must agree",
    ),
    "activation function last": (
        lambda: conv_chain().node("Relu"),
        "layer 'layer': its activation function needs a QuantizeLinear after it, as it is the last",
    ),
    "scale of bias": (
        bad_bias,
        "node 'layer' (Conv): its bias has scale 0.1 in channel 0; it must be input scale times weight scale, 0.0005",
    ),
    "axis": (
        wrong_axis,
        "node 'layer' (Conv): its weights' scales lie along the wrong axis; one for each of 4 outputs works",
    ),
    "branch": (
        residual,
        "node 'shortcut' (Add): reads 'dequantizelinear1_out', as 'layer' does; only chains without branches work yet",
    ),
    "negative scale": (
        lambda: Qdq().qdq(scale=-1),
        "node 'quantizelinear1' (QuantizeLinear): its scale 'quantizelinear1_0' must be float32, finite and positive",
    ),
    "scale not finite": (
        lambda: Qdq().qdq(scale=np.inf),
        "node 'quantizelinear1' (QuantizeLinear): its scale 'quantizelinear1_0' must be float32, finite and positive",
    ),
    "blocks": (
        blocks,
        "node 'weights_dq' (DequantizeLinear): block_size is set; "
        "only one scale for the tensor, or one for each channel, works",
    ),
    "per-channel map": (
        lambda: Qdq().node("QuantizeLinear", np.ones(2, np.float32), np.zeros(2, np.uint8)),
        "node 'quantizelinear1' (QuantizeLinear): has 2 scales; a feature map must have one",
    ),
    "operator": (
        lambda: Qdq().qdq().node("Sigmoid").qdq(),
        "node 'sigmoid1' (Sigmoid): is not supported in a quantized model; Add, Clip, Conv, DequantizeLinear, Dropout, "
        "Flatten, Gemm, Identity, MatMul, MaxPool, QuantizeLinear, Relu, Reshape are, in QDQ form",
    ),
    "clip without zero": (
        lambda: conv_chain().node("Clip", np.float32(1), np.float32(2)).qdq(),
        "node 'clip1' (Clip): clips to 1..2; the range must contain 0, so that 0 stays exact",
    ),
    "no quantization": (
        lambda: Qdq().node("Identity"),
        "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)",
    ),
    "no layers": (lambda: Qdq().qdq(), "the model has no layers; there is nothing to compute"),
    "two inputs": (
        lambda: _with_second_input(conv_chain().qdq()),
        "the model has 2 inputs and 1 outputs ('image', 'second', 'dequantizelinear3_out'); it must have one of each",
    ),
}


def _with_second_input(chain: Qdq) -> Qdq:
    chain.net.inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 3]))
    return chain


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_in_one_line(case):
    change, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load(change().model())
    assert str(caught.value) == message


def test_integer_operators_are_refused(tmp_path):
    model = models.single("plain")
    quantized = quantized_by_onnxruntime(
        tmp_path, model, models.images(model, 2), quant_format=QuantFormat.QOperator, activation_type=QuantType.QUInt8
    )
    with pytest.raises(quant.ModelError, match=r"\(QLinearConv\): "):
        quant.load(quantized)


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_damaged_files_never_end_in_anything_but_an_error_of_ours(tmp_path, place):
    model = models.tiny()
    data = bytearray(quant.to_onnx(quant.quantize(model, models.images(model, 2))).SerializeToString())
    random = np.random.default_rng(place)
    for _ in range(20):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 4):
            damaged[at] = random.integers(0, 256)
        path = tmp_path / "q.onnx"
        path.write_bytes(damaged)
        try:
            quant.load(path)
        except quant.SystolithError:
            continue


def test_values_beyond_what_arithmetic_holds_are_refused():
    weights = numpy_helper.to_array(numpy_helper.from_array(np.full((1, 40000, 1, 1), 127, np.int8)))
    with pytest.raises(quant.GraphError, match="beyond int32; use fewer weight or activation bits"):
        conv_graph((40000, 1, 1), weights, source=(0, 65535, 0), target=None)
