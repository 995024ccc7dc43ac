"""Volumes, N x C x D x H x W: the numbers of ONNX Runtime in float, in the quantized file, and back from it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant
from systolith.quant.graph.host import apply_steps
from systolith.quant.networks.execute import run_float
from systolith.quant.onnx.survey import survey

from . import models, oracle


def check_model(model: onnx.ModelProto, **settings) -> quant.Graph:
    """Float numbers are ONNX Runtime's, the integers too, optimized or not, and the file reads back as written."""
    volumes = models.images(model, 2)
    network = quant.load_float(model)
    ((name, shape),) = network.inputs.items()
    maps = apply_steps(network.arrays[name].steps, volumes) if name in network.arrays else volumes
    assert maps.shape[1:] == shape
    *_, (last, found) = run_float(network, maps)
    assert network.outputs == (last,)
    found = apply_steps(network.arrays[last].steps, found) if last in network.arrays else found
    (expected,) = oracle.session(model).run(None, {name: volumes})
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    graph = quant.quantize(model, maps, quant.Settings(ranges="minmax", **settings))
    for level in ("DISABLE_ALL", "ENABLE_ALL"):
        oracle.assert_every_tensor_equal(graph, maps, level)
    back = quant.load(quant.to_onnx(graph))
    assert repr(back.layers) == repr(graph.layers)
    assert repr(back.tensors) == repr(graph.tensors)
    return graph


