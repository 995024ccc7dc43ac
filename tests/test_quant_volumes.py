"""Volumes, N x C x D x H x W: the numbers of ONNX Runtime in float, in the quantized file, and back from it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant
from systolith.quant.graph.host import apply_steps
from systolith.quant.networks.execute import run_float

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
