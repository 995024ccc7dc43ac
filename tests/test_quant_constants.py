"""Constants that are maps: positional embeddings, masks, bounds; ONNX Runtime's numbers in float and in integers."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import golden

from . import models
from .test_quant_moves import check_model
from .test_quant_spread import check

SHAPE = (4, 9, 10)
SPREAD = [(4, 9, 10), (1, 9, 10), (1, 4, 9, 10), (4, 9, 1), (10,)]
OPERATORS = ["Add", "Sub", "Mul", "Div", "Max", "Min"]


def drawn(shape: tuple[int, ...], operator: str) -> np.ndarray:
    values = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    return values + np.copysign(np.float32(0.5), values) if operator == "Div" else values


def behind(constant: np.ndarray, operator: str) -> models.Builder:
    return models.Builder(SHAPE).conv(4, 4, 3, pads=[1, 1, 1, 1]).node(operator, constant)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("shape", SPREAD)
def test_a_constant_of_its_own_for_each_pixel(shape, operator):
    """More pixels than can be channels."""
    graph = check(behind(drawn(shape, operator), operator).relu().model())
    constant = ["Selection", "Conv", "DepthToSpace"]
    last = "Mul" if operator in ("Mul", "Div") else "Add"
    expected = [*constant, last] * (2 if operator in ("Max", "Min") else 1)
    assert [layer.operator for layer in graph.layers] == ["Conv", *expected]


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_the_same_everywhere_is_not_a_map(operator):
    """A channel's constant, or a number, that was stored for each pixel."""
    for shape, most in (((4, 1, 1), 2), ((1, 1, 1), 2)):
        constant = np.broadcast_to(drawn(shape, operator), SHAPE)
        graph = check(behind(np.ascontiguousarray(constant), operator).model())
        assert len(graph.layers) <= most
        assert not {"DepthToSpace", "Selection"} & {layer.operator for layer in graph.layers}


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_a_bound_for_each_channel(operator):
    graph = check(behind(np.float32([[[0.5]], [[-0.5]], [[0]], [[1]]]), operator).model())
    assert [layer.operator for layer in graph.layers] == ["Conv", "Conv"]


def test_a_positional_embedding():
    """N x L x C plus 1 x L x C, between what works on channels."""
    net = models.Builder((3, 90)).node("Conv", models.Builder((1,)).he(6, 3, 3)).node("Transpose", perm=[0, 2, 1])
    net.node("Add", drawn((1, 88, 6), "Add")).node("MatMul", drawn((6, 2), "Mul")).node("Transpose", perm=[0, 2, 1])
    operators = [layer.operator for layer in check(net.model()).layers]
    assert operators == ["Conv", "Selection", "Conv", "DepthToSpace", "Add", "Conv"]


def test_a_vector_and_a_constant_map():
    net = models.Builder(SHAPE).node("GlobalAveragePool").conv(4, 4, 1).node("Mul", drawn(SHAPE, "Mul"))
    graph = check(net.model())
    assert graph.tensors[graph.output].shape == SHAPE


@pytest.mark.parametrize("settings", [{}, {"scales": "pow2"}])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_map_has_the_nearest_integers_of_its_constants(settings, size):
    """However small they are beside what the layer reads."""
    constant = drawn(SHAPE, "Add") * np.float32(size)
    model = models.Builder(SHAPE).node("Add", constant).model()
    graph = check_model(model, **settings)
    (layer,) = [layer for layer in graph.layers if layer.operator == "DepthToSpace"]
    found = golden.run(graph, golden.quantize_input(graph, models.images(model, 2)))[layer.output]
    grid = graph.map_of(layer.output)
    wanted = np.rint(constant.astype(np.float64) / grid.scale) + grid.zero_point
    np.testing.assert_array_equal(found, np.broadcast_to(wanted.clip(0, 255), found.shape))
