"""Quantized graphs built by hand, with seeded random integers, for tests."""

from __future__ import annotations

import numpy as np

from systolith.quant import (
    Conv,
    FeatureMap,
    Graph,
    MaxPool,
    Sums,
    check,
)
from systolith.quant.graph import output_shape

Range = tuple[int, int, int]  # low, high, zero point
UINT8: Range = (0, 255, 128)


def feature_map(name: str, shape: tuple[int, int, int], bounds: Range = UINT8, scale: float = 0.05) -> FeatureMap:
    low, high, zero_point = bounds
    return FeatureMap(name, shape, np.float32(scale), zero_point, low, high)


def conv_graph(
    shape: tuple[int, int, int],
    weights: np.ndarray,
    *,
    bias: np.ndarray | None = None,
    source: Range = UINT8,
    target: Range | None = UINT8,
    target_scale: float = 0.1,
    **window,
) -> Graph:
    """One convolution of ``shape``; its sums are handed out if ``target`` is None."""
    outputs = len(weights)
    scales = np.linspace(0.001, 0.003, outputs).astype(np.float32)
    bias = np.zeros(outputs, np.int64) if bias is None else bias.astype(np.int64)
    layer = Conv("conv", "Conv", "x", "y", weights.astype(np.int16), scales, bias, **window)
    before = feature_map("x", shape, source)
    after_shape = output_shape(layer, (shape,))
    after = Sums("y", after_shape, before.scale * scales)
    if target is not None:
        after = feature_map("y", after_shape, target, target_scale)
    return check(Graph(("x",), ("y",), (layer,), {"x": before, "y": after}))


def pool_graph(shape: tuple[int, int, int], kernel, strides, pads, bounds: Range = UINT8) -> Graph:
    """One max pooling."""
    layer = MaxPool("pool", "x", "y", kernel, strides, pads)
    sizes = {"x": shape, "y": output_shape(layer, (shape,))}
    maps = {name: feature_map(name, size, bounds) for name, size in sizes.items()}
    return check(Graph(("x",), ("y",), (layer,), maps))


def integers(graph: Graph, count: int, seed: int = 0) -> np.ndarray:
    """Random input integers of ``graph``, extremes included, (count, C, rows, columns) int32."""
    source = graph.map_of(graph.input)
    random = np.random.default_rng(seed)
    values = random.integers(source.low, source.high + 1, (count, *source.shape), np.int32)
    values[random.random(values.shape) < 0.05] = source.low
    values[random.random(values.shape) < 0.05] = source.high
    return values
