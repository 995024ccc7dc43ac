"""Maps that broadcast, Expand and Tile: the numbers of ONNX Runtime in float and in integers, and what they become."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant

from . import models, oracle
from .test_quant_moves import check_model
from .test_quant_views import channels_last

SHAPE = (4, 6, 10)
SMALLER = {
    "one channel": ((1, 6, 10), lambda net: net.conv(4, 1, 1)),
    "a vector": ((4, 1, 1), lambda net: net.node("GlobalAveragePool").conv(4, 4, 1)),
    "a number": ((1, 1, 1), lambda net: net.node("GlobalAveragePool").conv(4, 1, 1)),
    "rows": ((4, 6, 1), lambda net: net.node("ReduceMean", np.array([3])).conv(4, 4, 1)),
    "columns": ((4, 1, 10), lambda net: net.node("ReduceMean", np.array([2])).conv(4, 4, 1)),
    "one channel's rows": ((1, 6, 1), lambda net: net.node("ReduceMean", np.array([3])).conv(4, 1, 1)),
}


def check(model: onnx.ModelProto) -> quant.Graph:
    """Float numbers, and integers with and without optimization, are ONNX Runtime's; the file reads back."""
    graph = check_model(model)
    images = models.images(model, 3).reshape(3, *graph.tensors[graph.input].shape)
    oracle.assert_every_tensor_equal(graph, images, "DISABLE_ALL")
    return graph


def two(case: str) -> tuple[models.Builder, str, str]:
    """A convolution's map, and a smaller one made of it: their names."""
    net = models.Builder(SHAPE).conv(4, 4, 3, pads=[1, 1, 1, 1])
    whole = net.current
    return net, whole, SMALLER[case][1](net).current


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Max", "Min", "Sum"])
@pytest.mark.parametrize("case", SMALLER)
def test_a_smaller_map_is_repeated(case, operator):
    net, whole, smaller = two(case)
    net.join(operator, smaller, whole)
    assert check(net.join(operator, net.current, smaller).model()).layers


def test_what_spatial_attention_becomes():
    net, whole, smaller = two("one channel")
    graph = check(net.join("Mul", whole, smaller).model())
    assert [layer.operator for layer in graph.layers] == ["Conv", "Conv", "Selection", "Mul"]


def test_a_product_of_rows_and_columns():
    """Coordinate attention: neither is as large as what becomes of both."""
    net, whole, rows = two("rows")
    columns = SMALLER["columns"][1](net.at(whole)).current
    graph = check(net.join("Mul", rows, columns).join("Mul", whole, net.current).model())
    assert graph.tensors[graph.output].shape == SHAPE


def test_signals_and_vectors_broadcast():
    net = models.Builder((4, 9)).node("Conv", np.ones((6, 4, 2), np.float32))
    whole = net.current
    net.node("ReduceMean", np.array([1])).node("Sigmoid").join("Mul", whole, net.current)
    assert check(net.model()).tensors
    net = models.Builder((5, 1, 1)).flatten().gemm(5, 4)
    whole = net.current
    assert check(net.gemm(4, 1).join("Add", whole, net.current).model()).tensors


def test_channels_last():
    net = channels_last().conv(3, 4, 3).node("Transpose", perm=[0, 2, 3, 1])
    whole = net.current
    net.node("ReduceMean", np.array([3])).node("Sigmoid").join("Mul", whole, net.current)
    operators = [layer.operator for layer in quant.load_float(net.model()).layers]
    assert operators[:1] == ["Conv"]
    assert operators[-1] == "Mul"


EXPANDED = {
    "to all": ("Expand", [1, 4, 6, 10], "a vector"),
    "fewer axes": ("Expand", [6, 10], "a vector"),
    "rows": ("Expand", [1, 1, 6, 1], "columns"),
    "nothing": ("Expand", [1, 1, 1, 1], "rows"),
    "channels": ("Expand", [3, 1, 10], "one channel's rows"),
    "tiles of 1": ("Tile", [1, 1, 6, 10], "a vector"),
    "tiles": ("Tile", [1, 2, 3, 2], "rows"),
    "tiles of a map": ("Tile", [1, 3, 2, 2], "one channel"),
    "no tiles": ("Tile", [1, 1, 1, 1], "a vector"),
}


@pytest.mark.parametrize("case", EXPANDED)
def test_expand_and_tile(case):
    operator, amounts, of = EXPANDED[case]
    net, _, _ = two(of)
    check(net.node(operator, np.array(amounts)).model())


@pytest.mark.parametrize(("operator", "amounts"), [("Expand", [1, 4, 6, 10]), ("Tile", [1, 1, 6, 10])])
def test_an_expanded_vector_is_a_factor_as_it_is(operator, amounts):
    net, whole, _ = two("a vector")
    net.node("Sigmoid").node(operator, np.array(amounts)).join("Mul", whole, net.current)
    graph = check(net.model())
    assert [layer.operator for layer in graph.layers] == ["Conv", "AveragePool", "Conv", "Sigmoid", "Mul"]


def test_what_is_expanded_further_than_the_other_map_stays():
    net, whole, vector = two("a vector")
    expanded = net.node("Expand", np.array([1, 4, 6, 10])).current
    graph = check(net.join("Mul", expanded, vector).model())
    assert graph.tensors[graph.output].shape == SHAPE
    graph = check(net.join("Concat", whole, expanded, axis=1).model())
    assert graph.tensors[graph.output].shape == (8, 6, 10)


def test_a_tensor_that_is_tiled_in_its_own_rows_is_no_factor():
    net, _, rows = two("rows")
    net.node("Tile", np.array([1, 1, 2, 1]))
    tiled = net.current
    net.at(rows).node("Tile", np.array([1, 1, 2, 10])).join("Mul", tiled, net.current)
    assert check(net.model()).tensors


REFUSED = {
    "images": ("Tile", [2, 1, 1, 1], "repeats the images; only channels, rows and columns can be repeated"),
    "axes": ("Expand", [1, 1, 4, 6, 10], "expands [1, 4, 6, 10] to [1, 1, 4, 6, 10]; as many axes, each as it is or"),
    "size": ("Expand", [1, 3, 6, 10], "expands [1, 4, 6, 10] to [1, 3, 6, 10]; as many axes, each as it is or of 1,"),
    "none": ("Tile", [1, 0, 1, 1], "repeats [1, 4, 6, 10] [1, 0, 1, 1] times; it must be at least once, along each"),
    "pieces": ("Tile", [1, 1, 65, 1], "joins 65 pieces of rows or columns; at most 64 work"),
    "memory": ("Tile", [1, 2**20, 2**10, 2**10], "has shape [1, 4194304, 6144, 10240]; 24,403,223 values an image"),
    "repeats": ("Tile", [[1, 1, 1, 2]], "its repeats must be a constant list of integers"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    operator, amounts, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(models.Builder(SHAPE).node(operator, np.array(amounts)).model())
    assert str(caught.value).startswith(f"node '{operator.lower()}1' ({operator}): {message}")