CONVOLUTIONS = {
    "3x3x3": ((3, 5, 6, 4), (4, 3, 3, 3, 3), {"pads": [1] * 6}),
    "no pads": ((2, 5, 6, 7), (3, 2, 3, 2, 3), {}),
    "whole depth": ((2, 3, 5, 5), (4, 2, 3, 3, 3), {}),
    "strides": ((2, 7, 7, 6), (3, 2, 3, 3, 3), {"strides": [2, 1, 2], "pads": [1] * 6}),
    "pads before": ((2, 3, 4, 4), (3, 2, 3, 3, 3), {"pads": [2, 0, 1, 0, 2, 1]}),
    "dilations": ((2, 6, 6, 6), (3, 2, 3, 2, 2), {"dilations": [2, 1, 2], "pads": [2, 0, 0, 1, 1, 1]}),
    "groups": ((4, 4, 4, 5), (6, 2, 3, 3, 2), {"group": 2, "pads": [1, 1, 0, 1, 1, 0]}),
    "depthwise": ((4, 4, 5, 5), (4, 1, 3, 3, 3), {"group": 4, "pads": [1] * 6, "strides": [1, 2, 2]}),
    "groups, dilated rows": ((4, 3, 6, 5), (4, 2, 2, 2, 2), {"group": 2, "dilations": [1, 2, 1]}),
    "rows and columns": ((2, 3, 5, 5), (3, 2, 1, 3, 3), {"pads": [0, 1, 1, 0, 1, 1]}),
    "slices alone": ((2, 5, 4, 4), (3, 2, 3, 1, 1), {"pads": [1, 0, 0, 1, 0, 0], "strides": [2, 1, 1]}),
    "pointwise": ((3, 3, 4, 4), (5, 3, 1, 1, 1), {}),
    "same upper": ((2, 4, 5, 5), (3, 2, 2, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 2, 1]}),
    "one channel": ((1, 4, 5, 5), (3, 1, 3, 3, 3), {"auto_pad": "SAME_LOWER"}),
    "one slice": ((3, 1, 5, 5), (4, 3, 3, 3, 3), {"pads": [1] * 6}),
    "slices of padding": ((2, 2, 4, 4), (3, 2, 2, 3, 3), {"pads": [3, 1, 1, 3, 1, 1], "strides": [2, 1, 1]}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(case):
    shape, weights, attributes = CONVOLUTIONS[case]
    net = models.Builder(shape).node("Conv", *drawn(*weights), **attributes)
    check_model(net.model())


def drawn(*weights: int, outputs: int = 0) -> tuple[np.ndarray, np.ndarray]:
    net = models.Builder((1,), seed=3)
    return net.he(*weights), net.bias(outputs or weights[0])


TRANSPOSED = {
    "2x2x2": ((3, 3, 4, 4), (3, 4, 2, 2, 2), {"strides": [2, 2, 2]}),
    "output_padding": (
        (2, 3, 4, 3),
        (2, 3, 3, 3, 3),
        {"strides": [2, 2, 2], "pads": [1] * 6, "output_padding": [1, 1, 1]},
    ),
    "groups": ((4, 3, 3, 3), (4, 2, 3, 2, 2), {"strides": [2, 2, 2], "group": 2, "pads": [1, 0, 0, 1, 0, 0]}),
    "stride above the kernel": ((2, 2, 3, 3), (2, 3, 1, 2, 2), {"strides": [3, 2, 2]}),
    "dilations": ((2, 3, 3, 3), (2, 3, 3, 2, 2), {"dilations": [2, 1, 1]}),
}


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolutions(case):
    shape, weights, attributes = TRANSPOSED[case]
    outputs = weights[1] * attributes.get("group", 1)
    check_model(models.Builder(shape).node("ConvTranspose", *drawn(*weights, outputs=outputs), **attributes).model())


CUBE = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
POOLINGS = {
    "cube": ("MaxPool", (3, 4, 6, 6), CUBE),
    "overlapping": ("MaxPool", (2, 5, 6, 6), {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6}),
    "rows and columns": ("MaxPool", (2, 3, 6, 6), {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]}),
    "slices alone": ("MaxPool", (2, 6, 3, 3), {"kernel_shape": [3, 1, 1], "strides": [2, 1, 1]}),
    "every other slice": ("MaxPool", (2, 5, 4, 4), {"kernel_shape": [1, 2, 2], "strides": [2, 2, 2]}),
    "all slices": ("MaxPool", (2, 3, 4, 4), {"kernel_shape": [3, 2, 2]}),
    "ceil_mode": ("MaxPool", (2, 5, 5, 5), {**CUBE, "ceil_mode": 1}),
    "dilations": ("MaxPool", (2, 5, 6, 6), {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 2]}),
    "average": ("AveragePool", (3, 4, 6, 6), CUBE),
    "average, overlapping": ("AveragePool", (2, 5, 6, 6), {"kernel_shape": [3, 3, 3], "pads": [1] * 6}),
    "average, pads count": (
        "AveragePool",
        (2, 4, 6, 6),
        {"kernel_shape": [3, 3, 3], "strides": [2, 2, 2], "pads": [1] * 6, "count_include_pad": 1},
    ),
    "average, ceil_mode": ("AveragePool", (2, 5, 5, 5), {**CUBE, "ceil_mode": 1}),
    "average of rows and columns": ("AveragePool", (2, 3, 6, 6), {"kernel_shape": [1, 2, 2], "strides": [1, 2, 2]}),
    "average of slices": ("AveragePool", (2, 4, 3, 3), {"kernel_shape": [2, 1, 1]}),
    "average, every other slice": ("AveragePool", (2, 5, 4, 4), {"kernel_shape": [1, 2, 2], "strides": [2, 2, 2]}),
    "average, slices dilated": (
        "AveragePool",
        (2, 6, 4, 4),
        {"kernel_shape": [2, 2, 2], "dilations": [2, 1, 1], "pads": [1, 0, 0, 1, 0, 0], "count_include_pad": 1},
    ),
    "average of all": ("AveragePool", (3, 4, 3, 3), {"kernel_shape": [4, 3, 3]}),
    "global average": ("GlobalAveragePool", (3, 4, 3, 5), {}),
    "global maximum": ("GlobalMaxPool", (3, 4, 3, 5), {}),
}


@pytest.mark.parametrize("case", POOLINGS)
def test_poolings(case):
    operator, shape, attributes = POOLINGS[case]
    check_model(models.Builder(shape).node(operator, **attributes).model())


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("axes", [[2, 3, 4], [-1, -2], [2], [2, 4]])
@pytest.mark.parametrize("keeps", [0, 1])
def test_reductions(operator, axes, keeps):
    net = models.Builder((3, 4, 3, 5), opset=18)
    if axes == [2, 4] and not keeps:
        with pytest.raises(quant.ModelError) as caught:
            quant.load_float(net.node(operator, np.array(axes), keepdims=keeps).model())
        assert str(caught.value) == (
            f"node '{operator.lower()}1' ({operator}): turns [1, 3, 4, 3, 5] into [1, 3, 3], other axes; keepdims=1"
            " works"
        )
        return
    check_model(net.node(operator, np.array(axes), keepdims=keeps).model())


