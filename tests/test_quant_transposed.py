"""Transposed convolutions: the numbers of ONNX Runtime, and no multiplication more than the model's."""

from __future__ import annotations

import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from systolith import quant

from . import models, oracle
from .test_quant_moves import check_model

CASES = {
    "2x2": ((3, 5, 6), (3, 4, 2, 2), {"strides": [2, 2]}),
    "3x3 with output_padding": (
        (3, 5, 4),
        (3, 4, 3, 3),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    "4x4": ((3, 4, 5), (3, 2, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "stride 1": ((3, 4, 5), (3, 2, 3, 3), {"pads": [1, 1, 1, 1]}),
    "stride above the kernel": ((2, 3, 3), (2, 3, 2, 1), {"strides": [3, 2]}),
    "oblong": ((2, 4, 3), (2, 3, 3, 5), {"strides": [1, 3], "pads": [0, 1, 2, 2]}),
    "groups": ((6, 4, 4), (6, 2, 3, 3), {"strides": [2, 2], "group": 3}),
    "depthwise": ((4, 3, 5), (4, 1, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 4}),
    "dilations": ((2, 4, 4), (2, 3, 3, 3), {"strides": [2, 3], "dilations": [3, 2]}),
    "dilations and strides alike": ((2, 4, 4), (2, 3, 3, 2), {"strides": [2, 2], "dilations": [2, 2]}),
    "pads beyond a stride": ((2, 6, 6), (2, 3, 5, 5), {"strides": [2, 2], "pads": [4, 3, 4, 4]}),
    "pads beyond the kernel": ((2, 6, 6), (2, 3, 2, 1), {"strides": [1, 1], "pads": [2, 1, 1, 2]}),
    "same upper": ((2, 4, 5), (2, 3, 3, 4), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    "same lower": ((2, 4, 5), (2, 3, 3, 4), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "valid": ((2, 4, 5), (2, 3, 3, 4), {"strides": [2, 2], "auto_pad": "VALID"}),
    "output_padding, the largest": (
        (2, 4, 4),
        (2, 3, 3, 3),
        {"strides": [2, 3], "dilations": [4, 1], "output_padding": [1, 2]},
    ),
    "output_shape, the largest": ((2, 4, 4), (2, 3, 3, 3), {"strides": [3, 2], "output_shape": [14, 10]}),
    "output_shape": ((2, 4, 4), (2, 3, 3, 3), {"strides": [3, 2], "output_shape": [10, 8]}),
    "signal": ((3, 9), (3, 2, 4), {"strides": [2], "pads": [1, 1]}),
    "signal, odd": ((3, 9), (3, 2, 5), {"strides": [3], "pads": [1, 0], "output_padding": [1]}),
}


@pytest.mark.parametrize("case", CASES)
def test_transposed_convolutions(case):
    shape, weights, attributes = CASES[case]
    net = models.Builder(shape)
    outputs = weights[1] * attributes.get("group", 1)
    net.node("ConvTranspose", net.he(*weights), net.bias(outputs), **attributes)
    check_model(net.model())


def test_its_normalization_and_its_activation_become_its_own():
    net = models.Builder((3, 5, 5))
    net.node("ConvTranspose", net.he(3, 4, 2, 2), net.bias(4), strides=[2, 2]).norm(4).relu()
    graph = check_model(net.model())
    assert [layer.operator for layer in graph.layers] == [*["Conv"] * 4, "Concat", "DepthToSpace"]
    assert graph.macs == 3 * 4 * 4 * 25, "each input times each weight, once"


def test_refused_by_name():
    net = models.Builder((3, 5, 5))
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.node("ConvTranspose", net.he(2, 4, 2, 2)).model())
    assert str(caught.value) == (
        "node 'convtranspose1' (ConvTranspose): its weights are for 2 input channels; it has 3"
    )
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(
            models.Builder((4, 5, 5)).node("ConvTranspose", np.ones((4, 2, 2, 2), np.float32), group=3).model()
        )
    assert str(caught.value) == (
        "node 'convtranspose1' (ConvTranspose): its weights are (4, 2, 2, 2) with group 3; they must fit its 4 input"
        " channels"
    )


@pytest.mark.parametrize(
    ("attributes", "beyond", "stride"),
    [
        ({"strides": [2, 3], "output_padding": [2, 0]}, 2, 2),
        ({"strides": [2, 3], "output_padding": [0, 65535]}, 65535, 3),
        ({"strides": [2, 3], "dilations": [4, 4], "output_padding": [0, 3]}, 3, 3),
        ({"strides": [3, 2], "output_shape": [14, 13]}, 4, 2),
    ],
)
def test_more_behind_the_last_kernel_than_a_larger_map_would_make_is_refused(attributes, beyond, stride):
    """As ONNX Runtime does, and the largest that it takes is taken."""
    net = models.Builder((2, 4, 4))
    model = net.node("ConvTranspose", net.he(2, 3, 3, 3), **attributes).model()
    with pytest.raises(InvalidArgument, match=r"output_padding|output_shape"):
        oracle.run(model, models.images(model, 1))
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert str(caught.value) == (
        f"node 'convtranspose1' (ConvTranspose): makes {beyond} places along an axis that no kernel reaches, at a"
        f" stride of {stride}; give an output_padding below the stride, and no larger output_shape"
    )
