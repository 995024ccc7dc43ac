"""Import of float ONNX models: the same numbers as ONNX Runtime, and every refusal by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith import quant
from systolith.quant.networks.execute import run_float

from . import models, oracle

DATA = Path(__file__).parent / "data"
LENET = Path(__file__).parent.parent / "examples" / "lenet5" / "lenet5.onnx"


def assert_same_as_onnxruntime(model: onnx.ModelProto) -> quant.FloatGraph:
    network = quant.load_float(model)
    images = models.images(model, 3)
    *_, (name, found) = run_float(network, images)
    assert name == network.outputs[0]
    expected = oracle.run(model, images)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    return network


@pytest.mark.parametrize("name", models.SINGLE)
def test_single_layers_compute_as_in_onnxruntime(name):
    assert_same_as_onnxruntime(models.single(name))


def test_whole_networks_compute_as_in_onnxruntime():
    assert_same_as_onnxruntime(models.cifar())
    assert_same_as_onnxruntime(onnx.load(LENET))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_both_torch_exporters(exporter):
    model = onnx.load(DATA / f"{exporter}.onnx")
    network = quant.load_float(model)
    assert [layer.operator for layer in network.layers] == ["Conv", "MaxPool", "Gemm"]
    assert network.layers[0].high == 6
    assert network.dropped == ("Reshape to Nx6, of 'scores'", "LogSoftmax along axis 1, of 'scores'")
    images = models.images(model, 3)
    *_, (_, logits) = run_float(network, images)
    scores = logits[:, :, 0, 0] - np.log(np.exp(logits[:, :, 0, 0]).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(scores, oracle.run(model, images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"])
@pytest.mark.parametrize("size", [(9, 8), (10, 11), (7, 12)])
def test_auto_pad(mode, size):
    assert_same_as_onnxruntime(models.Builder((2, *size)).conv(2, 3, (4, 3), auto_pad=mode, strides=[2, 3]).model())
    assert_same_as_onnxruntime(models.Builder((2, *size)).pool(3, 2, auto_pad=mode).model())


@pytest.mark.parametrize("size", range(4, 13))
@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(3, 2, 0), (3, 2, 1), (2, 3, 1), (2, 2, 0), (3, 3, 1), (1, 2, 0)]
)
def test_ceil_mode(size, kernel, stride, pad):
    net = models.Builder((2, size, size + 1)).pool(kernel, stride, ceil_mode=1, pads=[pad] * 4)
    assert_same_as_onnxruntime(net.model())


def norm(net: models.Builder, channels: int) -> models.Builder:
    scale, bias, mean = (net.random.standard_normal(channels).astype(np.float32) for _ in range(3))
    scale[1] = -abs(scale[1])
    variance = net.random.uniform(0.1, 3, channels).astype(np.float32)
    return net.node("BatchNormalization", scale, bias, mean, variance, epsilon=1e-3)


def test_batch_norm_folds_into_a_padded_convolution():
    net = norm(models.Builder((3, 6, 6)).conv(3, 5, 3, pads=[1, 1, 1, 1]), 5).relu()
    network = assert_same_as_onnxruntime(net.model())
    assert len(network.layers) == 1


def test_batch_norm_after_relu_and_before_a_padded_convolution_stays_a_layer():
    net = norm(models.Builder((3, 6, 6)).conv(3, 5, 3).relu(), 5).conv(5, 4, 3, pads=[1, 1, 1, 1])
    assert [layer.name for layer in assert_same_as_onnxruntime(net.model()).layers][1] == "batchnormalization1"


def test_batch_norm_first_becomes_a_depthwise_convolution():
    network = assert_same_as_onnxruntime(norm(models.Builder((3, 6, 6)), 3).conv(3, 5, 3).model())
    assert network.layers[0].groups == 3


def test_batch_norm_folds_into_a_fully_connected_layer():
    net = norm(models.Builder((3, 2, 2)).flatten().gemm(12, 5), 5).relu().gemm(5, 4)
    assert len(assert_same_as_onnxruntime(net.model()).layers) == 2


def test_matmul_and_add_become_one_layer():
    net = models.Builder((3, 2, 2)).flatten()
    net.node("MatMul", net.he(12, 5)).node("Add", net.bias(5)).relu()
    network = assert_same_as_onnxruntime(net.model())
    assert [(layer.operator, layer.low) for layer in network.layers] == [("Gemm", 0.0)]


def test_add_with_the_constant_first():
    net = models.Builder((3, 4, 4)).conv(3, 2, 3)
    name = net.constant(net.bias(2).reshape(2, 1, 1), "offset")
    net.nodes.append(helper.make_node("Add", [name, net.current], ["sum"], "add"))
    net.current = "sum"
    assert len(assert_same_as_onnxruntime(net.model()).layers) == 1


@pytest.mark.parametrize("trans_b", [0, 1])
@pytest.mark.parametrize("shape", [(7,), (1, 7), (1,), ()])
def test_gemm_with_alpha_and_beta(trans_b, shape):
    net = models.Builder((3, 2, 2)).flatten()
    weights = net.he(7, 12) if trans_b else net.he(12, 7)
    bias = net.random.standard_normal(shape).astype(np.float32)
    net.node("Gemm", weights, bias, transB=trans_b, alpha=0.5, beta=-2.0)
    assert_same_as_onnxruntime(net.model())


@pytest.mark.parametrize("target", [[0, -1], [-1, 36], [0, 36], [1, -1]])
def test_reshape_flattens(target):
    net = models.Builder((4, 3, 3)).node("Reshape", np.array(target)).gemm(36, 5)
    model = net.model()
    if target[0] == 1:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        assert quant.load_float(model).layers[0].weights.shape == (5, 4, 3, 3)
    else:
        assert_same_as_onnxruntime(model)


def test_relu_after_pooling_moves_before_it_and_names_stay_with_values():
    net = models.Builder((2, 8, 8)).conv(2, 3, 3).pool().relu()
    network = assert_same_as_onnxruntime(net.model())
    assert [layer.output for layer in network.layers] == ["conv1_out", "relu1_out"]
    assert network.layers[0].low == 0


def test_clips_narrow_each_other():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    net.node("Clip", np.float32(-1.5), np.float32(6)).node("Clip", np.float32(-3), np.float32(2)).relu()
    (layer,) = assert_same_as_onnxruntime(net.model()).layers
    assert (layer.low, layer.high) == (0, 2)


def test_a_wider_clip_after_a_narrower_one_changes_nothing():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    net.node("Clip", np.float32(-0.5), np.float32(0.75)).node("Clip", np.float32(-3), np.float32(6))
    (layer,) = assert_same_as_onnxruntime(net.model()).layers
    assert (layer.low, layer.high) == (-0.5, 0.75)


def test_clip_with_attributes_as_before_opset_11():
    net = models.Builder((2, 6, 6), opset=8).conv(2, 3, 3).node("Clip", min=-0.5, max=0.75)
    (layer,) = assert_same_as_onnxruntime(net.model()).layers
    assert (layer.low, layer.high) == (-0.5, 0.75)


def test_dropout_identity_and_softmax_are_dropped_and_the_softmax_recorded():
    net = models.Builder((2, 6, 6)).node("Identity").conv(2, 3, 3).node("Dropout").relu().flatten()
    net.node("Identity").gemm(48, 5).node("Identity").node("Softmax")
    network = quant.load_float(net.model())
    assert [layer.operator for layer in network.layers] == ["Conv", "Gemm"]
    assert network.dropped == ("Reshape to Nx5, of 'softmax1_out'", "Softmax along axis 1, of 'softmax1_out'")
    assert network.outputs[0] == net.current


def test_weights_computed_from_constants_are_folded():
    net = models.Builder((2, 4, 4)).flatten()
    weights = net.constant(net.he(5, 32), "stored")
    net.nodes.append(helper.make_node("Transpose", [weights], ["transposed"], "transpose", perm=[1, 0]))
    two = numpy_helper.from_array(np.float32(2))
    net.nodes.append(helper.make_node("Constant", [], ["two"], "constant", value=two))
    net.nodes.append(helper.make_node("Mul", ["transposed", "two"], ["doubled"], "mul"))
    net.nodes.append(helper.make_node("MatMul", [net.current, "doubled"], ["result"], "matmul"))
    net.current = "result"
    assert_same_as_onnxruntime(net.model())


@pytest.mark.parametrize("opset", range(7, 26))
def test_opsets(opset):
    net = models.Builder((2, 8, 8), opset=opset).conv(2, 4, 3).relu().pool().flatten().gemm(36, 5)
    assert [layer.operator for layer in quant.load_float(net.model()).layers] == ["Conv", "MaxPool", "Gemm"]


def build(change) -> onnx.ModelProto:
    net = models.Builder((2, 8, 8))
    result = change(net)
    return result if isinstance(result, onnx.ModelProto) else net.model()


def residual(net):
    net.conv(2, 3, 1)
    net.nodes.append(helper.make_node("Add", ["image", net.current], ["sum"], "shortcut"))
    net.current = "sum"


def nameless(net):
    net.node("Einsum", name="")


def two_inputs(net):
    net.conv(2, 3, 3)
    net.inputs.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, ["N", 3]))


def symbolic_size(net):
    net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, "H", 8])]
    net.conv(2, 3, 3)


def nan_weights(net):
    weights = net.he(3, 2, 3, 3)
    weights[1, 0, 2, 2] = np.nan
    net.node("Conv", weights)


def indices(net):
    net.pool()
    net.nodes[-1].output.append("indices")


def foreign(net):
    net.conv(2, 3, 3)
    net.nodes.append(helper.make_node("Gelu", [net.current], ["gelu"], "act", domain="com.microsoft"))
    net.current = "gelu"


def old(net):
    net.opset = 0
    net.conv(2, 3, 3)


def quantized(net):
    net.node("QuantizeLinear", np.float32(0.1), np.uint8(0))


def one_dimensional(net):
    net.node("Conv", net.he(3, 2, 3), name="conv1")


def group_mismatch(net):
    net.node("Conv", net.he(4, 2, 3, 3), group=2, name="conv1")


# What to build, and the whole message.
REFUSED = {
    "operator": (
        lambda net: net.node("Einsum"),
        "node 'einsum1' (Einsum): operator Einsum is not supported",
    ),
    "nameless": (nameless, "node that makes 'einsum1_out' (Einsum): operator Einsum is not supported"),
    "domain": (
        foreign,
        "node 'act' (com.microsoft.Gelu): operators of domain 'com.microsoft' are not supported; "
        "only standard ONNX ones are",
    ),
    "branch": (
        residual,
        "node 'shortcut' (Add): adds maps of shapes [1, 2, 8, 8] and [1, 3, 8, 8]; they must be equal",
    ),
    "inputs": (
        two_inputs,
        "no output depends on the input 'second'; remove it from the model",
    ),
    "size": (
        symbolic_size,
        "input 'image' has shape Nx2xHx8; it must be NxCxHxW, NxCxDxHxW, NxCxL or NxK, all but N fixed",
    ),
    "nan": (
        nan_weights,
        "node 'conv1' (Conv): its weight 'conv1_0' contains NaN or infinity; all must be finite",
    ),
    "pool dilations": (
        lambda net: net.node("AveragePool", kernel_shape=[2, 2], dilations=[2, 1]),
        "node 'averagepool1' (AveragePool): dilations are [2, 1]; an average over neighbours, [1, 1], works",
    ),
    "indices": (
        indices,
        "node 'maxpool1' (MaxPool): its second output, the indices 'indices', is not supported; remove it",
    ),
    "transA": (
        lambda net: net.flatten().node("Gemm", net.he(5, 128), transA=1, transB=1),
        "node 'gemm1' (Gemm): transA is 1; only 0 works",
    ),
    "attribute": (
        lambda net: net.node("Conv", net.he(3, 2, 3, 3), colour=1),
        "node 'conv1' (Conv): attribute 'colour' is not supported; remove it",
    ),
    "kernel": (
        lambda net: net.node("Conv", net.he(3, 2, 3, 3), kernel_shape=[5, 5]),
        "node 'conv1' (Conv): kernel_shape is [5, 5], but its weights have [3, 3]; they must agree",
    ),
    "strides": (
        lambda net: net.conv(2, 3, 3, strides=[0, 1]),
        "node 'conv1' (Conv): strides is [0, 1]; it must be 2 values of at least 1",
    ),
    "negative pads": (
        lambda net: net.conv(2, 3, 3, pads=[0, -1, 0, 0]),
        "node 'conv1' (Conv): pads is [0, -1, 0, 0]; it must be 4 values of at least 0",
    ),
    "1-D": (
        one_dimensional,
        "node 'conv1' (Conv): its weights are (3, 2, 3); they must have 4 dimensions (outputs, inputs, rows, columns)",
    ),
    "groups": (
        group_mismatch,
        "node 'conv1' (Conv): weights (4, 2, 3, 3) with group 2 do not fit its input of 2 channels",
    ),
    "too large": (
        lambda net: net.conv(2, 3, 9),
        "node 'conv1' (Conv): kernel (9, 9) is larger than its padded input of shape (2, 8, 8); use a larger image",
    ),
    "softmax inside": (
        lambda net: net.conv(2, 3, 3).node("Softmax", axis=1).conv(3, 2, 1),
        "node 'conv2' (Conv): reads what is left to the host, ArgMax, LogSoftmax, Softmax at the end; end the model"
        " before it, and let the program that calls the accelerator do the rest",
    ),
    "reshape": (
        lambda net: net.node("Reshape", np.array([0, 4, 4, 9])),
        "node 'reshape1' (Reshape): shape is [0, 4, 4, 9] for an input of [1, 2, 8, 8]; it does not fit",
    ),
    "flatten axis": (
        lambda net: net.node("Flatten", axis=5),
        "node 'flatten1' (Flatten): axis is 5, beyond the 4 axes of its input",
    ),
    "gemm size": (
        lambda net: net.flatten().gemm(100, 5),
        "node 'gemm1' (Gemm): its weights take 100 inputs, but its input has 128",
    ),
    "training": (
        lambda net: net.conv(2, 3, 3).node("Dropout", np.float32(0.5), np.array(True)),
        "node 'dropout1' (Dropout): training_mode is true; export the model for inference",
    ),
    "variance": (
        lambda net: net.node("BatchNormalization", *[np.full(2, v, np.float32) for v in (1, 0, 0, -1)]),
        "node 'batchnormalization1' (BatchNormalization): its variance plus epsilon is not positive; it must be",
    ),
    "quantized": (
        quantized,
        "node 'quantizelinear1' (QuantizeLinear): the model is quantized already; "
        "quantize the float model that it was made from",
    ),
    "opset": (old, "the model uses opset 0; 1 or newer works, so export it again"),
    "nothing": (lambda net: net.node("Identity"), "the model has no layers; there is nothing to quantize"),
    "weights computed": (
        lambda net: net.nodes.append(helper.make_node("Conv", ["image", "image"], ["out"], "conv1")),
        "node 'conv1' (Conv): reads 2 computed tensors; exactly one works",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_in_one_line(case):
    change, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(build(change))
    found = str(caught.value)
    assert found.startswith(message) if message.endswith(("; Abs,", "; ")) else found == message
    assert "\n" not in found


def test_files_that_are_not_models(tmp_path):
    path = tmp_path / "model.onnx"
    with pytest.raises(quant.ModelError, match=r"^cannot read the model '.*model.onnx': No such file or directory$"):
        quant.load_float(path)
    path.write_bytes(b"this is not a model\n")
    with pytest.raises(quant.ModelError, match=r"is not an ONNX model"):
        quant.load_float(path)
    path.write_bytes(b"")
    with pytest.raises(quant.ModelError, match=r"is not an ONNX model: it holds no graph$"):
        quant.load_float(path)
    with pytest.raises(quant.ModelError, match=r"^cannot read the model '.*': Is a directory$"):
        quant.load_float(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
def test_a_truncated_file_is_refused(tmp_path, share):
    data = LENET.read_bytes()
    path = tmp_path / "model.onnx"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(quant.ModelError):
        quant.load_float(path)


def test_missing_external_data_is_refused_and_present_data_read(tmp_path):
    path = tmp_path / "model.onnx"
    model = models.cifar()
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    inside = quant.load_float(models.cifar())
    outside = quant.load_float(path)
    for before, after in zip(inside.layers, outside.layers, strict=True):
        if before.operator != "MaxPool":
            np.testing.assert_array_equal(before.weights, after.weights)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(quant.ModelError, match="its external data cannot be read"):
        quant.load_float(path)