def chain(*nodes) -> models.Builder:
    """A convolution, and what follows it: (operator, constants, attributes) each."""
    net = models.Builder((3, 4, 6, 6), opset=18).volume(3, 6, 3, pads=[1] * 6)
    for operator, constants, attributes in nodes:
        net.node(operator, *constants, **attributes)
    return net


CHAINS = {
    "normalization and an activation": [
        ("BatchNormalization", np.float32([[1, -2, 3, 1, 1, 2]] * 4) ** 2, {}),
        ("Relu", (), {}),
    ],
    "slopes": [("PRelu", [np.linspace(-1, 1, 6, dtype=np.float32).reshape(6, 1, 1, 1)], {})],
    "a function": [("Sigmoid", (), {}), ("MaxPool", (), CUBE)],
    "a constant for each slice": [("Mul", [np.float32([[[[1]], [[2]], [[3]], [[-4]]]])], {})],
    "every other slice": [("Slice", np.array([[0], [4], [2], [2]]), {}), ("Relu", (), {})],
    "a slice": [("Gather", [np.array(2)], {"axis": 2}), ("Conv", drawn(2, 6, 3, 3), {})],
    "channels and slices": [("Slice", np.array([[1, 1], [4, 9], [1, 2], [2, 1]]), {})],
    "flattened": [("Flatten", (), {}), ("Gemm", drawn(5, 864), {"transB": 1})],
    "channels last": [("Transpose", (), {"perm": [0, 2, 3, 4, 1]}), ("MatMul", [drawn(6, 4)[0]], {})],
    "slices as channels": [("Reshape", [np.array([0, 24, 6, 6])], {}), ("Conv", drawn(2, 24, 3, 3), {})],
    "two in a row": [("MaxPool", (), CUBE), ("Conv", drawn(4, 6, 2, 2, 2), {}), ("Relu", (), {})],
}


@pytest.mark.parametrize("case", CHAINS)
def test_what_follows_a_convolution(case):
    check_model(chain(*CHAINS[case]).model())


def test_a_normalization_and_a_clamp_are_the_convolutions():
    graph = check_model(chain(*CHAINS["normalization and an activation"]).model())
    assert [layer.operator for layer in graph.layers if layer.operator != "Selection"] == [*["Conv"] * 4, "Concat"]
    assert graph.macs == 6 * 36 * 3 * 9 * (2 + 3 + 3 + 2), "none with the slices of padding"


@pytest.mark.parametrize("axis", [1, 2, 3, 4])
def test_concatenations(axis):
    net = models.Builder((3, 4, 5, 6))
    first = net.volume(3, 4, 1).current
    second = net.at("image").volume(3, 6 if axis == 1 else 4, 1).relu().current
    check_model(net.join("Concat", first, second, axis=axis).model())


READ = ["Conv", "Conv", "Concat", "Selection", "Conv"]


@pytest.mark.parametrize(
    ("rows", "again", "expected"),
    [(5, False, ["Conv", "Conv"]), (4, False, READ), (5, True, [*READ, "Sigmoid", "Concat"])],
)
def test_a_part_of_joined_volumes_is_read_itself_unless_it_is_cropped_or_all_are_read(rows, again, expected):
    net = models.Builder((3, 1, 5, 6))
    first = net.volume(3, 4, 1).current
    second = net.at("image").volume(3, 4, 1).current
    joined = net.join("Concat", first, second, axis=2).current
    part = net.node("Slice", *np.array([[1, 0], [2, rows], [2, 3]])).volume(4, 4, 1).current
    if again:
        net.join("Concat", part, net.at(joined).node("Sigmoid").current, axis=2)
    graph = check_model(net.model())
    assert [layer.operator for layer in graph.layers] == expected


def test_weights_of_all_slices_count():
    net = models.Builder((1024, 64, 1, 1)).node("Conv", np.ones((1024, 1024, 1, 1, 1), np.float32))
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == (
        "node 'conv1' (Conv): takes 67,108,864 values; constants and weights of a file of this size may have 33,554,432"
        " together"
    )


