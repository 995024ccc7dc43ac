"""Pad in every mode, dilated and global maxima, means and sums over axes: ONNX Runtime's numbers, and its integers."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import quant
from systolith.quant.networks.execute import run_float

from . import models, oracle
from .test_quant_moves import check_model

SHAPE = (4, 7, 9)
LOWEST = np.float32([-np.inf])


def padded(amounts, *constants, opset=19, shape=SHAPE, **attributes):
    rank = len(shape) + 1
    pads = np.zeros((2, rank), np.int64)
    for axis, (before, after) in amounts.items():
        pads[:, axis] = before, after
    return models.Builder(shape, opset=opset).node("Pad", pads.reshape(-1), *constants, **attributes)


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
def test_a_maps_own_values_around_it(mode):
    graph = check_model(padded({2: (1, 2), 3: (3, 0)}, mode=mode).model())
    assert graph.tensors[graph.output].shape == (4, 10, 12)
    check_model(padded({2: (2, 2)}, mode=mode, shape=(3, 8)).model())


def test_zeros_and_crops():
    check_model(padded({2: (1, 0), 3: (0, 3)}).model())
    graph = check_model(padded({2: (-1, 0), 3: (-2, -1)}).model())
    assert [layer.operator for layer in graph.layers] == ["Selection"]
    check_model(padded({1: (1, 2), 2: (-1, 1), 3: (2, -3)}, np.float32(0)).model())
    check_model(padded({1: (2, 2)}, shape=(3, 8)).model())


def test_what_no_maximum_takes_becomes_its_pads():
    for value in (LOWEST, np.float32([np.finfo(np.float32).min])):
        net = padded({2: (0, 1), 3: (1, 1)}, value).node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
        graph = check_model(net.model())
        assert [(layer.operator, layer.pads) for layer in graph.layers] == [("MaxPool", (0, 1, 1, 1))]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(padded({2: (1, 1)}, LOWEST).node("Conv", np.ones((2, 4, 3, 3), np.float32)).model())
    assert str(caught.value) == "node 'pad1' (Pad): pads with -inf; that works before a MaxPool alone, else 0"


DILATED = {
    "2": {"kernel_shape": [3, 3], "dilations": [2, 2]},
    "2 and pads": {"kernel_shape": [3, 2], "dilations": [2, 3], "pads": [2, 1, 2, 1]},
    "stride 2": {"kernel_shape": [3, 3], "dilations": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "stride 3 of 2": {"kernel_shape": [3, 2], "dilations": [2, 1], "strides": [3, 2], "pads": [1, 0, 1, 1]},
    "dilation 4, stride 6": {"kernel_shape": [2, 3], "dilations": [4, 2], "strides": [2, 6], "pads": [1, 1, 0, 2]},
    "ceil": {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [2, 2], "ceil_mode": 1},
}


@pytest.mark.parametrize("case", DILATED)
def test_dilated_maxima(case):
    check_model(models.Builder(SHAPE, opset=22).node("MaxPool", **DILATED[case]).model())


def test_maxima_of_whole_maps():
    for shape in ((3, 5, 6), (3, 40, 5), (2, 300)):
        graph = check_model(models.Builder(shape).node("GlobalMaxPool").model())
        assert graph.tensors[graph.output].shape == (shape[0], 1, 1)
    assert [layer.kernel for layer in graph.layers] == [(1, 19), (1, 16)]
    check_model(models.Builder((3, 40, 17)).conv(3, 4, 3).node("GlobalMaxPool").node("Flatten").gemm(4, 2).model())


@pytest.mark.parametrize("operator", ["MaxPool", "AveragePool"])
def test_windows_over_a_whole_axis_keep_their_stride_along_the_other(operator):
    for shape, kernel, strides in (((3, 300, 8), [300, 2], [1, 2]), ((2, 9, 260), [3, 260], [2, 5])):
        graph = check_model(models.Builder(shape).node(operator, kernel_shape=kernel, strides=strides).model())
        assert len(graph.layers) == 2


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("opset", [11, 18])
def test_reductions(operator, opset):
    every = [([2, 3], 1), ([2, 3], 0), ([2], 1), ([-1], 1), ([2], 0)]
    channels = [([1], 1), ([1, 2, 3], 1)] if operator != "ReduceMax" else []
    for axes, keeps in [*every, *channels]:
        net = models.Builder(SHAPE, opset=opset)
        as_input = opset >= (13 if operator == "ReduceSum" else 18)
        extra = ([np.array(axes)], {}) if as_input else ([], {"axes": axes})
        model = net.node(operator, *extra[0], keepdims=keeps, **extra[1]).model()
        images = models.images(model, 3)
        network = quant.load_float(model)
        *_, (_, found) = run_float(network, images)
        (expected,) = oracle.run_tensors(model, images, [network.outputs[0]])
        np.testing.assert_allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
        quant.load(quant.to_onnx(quant.quantize(model, images)))


def test_a_mean_over_more_than_an_engine_counts_is_one_of_parts():
    model = models.Builder((2, 600)).node("GlobalAveragePool").model()
    assert [layer.kernel for layer in quant.load_float(model).layers] == [(1, 24), (1, 25)]


REFUSED = {
    "value": (padded({2: (1, 1)}, np.float32(2)), "Pad", "pads with 2; only 0 works, and -inf before a MaxPool"),
    "images": (
        padded({0: (1, 0)}),
        "Pad",
        "pads are [1, 0, 0, 0, 0, 0, 0, 0]; only channels, rows and columns can be padded, of images and signals",
    ),
    "channels": (
        models.Builder(SHAPE).node("ReduceMax", np.array([1])),
        "ReduceMax",
        "reduces axes [1]; only rows and columns work",
    ),
    "dilation": (
        models.Builder(SHAPE).node("MaxPool", kernel_shape=[2, 2], dilations=[2, 1], strides=[3, 2], pads=[1, 0, 1, 0]),
        "MaxPool",
        "dilation 2 with stride 3 leaves windows in padding alone; a stride of 1 or a multiple of the dilation works on"
        " images that are large enough",
    ),
    "other axes": (
        models.Builder(SHAPE).node("ReduceMean", np.array([3]), keepdims=0),
        "ReduceMean",
        "turns [1, 4, 7, 9] into [1, 4, 7], other axes; keepdims=1 works",
    ),
    "all of it": (
        models.Builder(SHAPE).node("ReduceSum"),
        "ReduceSum",
        "reduces axes [0, 1, 2, 3]; only channels, rows and columns work",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    net, operator, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == f"node '{operator.lower()}1' ({operator}): {message}"


def test_no_axes_are_none_if_the_node_says_so():
    net = models.Builder(SHAPE).node("ReduceSum", noop_with_empty_axes=1).conv(4, 2, 1)
    assert [layer.operator for layer in quant.load_float(net.model()).layers] == ["Conv"]


@pytest.mark.parametrize("operator", ["GlobalMaxPool", "GlobalAveragePool"])
def test_a_vector_has_nothing_to_pool_globally(operator):
    """ONNX Runtime refuses it too."""
    model = models.Builder((5,)).gemm(5, 4).node(operator).model()
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert f"({operator}): its input has 2 dimensions; it must have 4 (NxCxHxW) or 3 (NxCxL)" in str(caught.value)
