"""Golden averages against naive rationals, and against ONNX Runtime's QLinearGlobalAveragePool."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from onnx import TensorProto, helper

from systolith import golden
from systolith.golden.average import counts, window_sums
from systolith.quant import (
    AveragePool,
    FeatureMap,
    Graph,
    check,
)
from systolith.quant.graph import output_shape

from . import models, oracle
from .graphs import feature_map, integers
from .rationals import fl32

# Shape, kernel, strides, pads, include_pad, ceil.
WINDOWS = {
    "2x2": ((3, 6, 7), (2, 2), (2, 2), (0, 0, 0, 0), False, (0, 0)),
    "overlapping": ((2, 7, 6), (3, 3), (2, 2), (0, 0, 0, 0), False, (0, 0)),
    "pads not counted": ((2, 6, 7), (3, 3), (2, 2), (1, 1, 1, 1), False, (0, 0)),
    "pads counted": ((2, 6, 7), (3, 3), (2, 2), (1, 1, 1, 1), True, (0, 0)),
    "asymmetric": ((2, 5, 9), (3, 2), (1, 3), (0, 1, 2, 0), True, (0, 0)),
    "ceil": ((2, 8, 7), (3, 3), (2, 2), (0, 0, 1, 0), False, (0, 0)),
    "ceil, pads counted": ((2, 6, 8), (3, 2), (2, 3), (1, 1, 2, 1), True, (1, 0)),
    "whole map": ((4, 7, 7), (7, 7), (1, 1), (0, 0, 0, 0), False, (0, 0)),
    "1x1": ((2, 4, 4), (1, 1), (1, 1), (0, 0, 0, 0), False, (0, 0)),
}
GRIDS = {
    "same": ((0, 255, 7), 0.05, (0, 255, 7), 0.05),
    "halves": ((-128, 127, 5), 0.5, (-128, 127, -3), 0.25),
    "odd": ((0, 255, 128), 0.0371, (3, 200, 17), 0.0123),
    "wide": ((0, 65535, 9), 0.001, (0, 65535, 30000), 0.0007),
}


def average_graph(window, grid) -> Graph:
    shape, kernel, strides, pads, include_pad, ceil = window
    layer = AveragePool("pool", "x", "y", kernel, strides, pads, include_pad, ceil)
    source_bounds, source_scale, target_bounds, target_scale = grid
    maps = {
        "x": feature_map("x", shape, source_bounds, source_scale),
        "y": feature_map("y", output_shape(layer, (shape,)), target_bounds, target_scale),
    }
    return check(Graph(("x",), ("y",), (layer,), maps))


def window_of(layer: AveragePool, source: FeatureMap, y: int, x: int) -> tuple[list[tuple[int, int]], int]:
    """Places inside the map that the window at (y, x) takes, and what it divides by."""
    top, left, bottom, right = layer.pads
    _, height, width = source.shape
    places, counted = [], 0
    for ky, kx in np.ndindex(*layer.kernel):
        row, column = y * layer.strides[0] - top + ky, x * layer.strides[1] - left + kx
        if 0 <= row < height and 0 <= column < width:
            places.append((row, column))
        inside_pads = row < height + bottom - layer.ceil[0] and column < width + right - layer.ceil[1]
        counted += inside_pads if layer.include_pad else 0
    return places, counted if layer.include_pad else len(places)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", WINDOWS)
def test_average_equals_naive_rationals(name, grid):
    graph = average_graph(WINDOWS[name], GRIDS[grid])
    layer, source, target = graph.layers[0], graph.map_of("x"), graph.map_of("y")
    values = integers(graph, 2, seed=4)
    found = golden.average(layer, values, source, target)
    assert found.dtype == golden.storage(target)
    for n, c, y, x in np.ndindex(found.shape):
        places, count = window_of(layer, source, y, x)
        total = sum(int(values[n, c, row, column]) - source.zero_point for row, column in places)
        scale = fl32(Fraction(float(source.scale)) / fl32(Fraction(float(target.scale)) * count))
        expected = round(fl32(fl32(total) * scale)) + target.zero_point
        assert found[n, c, y, x] == min(max(expected, target.low), target.high)


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_count_what_onnxruntime_counts(name):
    """A map of ones: the sum of each window over its mean is the divisor."""
    shape, kernel, strides, pads, include_pad, ceil = WINDOWS[name]
    graph = average_graph(WINDOWS[name], GRIDS["same"])
    explicit = [pads[0], pads[1], pads[2] - ceil[0], pads[3] - ceil[1]]
    attributes = {"pads": explicit, "count_include_pad": int(include_pad), "ceil_mode": int(any(ceil))}
    net = models.Builder(shape).node("AveragePool", kernel_shape=kernel, strides=strides, **attributes)
    ones = np.ones((1, *shape), np.float32)
    means = oracle.run(net.model(), ones)[0, 0]
    sums = window_sums(graph.layers[0], np.ones((1, *shape), np.int32))[0, 0]
    np.testing.assert_allclose(sums / counts(graph.layers[0], graph.map_of("x")), means, rtol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 13, 16])
def test_a_global_average_equals_onnxruntimes_integer_kernel(size, kind):
    low = int(np.iinfo(kind).min)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    shape = (200, size, size)
    inputs = [helper.make_tensor_value_info("x", code, ["N", *shape])]
    for name in ("x", "y"):
        inputs.append(helper.make_tensor_value_info(f"{name}_scale", TensorProto.FLOAT, []))
        inputs.append(helper.make_tensor_value_info(f"{name}_zero", code, []))
    run = oracle.session(oracle.linear_model("QLinearGlobalAveragePool", inputs, code, channels_last=0))
    random = np.random.default_rng(size)
    for index in range(40):
        scales = 2.0 ** random.uniform(-8, 0, 2)
        scales = 2.0 ** np.rint(np.log2(scales)) if index % 3 == 0 else scales
        zeros = random.integers(low, low + 256, 2)
        bounds = [(low, low + 255, int(zero)) for zero in zeros]
        graph = average_graph((shape, (size, size), (1, 1), (0, 0, 0, 0), False, (0, 0)), _grid(bounds, scales))
        values = random.integers(low, low + 256, (2, *shape)).astype(kind)
        source, target = graph.map_of("x"), graph.map_of("y")
        feeds = {"x": values}
        for name, grid in (("x", source), ("y", target)):
            feeds |= {f"{name}_scale": np.array(grid.scale), f"{name}_zero": np.array(grid.zero_point, kind)}
        np.testing.assert_array_equal(golden.average(graph.layers[0], values, source, target), run.run(None, feeds)[0])


def _grid(bounds, scales):
    return bounds[0], float(scales[0]), bounds[1], float(scales[1])
