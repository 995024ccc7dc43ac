"""Which maps share a grid: poolings and their input, concatenations and what only they read."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import quant
from systolith.hw.compiler.lowering import lower
from systolith.quant import FeatureMap, Graph

from . import models


def quantize(net: models.Builder, *settings) -> Graph:
    model = net.model()
    return quant.quantize(model, models.images(model, 8), quant.Settings(*settings))


def grid(graph: Graph, name: str) -> tuple[np.float32, int]:
    tensor = graph.tensors[f"{name}_quantized"]
    assert isinstance(tensor, FeatureMap)
    return tensor.scale, tensor.zero_point


def branches(net: models.Builder) -> list[str]:
    """Three maps of very different ranges."""
    found = []
    for factor in (1, 10, 0.1):
        net.at("image").conv(2, 3, 1).node("Mul", np.float32(factor)).relu()
        found.append(net.current)
    return found


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_a_concatenation_copies_what_only_it_reads(scales):
    net = models.Builder((2, 6, 6))
    names = branches(net)
    net.join("Concat", *names, axis=1).conv(9, 4, 1)
    graph = quantize(net, scales)
    assert {grid(graph, name) for name in names} == {grid(graph, "concat1_out")}


def test_a_concatenation_rescales_what_others_read_too():
    net = models.Builder((2, 6, 6))
    names = branches(net)
    joined = net.join("Concat", *names, axis=1).conv(9, 3, 1).current
    net.join("Add", joined, names[2])
    graph = quantize(net)
    shared = grid(graph, "concat1_out")
    assert [grid(graph, name) == shared for name in names] == [True, True, False]
    assert grid(graph, names[2])[0] < shared[0] / 10  # as fine as its own values ask for


def test_grids_reach_back_through_poolings_and_concatenations():
    net = models.Builder((2, 6, 6))
    names = branches(net)
    pooled = net.at(names[0]).pool(3, 1, pads=[1] * 4).current
    inner = net.join("Concat", names[1], names[2], axis=1).current
    net.join("Concat", pooled, inner, axis=1).conv(9, 2, 1)
    graph = quantize(net)
    assert {grid(graph, name) for name in (*names, pooled, inner)} == {grid(graph, "concat2_out")}


def dense(spelling: str) -> models.Builder:
    """A dense block: a pooled map and three features beside it, each layer behind all before."""
    net = models.Builder((3, 10, 8)).conv(3, 6, 3).relu().pool(2, 2)
    features, joined = [net.current], net.current
    for n in range(3):
        new = net.at(joined).conv(6 + 4 * n, 4, 3, pads=[1] * 4).current
        before = [joined] if spelling == "nested" else features
        joined = net.join("Concat", *before, new, axis=1).current
        features.append(new)
    return net.conv(18, 5, 1)


@pytest.mark.parametrize("spelling", ["nested", "flat"])
def test_what_is_joined_again_and_again_shares_a_grid_although_others_read_it(spelling):
    """Then each feature is in memory once, the pooled map as well."""
    graph = quantize(dense(spelling))
    joins = [layer for layer in graph.layers if isinstance(layer, quant.Concat)]
    names = {name for layer in joins for name in (*layer.inputs, layer.output)}
    assert (len(joins), len(names)) == (3, 7)
    assert len({(graph.map_of(name).scale, graph.map_of(name).zero_point) for name in names}) == 1
    assert all(layer.on_array or layer.operator == "MaxPool" for layer in lower(graph, 8)), "nothing is copied"


def test_a_map_in_two_concatenations_that_share_nothing_else_keeps_its_grid():
    net = models.Builder((2, 6, 6))
    names = branches(net)
    first = net.join("Concat", names[2], names[0], axis=1).conv(6, 3, 1).current
    second = net.join("Concat", names[2], names[1], axis=1).conv(6, 3, 1).current
    graph = quantize(net.join("Add", first, second))
    assert len({grid(graph, name) for name in (names[2], "concat1_out", "concat2_out")}) == 3


def test_the_input_keeps_its_own_grid():
    net = models.Builder((2, 6, 6)).conv(2, 3, 1).node("Mul", np.float32(20))
    net.join("Concat", "image", net.current, axis=1).conv(5, 2, 1)
    graph = quantize(net)
    assert grid(graph, "image") != grid(graph, "concat1_out")


def test_a_pooled_map_that_is_read_elsewhere_is_calibrated_on_all_its_values():
    """What the pooling lets through is positive; the values that the sum reads are not."""
    net = models.Builder((2, 8, 8)).conv(2, 3, 1)
    source = net.current
    net.join("Add", net.pool(3, 1, pads=[1] * 4).current, source)
    graph = quantize(net, "float", 8, 8, "minmax")
    pooled_only = models.Builder((2, 8, 8)).conv(2, 3, 1).pool(3, 1, pads=[1] * 4)
    assert grid(graph, source)[1] > grid(quantize(pooled_only, "float", 8, 8, "minmax"), source)[1]


def test_sixteen_bits_work_where_nothing_is_rescaled_and_are_refused_by_name_elsewhere():
    net = models.Builder((2, 6, 6))
    names = branches(net)
    net.join("Concat", *names, axis=1).conv(9, 4, 1)
    quantize(net, "float", 8, 16)
    net.join("Add", net.current, net.current)
    with pytest.raises(quant.GraphError) as caught:
        quantize(net, "float", 8, 16)
    assert str(caught.value) == "layer 'add1': 'conv4_out_quantized' has 16 bits; Add works up to 8"
