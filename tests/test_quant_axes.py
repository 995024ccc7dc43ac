"""Values taken, padded, resized, repeated where channels are last or an axis falls away: nothing is reordered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import helper

from systolith import quant

from . import models
from .test_quant_moves import WHOLE, slices
from .test_quant_spread import check

RESIZED = np.zeros(0, np.float32)


def last() -> models.Builder:
    """A map of 4 channels, 5 rows and 7 columns, seen as N x H x W x C."""
    return models.Builder((3, 5, 7)).conv(3, 4, 3, pads=[1, 1, 1, 1]).node("Transpose", perm=[0, 2, 3, 1])


def parts(axis: int, lengths: list[int]) -> Callable[[models.Builder], models.Builder]:
    """A Split along ``axis``, the second part changed and put first."""

    def build(net: models.Builder) -> models.Builder:
        inputs = [net.current, net.constant(np.array(lengths))]
        net.nodes.append(helper.make_node("Split", inputs, ["part0", "part1"], "split", axis=axis))
        net.at("part1").node("Sigmoid")
        return net.join("Concat", net.current, "part0", axis=axis)

    return build


def focus(net: models.Builder) -> models.Builder:
    whole = net.node("Pad", np.array([0, 0, 0, 0, 0, 1, 1, 0])).current
    places = [(row, column) for column in (0, 1) for row in (0, 1)]
    taken = [
        net.at(whole).node("Slice", *slices((1, row, WHOLE, 2), (2, column, WHOLE, 2))).current
        for row, column in places
    ]
    return net.join("Concat", *taken, axis=-1)


# What to do with the view, the channels then, and the operators of the quantized network between two convolutions.
CASES = {
    "channels": (lambda net: net.node("Slice", *slices((3, 1, 3, 1))), 2, ""),
    "crop": (lambda net: net.node("Slice", *slices((1, 1, 4, 1), (2, -1, 0, -2))), 4, "Selection Concat"),
    "rows": (lambda net: net.node("Slice", *slices((-3, 0, 5, 2))), 4, "Selection"),
    "gather": (lambda net: net.node("Gather", np.array([3, 0, 0]), axis=3), 3, "Selection"),
    "split of channels": (parts(3, [1, 3]), 4, "Selection Sigmoid Selection Concat"),
    "split of rows": (parts(1, [2, 3]), 4, "Selection Sigmoid Selection Concat"),
    "zeros": (lambda net: net.node("Pad", np.array([0, 1, 2, 0, 0, 0, 1, 0])), 4, ""),
    "channels of zeros": (lambda net: net.node("Pad", np.array([0, 0, 0, 1, 0, 0, 0, 2])), 7, "Conv"),
    "edges": (lambda net: net.node("Pad", np.array([0, 0, 1, *[0] * 5]), mode="edge"), 4, "Selection Concat"),
    "nearest": (lambda net: net.node("Resize", RESIZED, np.float32([1, 3, 2, 1])), 4, "Selection DepthToSpace"),
    "columns nearest": (lambda net: net.node("Resize", RESIZED, np.float32([1, 1, 2, 1])), 4, "Selection DepthToSpace"),
    "tile": (lambda net: net.node("Tile", np.array([1, 1, 2, 2])), 8, "Selection Concat"),
    "focus": (focus, 16, "Conv Selection Concat"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_channels_last(case):
    change, channels, expected = CASES[case]
    net = change(last()).node("Transpose", perm=[0, 3, 1, 2]).conv(channels, 3, 2)
    graph = check(net.model())
    assert {layer.operator for layer in graph.layers[1:-1]} == set(expected.split())


def test_a_vector_expanded_where_channels_are_last():
    net = last()
    whole = net.current
    net.node("ReduceMean", np.array([1, 2])).node("Sigmoid").node("Expand", np.array([1, 5, 7, 4]))
    net.join("Mul", whole, net.current).node("Transpose", perm=[0, 3, 1, 2]).conv(4, 3, 2)
    assert [layer.operator for layer in check(net.model()).layers] == ["Conv", "AveragePool", "Sigmoid", "Mul", "Conv"]


@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("keeps", [0, 1])
def test_spatial_attention_where_channels_are_last(operator, keeps):
    net = last()
    whole = net.current
    net.node(operator, np.array([-1]), keepdims=keeps)
    net = net if keeps else net.node("Unsqueeze", np.array([3]))
    net.join("Mul", whole, net.node("Sigmoid").current)
    graph = check(net.node("Transpose", perm=[0, 3, 1, 2]).conv(4, 3, 2).model())
    assert [layer.operator for layer in graph.layers] == ["Conv", "Conv", "Selection", "Sigmoid", "Mul", "Conv"]


@pytest.mark.parametrize("view", [[0, 1, 2], [0, 2, 1]])
def test_signals(view):
    """N x C x L and N x L x C: samples, channels, and the last sample alone."""
    net = models.Builder((3, 12)).node("Conv", np.ones((5, 3, 3), np.float32) / 3).node("Transpose", perm=view)
    samples, channels = view.index(2), view.index(1)
    net.node("Slice", *slices((samples, 1, WHOLE, 2), (channels, 1, 5, 1)))
    graph = check(net.node("Gather", np.array(-1), axis=samples).gemm(4, 2).model())
    assert "Concat" not in [layer.operator for layer in graph.layers]


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 3, 1]])
def test_one_index_of_an_axis(order, axis):
    """The axis falls away, and the rest is seen as it was."""
    net = models.Builder((3, 5, 7)).conv(3, 4, 3, pads=[1, 1, 1, 1]).node("Transpose", perm=order)
    net.node("Gather", np.array(1), axis=axis)
    graph = check(net.node("Sigmoid").flatten().gemm(140 // (4, 5, 7)[order[axis] - 1], 3).model())
    assert [layer.operator for layer in graph.layers if layer.operator != "Selection"] == ["Conv", "Sigmoid", "Gemm"]


def test_long_rows_where_channels_are_last():
    """More than could be reordered row by row."""
    net = models.Builder((1, 70, 2)).conv(1, 2, 1).node("Transpose", perm=[0, 2, 3, 1])
    net.node("Slice", *slices((1, 1, 70, 1))).node("Transpose", perm=[0, 3, 1, 2])
    assert [layer.operator for layer in check(net.conv(2, 2, 1).model()).layers] == ["Conv", "Selection", "Conv"]


def test_channels_last_cannot_be_resized():
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(last().node("Resize", RESIZED, np.float32([1, 1, 1, 2])).model())
    expected = "node 'resize1' (Resize): resizes [1, 5, 7, 4] to [1, 5, 7, 8]; only rows and columns can be resized"
    assert str(caught.value) == expected


def test_an_axis_of_several_of_the_maps_is_still_made_one():
    net = (
        models.Builder((3, 4, 5))
        .conv(3, 4, 1)
        .node("Reshape", np.array([0, 4, -1]))
        .node("Slice", *slices((2, 3, 9, 1)))
    )
    assert check(net.flatten().gemm(24, 3).model()).layers