@pytest.mark.parametrize("operator", ["Add", "Mul", "Max"])
@pytest.mark.parametrize("gate", ["whole", "of all slices", "of all channels"])
def test_two_volumes(operator, gate):
    """As large as each other, or with one value for all slices, rows and columns, or for all channels."""
    net = models.Builder((3, 4, 5, 6))
    first = net.volume(3, 4, 1).current
    net.at("image").volume(3, 1 if gate == "of all channels" else 4, 1)
    second = net.node("GlobalAveragePool").current if gate == "of all slices" else net.current
    check_model(net.join(operator, first, second).model())


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum"])
def test_channels_and_slices_reduced_together(operator):
    graph = check_model(models.Builder((3, 4, 5, 6)).volume(3, 4, 1).node(operator, np.array([1, 2])).model())
    assert graph.tensors[graph.output].shape == (1, 5, 6)


REFUSED = {
    "resize": (
        lambda net: net.node("Resize", np.zeros(0, np.float32), np.float32([1, 1, 2, 2, 2])),
        "node 'resize1' (Resize): reads [1, 3, 4, 5, 6], and does not work on volumes; by whole factors a ConvTranspose"
        " with fixed weights and as many groups as channels does the same",
    ),
    "pad": (
        lambda net: net.node("Pad", np.array([0, 0, 1, 0, 0, 0, 0, 1, 0, 0])),
        "node 'pad1' (Pad): reads [1, 3, 4, 5, 6], and does not work on volumes; zeros around it are pads of the Conv"
        " that reads it",
    ),
    "normalization": (
        lambda net: net.node("LRN", size=3),
        "node 'lrn1' (LRN): reads [1, 3, 4, 5, 6], and does not work on volumes; BatchNormalization does",
    ),
    "depth to space": (
        lambda net: net.node("DepthToSpace", blocksize=1),
        "node 'depthtospace1' (DepthToSpace): reads [1, 3, 4, 5, 6], and does not work on volumes; convolutions,"
        " poolings and what treats each value or channel alone do",
    ),
    "too deep a kernel": (
        lambda net: net.volume(3, 2, 5),
        "node 'conv1' (Conv): kernel of 5 slices is larger than its padded input of 4; use a deeper volume",
    ),
    "too many slices": (
        lambda net: net.volume(3, 2, (1, 5, 5), pads=[2000, 0, 0, 0, 0, 0]),
        "node 'conv1' (Conv): makes 2,004 slices; at most 1,024 work",
    ),
    "weights of an image": (
        lambda net: net.conv(3, 2, 3),
        "node 'conv1' (Conv): its weights are (2, 3, 3, 3); they must have 5 dimensions (outputs, inputs, slices, rows,"
        " columns)",
    ),
    "channels": (
        lambda net: net.volume(4, 2, 3),
        "node 'conv1' (Conv): its weights are (2, 4, 3, 3, 3) with group 1; its input has 3 channels",
    ),
    "kernel_shape": (
        lambda net: net.volume(3, 2, 3, kernel_shape=[2, 3, 3]),
        "node 'conv1' (Conv): kernel_shape has 2 slices, but its weights 3; they must agree",
    ),
    "channels averaged": (
        lambda net: net.node("ReduceMean", np.array([1])),
        "node 'reducemean1' (ReduceMean): reduces axes [1] of a volume; only slices, rows and columns, 2 to 4, work",
    ),
    "strides of two axes": (
        lambda net: net.volume(3, 2, 3, strides=[1, 1]),
        "node 'conv1' (Conv): strides is [1, 1]; it must be 3 values of at least 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    change, message = REFUSED[case]
    model = change(models.Builder((3, 4, 5, 6), opset=18)).model()
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert str(caught.value) == message
    (found,) = survey(model).refusals
    assert message == f"node '{found.node}' ({found.operator}): {found.reason}"


def test_a_volume_that_others_quantized_is_refused():
    graph = check_model(models.Builder((3, 4, 5, 6)).node("Relu").model())
    model = quant.to_onnx(graph)
    (layer,) = [node for node in model.graph.node if node.op_type == "Relu"]
    layer.op_type = "GlobalAveragePool"
    for node in model.graph.node:
        if node.op_type in ("Transpose", "Reshape"):
            node.op_type = "Identity"
            del node.attribute[:], node.input[1:]
    with pytest.raises(quant.ModelError, match="quantize the float model that it was made from"):
        quant.load(model)
