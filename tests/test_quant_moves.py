"""Operators that only move values: the numbers of ONNX Runtime in float, in the quantized file, and back from it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from systolith import quant
from systolith.quant.networks.execute import run_float

from . import models, oracle

SHAPE = (8, 6, 10)
WHOLE = np.iinfo(np.int64).max


def slices(*steps):
    """Inputs of a Slice: (axis, start, end, step) each."""
    axes, starts, ends, strides = np.array(steps, np.int64).T
    return starts, ends, axes, strides


ONE_NODE = {
    "slice of channels": ("Slice", slices((1, 2, 5, 1)), {}),
    "every other channel": ("Slice", slices((1, 1, WHOLE, 2)), {}),
    "channels backwards": ("Slice", slices((1, -1, -WHOLE, -1)), {}),
    "crop": ("Slice", slices((2, 1, -1, 1), (3, 2, 7, 1)), {}),
    "strided slice": ("Slice", slices((2, 1, WHOLE, 2), (-1, 0, WHOLE, 3)), {}),
    "channels and rows": ("Slice", slices((1, 0, 8, 3), (2, 2, WHOLE, 1)), {}),
    "rows backwards": ("Slice", slices((2, -1, -WHOLE, -1)), {}),
    "all of it": ("Slice", slices((1, 0, 8, 1)), {}),
    "gather": ("Gather", (np.array([7, 0, 0, -2, 3]),), {"axis": 1}),
    "gather in order": ("Gather", (np.array([2, 3, 4]),), {"axis": 1}),
    "gather of rows": ("Gather", (np.array([0, 0, 1, 1, 5, 4]),), {"axis": 2}),
    "gather of columns": ("Gather", (np.array([9, 1]),), {"axis": -1}),
    "depth to space": ("DepthToSpace", (), {"blocksize": 2}),
    "depth to space, channels first": ("DepthToSpace", (), {"blocksize": 2, "mode": "CRD"}),
    "space to depth": ("SpaceToDepth", (), {"blocksize": 2}),
}


def check_model(model: onnx.ModelProto, **settings) -> quant.Graph:
    """Float numbers are ONNX Runtime's, the integers too, and the file reads back as what was written."""
    images = models.images(model, 3)
    network = quant.load_float(model)
    (shape,) = network.inputs.values()
    *_, (name, found) = run_float(network, images.reshape(3, *shape))
    (expected,) = oracle.run_tensors(model, images, [network.outputs[0]])
    assert name == network.outputs[0]
    np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    graph = quant.quantize(model, images.reshape(3, *shape), quant.Settings(ranges="minmax", **settings))
    oracle.assert_every_tensor_equal(graph, images.reshape(3, *shape))
    back = quant.load(quant.to_onnx(graph))
    assert repr(back.layers) == repr(graph.layers)
    assert repr(back.tensors) == repr(graph.tensors)
    return graph


@pytest.mark.parametrize("case", ONE_NODE)
@pytest.mark.parametrize("bits", [8, 12])
def test_one_node(case, bits):
    operator, constants, attributes = ONE_NODE[case]
    check_model(models.Builder(SHAPE).node(operator, *constants, **attributes).model(), activation_bits=bits)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_split_and_concat(axis):
    """The parts in another order, one of them changed."""
    net = models.Builder(SHAPE).conv(8, 6, 3, pads=[1, 1, 1, 1])
    whole = net.current
    lengths = np.array([1, 3, net_size(axis) - 4])
    names = [f"part{n}" for n in range(3)]
    net.nodes.append(helper.make_node("Split", [whole, net.constant(lengths)], names, "split", axis=axis))
    net.at("part1").node("Sigmoid")
    graph = check_model(net.join("Concat", "part2", net.current, "part0", axis=axis).model())
    assert [layer.operator for layer in graph.layers] == ["Conv", *["Selection"] * 3, "Sigmoid", "Concat"]


def net_size(axis: int) -> int:
    return (6, *SHAPE[1:])[axis - 1]


