"""The legality check of the quantized graph: each rule, broken alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from systolith.quant import (
    Add,
    AveragePool,
    Concat,
    FeatureMap,
    Graph,
    GraphError,
    Normalization,
    Sums,
    Table,
    check,
)

from .graphs import conv_graph, feature_map, pool_graph

WEIGHTS = np.ones((3, 2, 2, 2))


def conv(**layer) -> Graph:
    graph = conv_graph((2, 5, 5), WEIGHTS)
    return replace(graph, layers=(replace(graph.layers[0], **layer),))


def tensors(base: Graph, **changes) -> Graph:
    found = {name: tensor for name, tensor in ({**base.tensors, **changes}).items() if tensor is not None}
    return replace(base, tensors=found)


CONV, POOL = conv(), pool_graph((2, 6, 6), (2, 2), (2, 2), (0, 0, 0, 0))
Y = CONV.map_of("y")

BROKEN = {
    "no layers": (replace(CONV, layers=()), "no layer writes the graph's output 'y'"),
    "input": (replace(CONV, input="z"), "tensor 'z' is not a quantized feature map"),
    "reads": (conv(input="q"), "layer 'conv': its input 'q' is not computed before it"),
    "output": (tensors(CONV, y=None), "layer 'conv': its output 'y' is not among the tensors"),
    "shape": (
        tensors(CONV, y=feature_map("y", (3, 4, 5))),
        "layer 'conv': output shape is (3, 4, 5), its arithmetic gives (3, 4, 4)",
    ),
    "window": (conv(dilations=(5, 1)), "layer 'conv': its window does not fit its input of (5, 5)"),
    "stride": (conv(strides=(0, 1)), "layer 'conv': strides (0, 1) must be at least 1"),
    "dilation": (conv(dilations=(1, 0)), "layer 'conv': dilations (1, 0) must be at least 1"),
    "groups zero": (conv(groups=0), "layer 'conv': groups (0, 0) must be at least 1"),
    "pads": (conv(pads=(0, -1, 0, 0)), "layer 'conv': pads (0, -1, 0, 0) must not be negative"),
    "groups": (conv(groups=2), "layer 'conv': weights (3, 2, 2, 2) with 2 groups do not fit 2 input channels"),
    "bias": (
        conv(bias=np.zeros(2, np.int64)),
        "layer 'conv': needs one weight scale and one bias for each of 3 outputs",
    ),
    "weight scale": (
        conv(weight_scales=np.float32([1, 0, 1])),
        "layer 'conv': weight scales must be finite and positive",
    ),
    "tiny scales": (
        conv(weight_scales=np.float32([1, 1e-38, 1])),
        "layer 'conv': its scales leave the range of float32; rescale the model's weights",
    ),
    "weights": (conv(weights=np.full((3, 2, 2, 2), -(2**15))), "layer 'conv': weights must be within +-32767"),
    "int32": (
        conv(bias=np.array([0, 2**31 - 1024, 0])),
        "layer 'conv': a sum can reach 2147483648, beyond int32; use fewer weight or activation bits",
    ),
    "scale": (
        tensors(CONV, y=replace(Y, scale=np.float32(np.nan))),
        "tensor 'y': scale must be finite and positive, not nan",
    ),
    "zero point": (tensors(CONV, y=replace(Y, zero_point=-1)), "tensor 'y': zero point -1 is outside 0..255"),
    "bits": (tensors(CONV, y=replace(Y, high=2**16)), "tensor 'y': activations have 2 to 16 bits, not 17"),
    "pool scale": (
        tensors(POOL, y=replace(POOL.map_of("y"), scale=np.float32(0.1))),
        "layer 'pool': max pooling must keep its input's scale and zero point",
    ),
    "pool clamps": (tensors(POOL, y=replace(POOL.map_of("y"), high=254)), "layer 'pool': max pooling must not clamp"),
    "pool pads": (
        tensors(
            replace(POOL, layers=(replace(POOL.layers[0], pads=(2, 0, 0, 0)),)),
            y=feature_map("y", (2, 4, 3)),
        ),
        "layer 'pool': pads (2, 0, 0, 0) must be smaller than the kernel (2, 2)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_rule_alone(case):
    graph, message = BROKEN[case]
    with pytest.raises(GraphError) as caught:
        check(graph)
    assert str(caught.value) == message


def test_a_legal_graph_comes_back_as_it_is():
    assert check(CONV) is CONV
    assert check(POOL) is POOL


def chain(middle: FeatureMap | Sums) -> Graph:
    second = replace(CONV.layers[0], name="second", input="y", output="z", weights=np.ones((3, 3, 2, 2), np.int16))
    maps = {**CONV.tensors, "y": middle, "z": feature_map("z", (3, 3, 3))}
    return Graph("x", "z", (CONV.layers[0], second), maps)


def test_sums_come_last_only():
    check(chain(Y))
    with pytest.raises(GraphError, match=r"^layer 'conv': hands out raw sums; only the last layer may$"):
        check(chain(Sums("y", (3, 4, 4), np.ones(3, np.float32))))


def test_a_tensor_is_made_once_and_before_it_is_read():
    graph = chain(Y)
    first, second = graph.layers
    with pytest.raises(GraphError, match=r"^layer 'second': its input 'y' is not computed before it$"):
        check(replace(graph, layers=(second, first)))
    with pytest.raises(GraphError, match=r"^layer 'conv': its output 'y' is computed already$"):
        check(replace(graph, layers=(first, first, second)))


def test_scales_that_are_too_far_apart_for_float32():
    for layer in (Add("add", ("x", "x"), "y"), AveragePool("mean", "x", "y", (1, 1))):
        maps = {name: feature_map(name, (2, 3, 3), scale=scale) for name, scale in (("x", 1e-30), ("y", 1e20))}
        with pytest.raises(GraphError) as caught:
            check(Graph("x", "y", (layer,), maps))
        assert str(caught.value) == (
            f"layer '{layer.name}': its scales 1e-30 and 1e+20 are too far apart for float32;"
            " rescale the model's weights"
        )


def test_a_concatenation_must_not_clamp_what_it_copies():
    layer = Concat("join", ("x", "x"), "y")
    maps = {"x": feature_map("x", (2, 3, 3)), "y": feature_map("y", (4, 3, 3), (0, 200, 128))}
    with pytest.raises(GraphError) as caught:
        check(Graph("x", "y", (layer,), maps))
    assert str(caught.value) == "layer 'join': copies 'x' and must not clamp it"
    moved = {**maps, "y": feature_map("y", (4, 3, 3), (0, 200, 128), scale=0.1)}
    check(Graph("x", "y", (layer,), moved))


def test_wide_maps_do_not_run_through_tables():
    wide = (0, 511, 128)
    maps = {"x": feature_map("x", (2, 3, 3), wide), "y": feature_map("y", (2, 3, 3))}
    for layer in (
        Add("layer", ("x", "x"), "y"),
        Table("layer", "Tanh", "x", "y", np.zeros(512, np.int32)),
        Normalization("layer", "x", "y", 1, 0.0, 1.0, 1.0, 10, 24, np.zeros(256, np.int32), np.zeros(256, np.int32)),
    ):
        with pytest.raises(GraphError) as caught:
            check(Graph("x", "y", (layer,), maps))
        assert str(caught.value) == f"layer 'layer': 'x' has 9 bits; {layer.operator} works up to 8"


def test_branches_are_legal():
    graph = conv_graph((2, 5, 5), WEIGHTS)
    twice = replace(graph.layers[0], name="twice", output="z")
    total = Add("add", ("y", "z"), "sum")
    maps = {**graph.tensors, "z": feature_map("z", (3, 4, 4)), "sum": feature_map("sum", (3, 4, 4))}
    check(Graph("x", "sum", (graph.layers[0], twice, total), maps))
