"""Import of every operator but convolutions: the same numbers as ONNX Runtime, and every refusal by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from systolith import quant
from systolith.quant.graph.host import apply_steps
from systolith.quant.networks.execute import run_float
from systolith.quant.networks.functions import DEFAULTS

from . import models, oracle

DATA = Path(__file__).parent / "data"


def assert_same_as_onnxruntime(model: onnx.ModelProto, images: np.ndarray | None = None) -> list[str]:
    """The float network computes what ONNX Runtime does; returns its operators."""
    network = quant.load_float(model)
    images = models.images(model, 3) if images is None else images
    shaped = images.reshape(len(images), *next(iter(network.inputs.values())))
    *_, (name, found) = run_float(network, shaped)
    assert name == network.outputs[0]
    array = network.arrays.get(name)
    found = apply_steps(array.steps, found) if array else found
    (expected,) = oracle.run_tensors(model, images, [network.outputs[0]])
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    return [layer.operator for layer in network.layers]


@pytest.mark.parametrize("name", models.BRANCHED)
def test_networks_that_branch(name):
    assert_same_as_onnxruntime(models.branched(name))


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_pytorchs_local_response_normalization(exporter):
    assert assert_same_as_onnxruntime(onnx.load(DATA / f"lrn_{exporter}.onnx")) == ["Conv", "LRN", "Conv"]


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_branches_by_both_torch_exporters(exporter):
    operators = assert_same_as_onnxruntime(onnx.load(DATA / f"branches_{exporter}.onnx"))
    # The exporters spell the global average and their order differently.
    found = sorted("ReduceMean" if operator == "GlobalAveragePool" else operator for operator in operators)
    expected = "Add Add AveragePool Concat Conv Conv Gemm HardSwish LeakyRelu MaxPool ReduceMean ReduceMean Sigmoid"
    assert found == expected.split()


@pytest.mark.parametrize("power", [False, True])
def test_nine_nodes_of_a_local_response_normalization(power):
    """As older exporters wrote it: Mul or Pow, Unsqueeze, Pad, AveragePool, Squeeze, Mul, Add, Pow, Div."""
    net = models.Builder((6, 5, 4))
    if power:
        net.node("Pow", np.float32(2))
    else:
        net.join("Mul", "image", "image")
    net.node("Unsqueeze", np.array([1])).node("Pad", np.array([0, 0, 2, 0, 0, 0, 0, 2, 0, 0]))
    net.node("AveragePool", kernel_shape=[5, 1, 1], strides=[1, 1, 1]).node("Squeeze", np.array([1]))
    net.node("Mul", np.float32(0.3)).node("Add", np.float32(2)).node("Pow", np.float32(0.75))
    net.join("Div", "image", net.current)
    assert assert_same_as_onnxruntime(net.model()) == ["LRN"]
    layer = quant.load_float(net.model()).layers[0]
    assert (layer.size, layer.alpha, layer.beta, layer.bias) == (5, np.float32(0.3), 0.75, 2)


@pytest.mark.parametrize("size", [1, 3, 5, 21])
def test_lrn(size):
    net = models.Builder((7, 4, 3)).node("LRN", size=size, alpha=0.7, beta=0.6, bias=1.5)
    assert assert_same_as_onnxruntime(net.model()) == ["LRN"]


def test_a_spelled_lrn_without_a_meaning_is_refused():
    model = onnx.load(DATA / "lrn_torchscript.onnx")
    alpha = model.graph.node[[node.output[0] for node in model.graph.node].index("/lrn/Constant_17_output_0")]
    alpha.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.float32(-1)))
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    said = "alpha is -1, beta 0.75, bias 2; alpha and beta must be at least 0, bias above 0"
    assert str(caught.value) == f"node '/lrn/Div' (Div): {said}"


@pytest.mark.parametrize("size", [2, 4, 20])
def test_lrn_over_an_even_number_of_channels_is_as_onnx_says(size):
    """ONNX Runtime has odd sizes only."""
    model = models.Builder((7, 4, 3)).node("LRN", size=size, alpha=0.7, beta=0.6, bias=1.5).model()
    images = models.images(model, 3)
    *_, (_, found) = run_float(quant.load_float(model), images)
    for channel in range(7):
        near = images[:, max(0, channel - (size - 1) // 2) : channel + size // 2 + 1]
        expected = images[:, channel] / (1.5 + 0.7 / size * (near**2).sum(axis=1)) ** 0.6
        np.testing.assert_allclose(found[:, channel], expected, rtol=1e-5)


@pytest.mark.parametrize("operator", sorted(set(DEFAULTS) - {"Relu", "Clip"}))
def test_functions(operator):
    net = models.Builder((3, 4, 5), opset=22).node(operator)
    model = net.model()
    images = np.abs(models.images(model, 3)) + 0.1
    assert assert_same_as_onnxruntime(model, images) == [operator]


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.5}),
        ("Celu", {"alpha": 2.0}),
        ("Selu", {"alpha": 1.5, "gamma": 0.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.3}),
        ("Gelu", {"approximate": "tanh"}),
    ],
)
def test_attributes_of_functions(operator, attributes):
    assert_same_as_onnxruntime(models.Builder((3, 4, 5), opset=22).node(operator, **attributes).model())


def test_prelu_with_one_slope():
    for slope in (np.float32([0.2]), np.full((3, 1, 1), 0.2, np.float32)):
        assert assert_same_as_onnxruntime(models.Builder((3, 4, 5)).node("PRelu", slope).model()) == ["LeakyRelu"]


@pytest.mark.parametrize("opset", [8, 13])
@pytest.mark.parametrize(
    ("operator", "constant"),
    [
        ("Add", np.float32([[[1]], [[2]], [[3]]])),
        ("Sub", np.float32([[[[1]], [[2]], [[3]]]])),
        ("Mul", np.float32(0.5)),
        ("Mul", np.float32([[[1]], [[-2]], [[3]]])),
        ("Div", np.float32([4])),
    ],
)
def test_constants_fold_into_the_convolution_before(operator, constant, opset):
    net = models.Builder((2, 5, 5), opset=opset).conv(2, 3, 3).node(operator, constant)
    assert assert_same_as_onnxruntime(net.model()) == ["Conv"]


def test_a_constant_minus_a_map_and_the_negative():
    net = models.Builder((2, 5, 5)).conv(2, 3, 3).node("Neg")
    net.join("Sub", net.constant(np.float32(1)), net.current)
    assert assert_same_as_onnxruntime(net.model()) == ["Conv"]


@pytest.mark.parametrize("include", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(3, 2, 0), (3, 2, 1), (2, 2, 0), (3, 3, 1), (2, 3, 1)])
def test_average_pooling(kernel, stride, pad, ceil, include):
    for size in range(5, 11):
        net = models.Builder((2, size, size + 1))
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        net.node("AveragePool", **window, ceil_mode=ceil, count_include_pad=include)
        assert assert_same_as_onnxruntime(net.model()) == ["AveragePool"]


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad_of_average_pooling(mode):
    net = models.Builder((2, 8, 9)).node("AveragePool", kernel_shape=[3, 2], strides=[2, 3], auto_pad=mode)
    assert_same_as_onnxruntime(net.model())


def test_an_average_over_the_whole_map_is_a_global_one_even_if_padded():
    window = {"kernel_shape": [7, 7], "strides": [1, 1], "pads": [0, 0, 1, 1]}
    net = models.Builder((4, 6, 6)).node("AveragePool", **window)
    assert_same_as_onnxruntime(net.model())
    (layer,) = quant.load_float(net.model()).layers
    assert (layer.kernel, layer.pads) == ((6, 6), (0, 0, 0, 0))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2]])
@pytest.mark.parametrize("opset", [13, 18])
def test_reduce_mean_is_a_global_average(opset, axes, keepdims):
    net = models.Builder((4, 6, 5), opset=opset).conv(4, 3, 3)
    if opset < 18:
        net.node("ReduceMean", axes=axes, keepdims=keepdims)
    else:
        net.node("ReduceMean", np.array(axes), keepdims=keepdims)
    if not keepdims:
        net.gemm(3, 2)
    assert assert_same_as_onnxruntime(net.model())[1] in ("ReduceMean", "AveragePool")


@pytest.mark.parametrize("operator", ["Flatten", "Reshape", "Squeeze"])
def test_what_follows_a_global_average(operator):
    constants = {"Flatten": [], "Reshape": [np.array([0, 5])], "Squeeze": [np.array([2, 3])]}[operator]
    net = models.Builder((3, 6, 6)).conv(3, 5, 3).node("GlobalAveragePool").node(operator, *constants)
    model = net.model()
    assert quant.load_float(model).outputs == (net.current,)
    assert_same_as_onnxruntime(model)
    assert len(assert_same_as_onnxruntime(net.gemm(5, 4).model())) == 3


def test_axes_that_come_and_go():
    net = models.Builder((3, 1, 6)).node("Squeeze", np.array([2])).node("Conv", np.ones((4, 3, 2), np.float32))
    net.node("Unsqueeze", np.array([2])).conv(4, 2, (1, 3))
    assert assert_same_as_onnxruntime(net.model()) == ["Conv", "Conv"]


def test_zeros_around_a_map_become_pads_of_all_convolutions_that_read_it():
    net = models.Builder((2, 6, 6)).node("Pad", np.array([0, 0, 1, 0, 0, 0, 2, 3]))
    padded = net.current
    one = net.conv(2, 3, 3, pads=[0, 1, 0, 0]).current
    other = net.at(padded).conv(2, 3, 3, pads=[0, 1, 0, 0]).current
    assert assert_same_as_onnxruntime(net.join("Add", one, other).model()) == ["Conv", "Conv", "Add"]
    assert quant.load_float(net.model()).layers[0].pads == (1, 1, 2, 3)


def test_zeros_before_anything_else_are_a_convolution_that_copies():
    net = models.Builder((2, 6, 6)).node("Pad", np.array([0, 0, 1, 0, 0, 0, 2, 3]))
    assert assert_same_as_onnxruntime(net.pool().model()) == ["Conv", "MaxPool"]
    net = models.Builder((2, 6, 6), opset=8).node("Pad", pads=[0, 0, 1, 1, 0, 0, 1, 1])
    assert assert_same_as_onnxruntime(net.conv(2, 3, 3).model()) == ["Conv"]


def row(length: int) -> models.Builder:
    net = models.Builder((3,))
    net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, length])]
    return net


def test_one_dimensional_networks_have_one_row():
    net = row(20).node("Conv", np.ones((4, 3, 5), np.float32) / 15, pads=[2, 1], strides=[2]).norm(4).relu()
    net.node("MaxPool", kernel_shape=[3], strides=[2], ceil_mode=1).node(
        "Conv", net.he(6, 2, 2), group=2, dilations=[2]
    )
    net.node("AveragePool", kernel_shape=[2]).node("GlobalAveragePool").flatten().gemm(6, 2)
    model = net.model()
    assert list(quant.load_float(model).inputs.values()) == [(3, 1, 20)]
    images = np.random.default_rng(0).standard_normal((3, 3, 20)).astype(np.float32)
    operators = assert_same_as_onnxruntime(model, images)
    assert operators == ["Conv", "MaxPool", "Conv", "AveragePool", "GlobalAveragePool", "Gemm"]


def test_an_if_with_a_constant_condition_takes_its_branch():
    """PyTorch writes one around the squeezing of an axis."""
    net = models.Builder((2, 5, 5))
    shape = helper.make_node("Shape", ["image"], ["shape"])
    channels = helper.make_node("Gather", ["shape", net.constant(np.array(1))], ["channels"])
    equal = helper.make_node("Equal", ["channels", net.constant(np.array(2))], ["is_two"])
    branches = {}
    for name, operator in (("then_branch", "Relu"), ("else_branch", "Sigmoid")):
        out = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        node = helper.make_node(operator, ["image"], [out.name], f"{name}_node")
        branches[name] = helper.make_graph([node], name, [], [out])
    net.nodes += [shape, channels, equal, helper.make_node("If", ["is_two"], ["chosen"], "if", **branches)]
    assert assert_same_as_onnxruntime(net.at("chosen").conv(2, 3, 3).model()) == ["Relu", "Conv"]


def test_layers_that_the_output_does_not_need_are_left_out():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3)
    kept = net.current
    net.node("Sigmoid")
    assert assert_same_as_onnxruntime(net.at(kept).relu().model()) == ["Conv"]


def spelled(**changes):
    """The nine nodes with one thing changed."""
    given = {"pads": [0, 0, 2, 0, 0, 0, 0, 2, 0, 0], "kernel": [5, 1, 1], "power": 2.0} | changes

    def build(net: models.Builder) -> None:
        net.node("Pow", np.float32(given["power"])).node("Unsqueeze", np.array([1]))
        net.node("Pad", np.array(given["pads"])).node("AveragePool", kernel_shape=given["kernel"], strides=[1, 1, 1])
        net.node("Squeeze", np.array([1])).node("Mul", np.float32(0.3)).node("Add", np.float32(2))
        net.join("Div", "image", net.node("Pow", np.float32(0.75)).current)

    return build


# What to build, and the whole message.
REFUSED = {
    "sizes of a sum": (
        lambda net: net.join("Add", "image", net.conv(2, 2, 3).current),
        "node 'add1' (Add): adds maps of shapes [1, 2, 8, 8] and [1, 2, 6, 6]; they must be equal",
    ),
    "axis of a concatenation": (
        lambda net: net.join("Concat", "image", "image", axis=0),
        "node 'concat1' (Concat): axis is 0; only channels, rows and columns work",
    ),
    "sizes of a concatenation": (
        lambda net: net.join("Concat", "image", net.conv(2, 2, 3).current, axis=1),
        "node 'concat1' (Concat): joins maps of shapes [1, 2, 8, 8], [1, 2, 6, 6]; only their axis 1 may differ",
    ),
    "constant in a concatenation": (
        lambda net: net.join("Concat", "image", net.constant(np.zeros((1, 2, 8, 8), np.float32), "zeros"), axis=1),
        "node 'concat1' (Concat): joins the constant 'zeros' to a map; only maps work",
    ),
    "sizes of a product": (
        lambda net: net.join("Mul", "image", net.conv(2, 2, 3).current),
        "node 'mul1' (Mul): multiplies maps of shapes [1, 2, 8, 8] and [1, 2, 6, 6]; they must be equal, or one have a"
        " single row and column",
    ),
    "quotient of maps": (
        lambda net: net.join("Div", "image", net.conv(2, 2, 1).current),
        "node 'div1' (Div): is a function of 'image' and 'conv1_out'; only of one works",
    ),
    "sizes of a maximum": (
        lambda net: net.join("Max", "image", net.conv(2, 2, 3).current),
        "node 'max1' (Max): reads maps of shapes [1, 2, 8, 8] and [1, 2, 6, 6]; they must be equal",
    ),
    "maximum with NaN": (
        lambda net: net.node("Max", np.full(8, np.nan, np.float32)),
        "node 'max1' (Max): its constant 'max1_0' contains NaN or infinity; all must be finite",
    ),
    "bounds of a clip": (
        lambda net: net.node("Clip", np.float32(2), np.float32(1)),
        "node 'clip1' (Clip): clips to 2..1; its min must not be above its max",
    ),
    "division by zero": (lambda net: net.node("Div", np.float32(0)), "node 'div1' (Div): divides by 0"),
    "slopes": (
        lambda net: net.node("PRelu", np.float32([[[0.1, 0.2]]])),
        "node 'prelu1' (PRelu): has slopes of shape (1, 1, 2); it must be one value for each of 2 channels",
    ),
    "mean over everything": (
        lambda net: net.node("ReduceMean"),
        "node 'reducemean1' (ReduceMean): reduces axes [0, 1, 2, 3]; only channels, rows and columns work",
    ),
    "mode of padding": (
        lambda net: net.node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), mode="mirror"),
        "node 'pad1' (Pad): mode is 'mirror'; it must be constant or reflect or edge or wrap",
    ),
    "value of padding": (
        lambda net: net.node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(3)),
        "node 'pad1' (Pad): pads with 3; only 0 works, and -inf before a MaxPool",
    ),
    "cropping": (
        lambda net: net.node("Pad", np.array([0, 0, -8, 0, 0, 0, 0, 0])),
        "node 'pad1' (Pad): pads are [0, 0, -8, 0, 0, 0, 0, 0]; only channels, rows and columns can be padded, of"
        " images and signals",
    ),
    "size of lrn": (lambda net: net.node("LRN"), "node 'lrn1' (LRN): size is 0; it must be at least 1"),
    "bias of lrn": (
        lambda net: net.node("LRN", size=3, bias=0.0),
        "node 'lrn1' (LRN): alpha is 0.0001, beta 0.75, bias 0; alpha and beta must be at least 0, bias above 0",
    ),
    "an even number of channels": (
        spelled(kernel=[4, 1, 1], pads=[0, 0, 2, 0, 0, 0, 0, 1, 0, 0]),
        "node 'averagepool1' (AveragePool): takes the mean over 4 channels from 2 before each; an odd number around"
        " each works",
    ),
    "a mean over rows too": (
        spelled(kernel=[5, 3, 1]),
        "node 'averagepool1' (AveragePool): reads the square of 'image', but only a local response normalization may",
    ),
    "squeezed rows": (
        lambda net: net.node("Squeeze", np.array([2])),
        "node 'squeeze1' (Squeeze): axes are [2] of an input of [1, 2, 8, 8]; only axes of size 1 can go",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name_in_one_line(case):
    change, message = REFUSED[case]
    net = models.Builder((2, 8, 8))
    change(net)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == message
