"""The legality check of the quantized graph: each rule of what fits together, broken alone, and its whole message."""

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
    Layer,
    Normalization,
    Sums,
    Table,
    check,
)
from systolith.quant.graph import output_shape

from .graphs import UINT8, conv_graph, feature_map, pool_graph

WEIGHTS = np.ones((3, 2, 2, 2))


def conv(**layer) -> Graph:
    graph = conv_graph((2, 5, 5), WEIGHTS)
    return replace(graph, layers=(replace(graph.layers[0], **layer),))


def tensors(base: Graph, **changes) -> Graph:
    found = {name: tensor for name, tensor in ({**base.tensors, **changes}).items() if tensor is not None}
    return replace(base, tensors=found)


CONV, POOL = conv(), pool_graph((2, 6, 6), (2, 2), (2, 2), (0, 0, 0, 0))
Y = CONV.map_of("y")
SUMS = conv_graph((2, 5, 5), WEIGHTS, target=None)
GEMM = "a Gemm covers its whole input of (5, 5), in one group and without pads;"
ZEROS = np.zeros(256, np.int32)


def one(layer: Layer, source: tuple[int, int, int] = UINT8, target: tuple[int, int, int] = UINT8, **scales) -> Graph:
    """``layer`` alone, from ``x`` of 2 x 3 x 3 and the range ``source`` to ``y`` of its arithmetic's shape."""
    shapes = [(2, 3, 3)] * len(layer.inputs)
    maps = {
        "x": feature_map("x", (2, 3, 3), source, scales.get("x", 0.05)),
        "y": feature_map("y", output_shape(layer, tuple(shapes)), target, scales.get("y", 0.05)),
    }
    return Graph(("x",), ("y",), (layer,), maps)


def gemm(kernel: tuple[int, int], weights: np.ndarray | None = None, **window) -> Graph:
    """A fully connected layer of 2 x 5 x 5, or what claims to be one."""
    graph = conv_graph((2, 5, 5), np.ones((4, 2, *kernel)) if weights is None else weights, **window)
    return replace(graph, layers=(replace(graph.layers[0], operator="Gemm"),))


def lrn(size: int, shift: int) -> Normalization:
    return Normalization("lrn", "x", "y", size, 0.0, 1.0, 1.0, shift, 24, ZEROS, ZEROS)


