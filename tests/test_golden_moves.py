"""Golden's layers that only move integers, index by index."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from systolith import golden
from systolith.quant import Concat, DepthToSpace, FeatureMap, Graph, Selection, check
from systolith.quant.graph import output_shape


def numbered(*shape: int) -> np.ndarray:
    """Every element another number."""
    return np.arange(np.prod(shape)).reshape(shape)


def run(layer, values: np.ndarray) -> np.ndarray:
    """What golden's network makes of one layer, at 16 bits."""
    shapes = {"x": values.shape[1:], "y": output_shape(layer, (values.shape[1:],))}
    maps = {name: FeatureMap(name, shape, np.float32(1), 0, 0, 65535) for name, shape in shapes.items()}
    graph = check(Graph(("x",), ("y",), (layer,), maps))
    found = golden.run(graph, values)["y"]
    assert found.dtype == np.uint16
    return found


@pytest.mark.parametrize("channels", [(0, 1, 2, 3, 4), (4, 2, 2, 0), (3,), (1, 3)])
def test_a_selection_is_its_formula(channels):
    whole = ((0, 1, 7), (0, 1, 6))
    for rows, columns in [((1, 2, 3), (5, 1, 1)), whole] if channels in ((3,), (1, 3)) else [whole]:
        values = numbered(2, 5, 7, 6)
        found = run(Selection("s", "x", "y", channels, rows, columns), values)
        assert found.shape == (2, len(channels), rows[2], columns[2])
        for n, c, h, w in product(*map(range, found.shape)):
            source = channels[c], rows[0] + rows[1] * h, columns[0] + columns[1] * w
            assert found[n, c, h, w] == values[n, source[0], source[1], source[2]]


@pytest.mark.parametrize("block", [(2, 2), (1, 3), (3, 1), (2, 3), (1, 1)])
def test_channels_become_rows_and_columns(block):
    values = numbered(2, 12 * block[0] * block[1] // 4, 3, 4)
    found = run(DepthToSpace("d", "x", "y", block), values)
    outputs = found.shape[1]
    assert found.shape[2:] == (3 * block[0], 4 * block[1])
    for n, c, h, w, i, j in product(range(2), range(outputs), range(3), range(4), *map(range, block)):
        wanted = values[n, (i * block[1] + j) * outputs + c, h, w]
        assert found[n, c, h * block[0] + i, w * block[1] + j] == wanted


def test_square_blocks_are_onnxs():
    values = numbered(1, 18, 2, 3).astype(np.float32)
    node = helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=3, mode="DCR")
    (expected,) = ReferenceEvaluator(node).run(None, {"x": values})
    np.testing.assert_array_equal(golden.depth_to_space(DepthToSpace("d", "x", "y", (3, 3)), values), expected)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_maps_are_joined_along_any_axis(axis):
    shapes = [[3, 3, 3], [3, 3, 3]]
    shapes[1][axis - 1] = 2
    sources = [FeatureMap(n, tuple(s), np.float32(1), 0, 0, 255) for n, s in zip("ab", shapes, strict=True)]
    whole = list(shapes[0])
    whole[axis - 1] = 5
    target = FeatureMap("y", tuple(whole), np.float32(1), 0, 0, 255)
    parts = [numbered(2, *shape).astype(np.uint8) for shape in shapes]
    maps = {"a": sources[0], "b": sources[1], "y": target}
    graph = Graph(("a", "b"), ("y",), (Concat("c", ("a", "b"), "y", axis),), maps)
    assert output_shape(graph.layers[0], (sources[0].shape, sources[1].shape)) == target.shape
    found = golden.concat(parts, sources, target, axis)
    np.testing.assert_array_equal(found, np.concatenate(parts, axis=axis))