def test_equal_parts_before_opset_13_and_from_18():
    for opset, attributes in ((11, {}), (13, {}), (18, {"num_outputs": 3})):
        net = models.Builder((7, 4, 4), opset=opset)
        count = 7 if opset < 18 else 3
        names = [f"part{n}" for n in range(count)]
        net.nodes.append(helper.make_node("Split", ["image"], names, "split", axis=1, **attributes))
        network = quant.load_float(net.join("Concat", *names[::-1], axis=1).model())
        assert [len(layer.channels) for layer in network.layers[:-1]] == ([3, 3, 1] if opset == 18 else [1] * 7)


def test_a_signal_is_sliced_along_its_samples():
    net = models.Builder((4, 20)).node("Conv", np.ones((6, 4, 3), np.float32)).node("Slice", *slices((2, 3, -2, 2)))
    graph = check_model(net.node("Slice", *slices((1, 2, 5, 1))).model())
    assert graph.tensors[graph.output].shape == (3, 1, 7)


def test_channels_of_a_flat_map():
    net = models.Builder((4, 3, 3)).node("Flatten").gemm(36, 10).node("Sigmoid").node("Slice", *slices((1, 0, 6, 1)))
    graph = check_model(net.node("Gather", np.array([5, 0, 1]), axis=1).gemm(3, 2).model())
    assert [layer.operator for layer in graph.layers] == ["Gemm", "Sigmoid", "Gemm"]


def test_the_last_step_of_a_signal():
    net = models.Builder((3, 9)).node("Conv", np.ones((4, 3, 2), np.float32)).node("Gather", np.array(-1), axis=2)
    assert [layer.operator for layer in check_model(net.gemm(4, 3).model()).layers] == ["Conv", "Selection", "Gemm"]


def test_a_clamp_behind_moved_values_belongs_to_what_computed_them():
    net = models.Builder((3, 6, 6)).conv(3, 8, 3).node("DepthToSpace", blocksize=2).node("Slice", *slices((2, 1, 7, 1)))
    graph = check_model(net.relu().model())
    assert [layer.operator for layer in graph.layers] == ["Conv", "DepthToSpace", "Selection"]
    assert graph.map_of(graph.output).zero_point == 0


def test_an_order_of_channels_is_that_of_weights():
    """Behind a convolution, before one, past a depthwise one; nothing is moved."""
    shuffle = np.arange(8).reshape(2, 4).T.reshape(-1)
    net = models.Builder((3, 6, 6)).conv(3, 8, 3).node("Gather", shuffle, axis=1).relu()
    assert [layer.operator for layer in check_model(net.model()).layers] == ["Conv"]
    net = models.Builder((8, 6, 6)).conv(8, 8, 1, group=2).node("Gather", shuffle, axis=1)
    net.conv(8, 8, 3, group=8).relu().conv(8, 4, 1)
    assert [layer.operator for layer in check_model(net.model()).layers] == ["Conv"] * 3
    net = models.Builder((3, 6, 6)).conv(3, 8, 3).node("DepthToSpace", blocksize=2, mode="CRD")
    assert [layer.operator for layer in check_model(net.model()).layers] == ["Conv", "DepthToSpace"]
    net = models.Builder((3, 6, 6)).conv(3, 8, 3).node("Gather", np.array([1, 1]), axis=1)
    assert [layer.operator for layer in check_model(net.model()).layers] == ["Conv", "Selection"]


REFUSED = {
    "images": ("Gather", (np.array([0, 0]),), {}, "takes some of the images; only channels, rows and columns can"),
    "nothing": ("Slice", slices((2, 4, 4, 1)), {}, "takes nothing; at least one value must be left"),
    "step": ("Slice", slices((2, 0, 4, 0)), {}, "starts [0], ends [4], axes [2] and steps [0] do not fit"),
    "index": ("Gather", (np.array([8]),), {"axis": 1}, "its indices [8] must be -8 to 7"),
    "one index": ("Gather", (np.array(0),), {"axis": 0}, "turns [1, 8, 6, 10] into [8, 6, 10], other axes; a list of"),
    "block": ("DepthToSpace", (), {"blocksize": 3}, "[1, 8, 6, 10] is not made of whole blocks of 3 x 3"),
    "rows": ("SpaceToDepth", (), {"blocksize": 4}, "[1, 8, 6, 10] is not made of whole blocks of 4 x 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    operator, constants, attributes, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(models.Builder(SHAPE).node(operator, *constants, **attributes).model())
    assert str(caught.value).startswith(f"node '{operator.lower()}1' ({operator}): {message}")