BROKEN = {
    "no layers": (replace(CONV, layers=()), "no layer writes the graph's output 'y'"),
    "input": (replace(CONV, inputs=("z",)), "tensor 'z' is not a quantized feature map"),
    "reads": (conv(input="q"), "layer 'conv': its input 'q' is not computed before it"),
    "output": (tensors(CONV, y=None), "layer 'conv': its output 'y' is not among the tensors"),
    "shape": (
        tensors(CONV, y=feature_map("y", (3, 4, 5))),
        "layer 'conv': output shape is (3, 4, 5), its arithmetic gives (3, 4, 4)",
    ),
    "window": (conv(dilations=(5, 1)), "layer 'conv': its window does not fit its input of (5, 5)"),
    "input channels": (
        conv(weights=np.ones((3, 1, 2, 2), np.int16)),
        "layer 'conv': weights (3, 1, 2, 2) with 1 groups do not fit 2 input channels",
    ),
    "output channels": (
        conv(weights=np.ones((3, 1, 2, 2), np.int16), groups=2),
        "layer 'conv': weights (3, 1, 2, 2) with 2 groups do not fit 2 input channels",
    ),
    "tiny scales": (
        conv(weight_scales=np.float32([1, 1e-38, 1])),
        "layer 'conv': its scales leave the range of float32; rescale the model's weights",
    ),
    "huge scales": (
        tensors(conv(weight_scales=np.float32([1, 3e38, 1])), y=replace(Y, scale=np.float32(1e-3))),
        "layer 'conv': its scales leave the range of float32; rescale the model's weights",
    ),
    "int32": (
        conv(bias=np.array([0, 2**31 - 1024, 0])),
        "layer 'conv': a sum can reach 2147483648, beyond int32; use fewer weight or activation bits",
    ),
    "pool scale": (
        tensors(POOL, y=replace(POOL.map_of("y"), scale=np.float32(0.1))),
        "layer 'pool': max pooling must keep its input's scale and zero point",
    ),
    "pool clamps below": (
        tensors(POOL, y=replace(POOL.map_of("y"), low=1)),
        "layer 'pool': max pooling must not clamp",
    ),
    "pool clamps": (tensors(POOL, y=replace(POOL.map_of("y"), high=254)), "layer 'pool': max pooling must not clamp"),
    "pool pads": (
        tensors(
            replace(POOL, layers=(replace(POOL.layers[0], pads=(2, 0, 0, 0)),)),
            y=feature_map("y", (2, 4, 3)),
        ),
        "layer 'pool': pads (2, 0, 0, 0) must be smaller than the kernel (2, 2)",
    ),
    "two layers of one name": (
        replace(tensors(CONV, z=replace(Y, name="z")), layers=(CONV.layers[0], replace(CONV.layers[0], output="z"))),
        "two layers are called 'conv'; give each a name of its own",
    ),
    "a tensor that nobody makes": (
        tensors(CONV, z=replace(Y, name="z")),
        "no layer makes the tensor 'z'; leave it out",
    ),
    "a tensor under another's name": (
        tensors(CONV, y=replace(Y, name="x")),
        "tensor 'y': it calls itself 'x'; both names must be one, and not empty",
    ),
    "output is the input": (replace(CONV, outputs=("x",)), "no layer writes the graph's output 'x'"),
    "input are sums": (
        tensors(CONV, x=Sums("x", (2, 5, 5), np.ones(2, np.float32))),
        "tensor 'x' is not a quantized feature map",
    ),
    "gemm's kernel": (
        conv(operator="Gemm"),
        f"layer 'conv': {GEMM} a kernel of (2, 2), pads (0, 0, 0, 0) and 1 groups do not",
    ),
    "gemm's pads": (
        gemm((5, 5), pads=(1, 0, 0, 0)),
        f"layer 'conv': {GEMM} a kernel of (5, 5), pads (1, 0, 0, 0) and 1 groups do not",
    ),
    "gemm's groups": (
        gemm((5, 5), groups=2, weights=np.ones((4, 1, 5, 5), np.int16)),
        f"layer 'conv': {GEMM} a kernel of (5, 5), pads (0, 0, 0, 0) and 2 groups do not",
    ),
    "tiny scales of sums": (
        tensors(
            replace(SUMS, layers=(replace(SUMS.layers[0], weight_scales=np.full(3, 1e-38, np.float32)),)),
            y=replace(SUMS.tensors["y"], scales=np.float32(0.05) * np.full(3, 1e-38, np.float32)),
        ),
        "layer 'conv': its scales leave the range of float32; rescale the model's weights",
    ),
    "sums beyond float32": (
        tensors(
            replace(SUMS, layers=(replace(SUMS.layers[0], weight_scales=np.full(3, 2e38, np.float32)),)),
            y=replace(SUMS.tensors["y"], scales=np.float32(0.05) * np.full(3, 2e38, np.float32)),
        ),
        "layer 'conv': its sums can leave the range of float32; rescale the model's weights",
    ),
    "sums' scales": (
        tensors(SUMS, y=replace(SUMS.tensors["y"], scales=np.ones(3, np.float32))),
        "layer 'conv': the scales of its sums must be its input's times its weights'",
    ),
    "sums of a pooling": (
        tensors(POOL, y=Sums("y", (2, 3, 3), np.ones(2, np.float32))),
        "layer 'pool': only a convolution hands out raw sums",
    ),
    "average's pads": (
        one(AveragePool("mean", "x", "y", (2, 2), (1, 1), (0, 2, 0, 0))),
        "layer 'mean': pads (0, 2, 0, 0) must be smaller than the kernel (2, 2)",
    ),
    "ceil of pads that do not count": (
        one(AveragePool("mean", "x", "y", (2, 2), (1, 1), (0, 0, 1, 0), False, (1, 0))),
        "layer 'mean': ceil (1, 0) must be (0, 0), as no pad counts",
    ),
    "ceil below": (
        one(AveragePool("mean", "x", "y", (2, 2), (1, 1), (0, 0, 0, 1), True, (1, 0))),
        "layer 'mean': ceil (1, 0) must lie within the pads (0, 0, 0, 1)",
    ),
    "ceil right": (
        one(AveragePool("mean", "x", "y", (2, 2), (1, 1), (0, 0, 1, 0), True, (0, 1))),
        "layer 'mean': ceil (0, 1) must lie within the pads (0, 0, 1, 0)",
    ),
    "average's sum": (
        replace(
            tensors(
                POOL,
                x=feature_map("x", (2, 200, 200), (0, 65535, 0)),
                y=feature_map("y", (2, 1, 1), (0, 65535, 0)),
            ),
            layers=(AveragePool("mean", "x", "y", (200, 200)),),
        ),
        "layer 'mean': a sum can reach 2621400000, beyond int32",
    ),
    "average's divisor": (
        one(AveragePool("mean", "x", "y", (3, 3)), (0, 3, 0), (0, 3, 0), x=1e38, y=1e38),
        "layer 'mean': its scales 1e+38 and 1e+38 are too far apart for float32; rescale the model's weights",
    ),
    "sizes of a sum": (
        replace(
            CONV,
            outputs=("sum",),
            layers=(CONV.layers[0], Add("add", ("x", "y"), "sum")),
            tensors={**CONV.tensors, "sum": feature_map("sum", (2, 5, 5))},
        ),
        "layer 'add': its inputs (2, 5, 5), (3, 4, 4) do not fit together",
    ),
    "table's length": (
        one(Table("table", "Tanh", "x", "y", ZEROS[1:])),
        "layer 'table': its table has shape (255,); it needs a value for each input",
    ),
    "table's values above": (
        one(Table("table", "Tanh", "x", "y", ZEROS + 201), target=(0, 200, 100)),
        "layer 'table': its table leaves the output's 0..200",
    ),
    "table's values below": (
        one(Table("table", "Tanh", "x", "y", ZEROS), target=(1, 200, 100)),
        "layer 'table': its table leaves the output's 1..200",
    ),
    "normalization's index": (one(lrn(2, 0), (0, 200, 0)), "layer 'lrn': a sum of 2 squares exceeds its tables"),
    "normalization's sum": (
        one(lrn(2**17, 31)),
        "layer 'lrn': a sum of 131072 squares exceeds its tables",
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
    return Graph(("x",), ("z",), (CONV.layers[0], second), maps)


def test_sums_come_last_only():
    check(chain(Y))
    with pytest.raises(GraphError, match=r"^layer 'conv': hands out raw sums; only a layer that makes an output may$"):
        check(chain(Sums("y", (3, 4, 4), np.ones(3, np.float32))))


def test_a_tensor_is_made_once_and_before_it_is_read():
    graph = chain(Y)
    first, second = graph.layers
    with pytest.raises(GraphError, match=r"^layer 'second': its input 'y' is not computed before it$"):
        check(replace(graph, layers=(second, first)))
    with pytest.raises(GraphError, match=r"^layer 'again': its output 'y' is computed already$"):
        check(replace(graph, layers=(first, replace(first, name="again"), second)))


@pytest.mark.parametrize("scales", [(1e-30, 1e20), (1e20, 1e-20)])
def test_scales_that_are_too_far_apart_for_float32(scales):
    for layer in (Add("layer", ("x", "x"), "y"), AveragePool("layer", "x", "y", (1, 1)), Concat("layer", ("x",), "y")):
        with pytest.raises(GraphError) as caught:
            check(one(layer, x=scales[0], y=scales[1]))
        assert str(caught.value) == (
            f"layer 'layer': its scales {scales[0]:g} and {scales[1]:g} are too far apart for float32;"
            " rescale the model's weights"
        )


def test_a_concatenation_must_not_clamp_what_it_copies():
    layer = Concat("join", ("x", "x"), "y")
    with pytest.raises(GraphError) as caught:
        check(one(layer, target=(0, 200, 128)))
    assert str(caught.value) == "layer 'join': copies 'x' and must not clamp it"
    check(one(layer, target=(0, 200, 128), y=0.1))


def test_wide_maps_do_not_run_through_tables():
    wide = (0, 511, 128)
    add, join = Add("layer", ("x", "x"), "y"), Concat("layer", ("x", "x"), "y")
    normalization = replace(lrn(1, 10), name="layer")
    for layer in (add, join, Table("layer", "Tanh", "x", "y", np.zeros(512, np.int32)), normalization):
        with pytest.raises(GraphError) as caught:
            check(one(layer, wide, y=0.1))
        assert str(caught.value) == f"layer 'layer': 'x' has 9 bits; {layer.operator} works up to 8"
        with pytest.raises(GraphError, match=f"^layer 'layer': 'y' has 9 bits; {layer.operator} works up to 8$"):
            check(one(layer, target=wide, y=0.1))
    check(one(join, wide, wide))


def test_branches_are_legal():
    graph = conv_graph((2, 5, 5), WEIGHTS)
    twice = replace(graph.layers[0], name="twice", output="z")
    total = Add("add", ("y", "z"), "sum")
    maps = {**graph.tensors, "z": feature_map("z", (3, 4, 4)), "sum": feature_map("sum", (3, 4, 4))}
    check(Graph(("x",), ("sum",), (graph.layers[0], twice, total), maps))
