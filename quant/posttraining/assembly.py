"""A quantized graph from its maps' grids and its convolutions' integers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np

from ..arithmetic.weightless import copied_bounds, layer_without_weights
from ..graph import Conv, FeatureMap, Graph, Layer, Shape, Sums, Tensor
from ..graph.legality import check
from ..graph.ports import integer_name
from ..graph.progress import Counting, uncounted
from ..networks.layers import (
    INFINITY,
    Clamped,
    Concatenation,
    Convolution,
    FloatGraph,
    Function,
    PixelShuffle,
    Pooling,
    Simple,
    Slicing,
    refusal,
    simple,
)
from ..networks.shapes import shapes
from .range_search import Grid
from .reconstruction import Reconstruction
from .weights import QuantizedWeights

Integers = Callable[[Convolution, FeatureMap], QuantizedWeights]
"""The integers of a convolution that reads a map."""


def assembled(
    network: FloatGraph,
    grid: Mapping[str, Grid],
    bits: Mapping[str, int],
    integers_of: Integers,
    learning: Reconstruction | None = None,
    progress: Counting = uncounted,
) -> Graph:
    """The quantized graph of a simplified ``network``, checked.

    grid, bits : of each map, by its tensor's name;  integers_of : asked of each convolution, in order
    learning : is told of each tensor as it comes to be;  progress : of (layers done, layers in all) while it learns
    """
    size, readers = shapes(network), network.readers()
    inputs = [_map(name, shape, grid[name], bits[name]) for name, shape in network.inputs.items()]
    tensors: dict[str, Tensor] = {source.name: source for source in inputs}
    if learning is not None:
        for name in network.inputs:
            learning.start(name, tensors[integer_name(name)])
    layers: list[Layer] = []
    for number, layer in enumerate(map(simple, network.layers)):
        sources = [tensors[integer_name(name)] for name in layer.inputs]
        maps = [source for source in sources if isinstance(source, FeatureMap)]
        target = _map(layer.output, size[layer.output], grid[layer.output], bits[layer.output], layer, maps)
        made: Tensor = target
        integers = None
        if isinstance(layer, Convolution):
            integers = integers_of(layer, maps[0])
            if layer.output in network.outputs and not readers[layer.output] and _hands_out_sums(layer):
                made = Sums(layer.output, target.shape, maps[0].scale * integers.scales)
            layers.append(_conv(layer, maps[0], made, integers))
        else:
            _check_poles(layer, maps[0])
            layers.append(layer_without_weights(layer, tuple(maps), target))
        tensors[made.name] = made
        if learning is not None:
            learning.made(layer, made, integers, maps[0])
            progress(number + 1, len(network.layers))
    outputs = [name if name in tensors else integer_name(name) for name in network.outputs]
    arrays = {name if name in tensors else integer_name(name): array for name, array in network.arrays.items()}
    return check(Graph(tuple(source.name for source in inputs), tuple(outputs), tuple(layers), tensors, arrays))


def _check_poles(layer: Simple, source: FeatureMap) -> None:
    """Raises ModelError for a tangent whose input crosses a pole: beside it one step is the whole range."""
    reach = max(source.high - source.zero_point, source.zero_point - source.low) * float(source.scale)
    if isinstance(layer, Function) and layer.operator == "Tan" and reach >= math.pi / 2:
        raise refusal(
            layer,
            f"its input reaches {reach:g}, beyond the pole at {math.pi / 2:g}; keep it below or leave it to the host",
        )


def _hands_out_sums(layer: Convolution) -> bool:
    return layer.operator == "Gemm" and layer.low == -INFINITY and layer.high == INFINITY


def _conv(layer: Convolution, source: FeatureMap, target: Tensor, integers: QuantizedWeights) -> Conv:
    return Conv(
        layer.name,
        layer.operator,
        source.name,
        target.name,
        integers.weights,
        integers.scales,
        integers.bias,
        layer.strides,
        layer.pads,
        layer.dilations,
        layer.groups,
    )


def _map(
    name: str,
    shape: Shape,
    grid: Grid,
    bits: int,
    layer: Simple | None = None,
    sources: Sequence[FeatureMap] = (),
) -> FeatureMap:
    """The map that ``layer`` makes of ``sources`` (None: the input), clamped as its activation function says."""
    scale, zero_point = grid
    low, high = 0, 2**bits - 1
    match layer:
        case None:
            pass
        case Clamped():
            low = max(low, _on_grid(layer.low, scale, zero_point))
            high = min(high, _on_grid(layer.high, scale, zero_point))
        case Pooling() | Slicing() | PixelShuffle() | Concatenation():
            low, high = copied_bounds(sources, scale, zero_point) or (low, high)
        case unknown:
            assert_never(unknown)
    return FeatureMap(integer_name(name), shape, scale, zero_point, low, high)


def _on_grid(bound: float, scale: np.float32, zero_point: int) -> int:
    """The integer nearest to the real ``bound``, held within +-2**20."""
    steps = np.rint(np.clip(np.float64(bound) / np.float64(scale), -(2.0**20), 2.0**20))
    return int(steps) + zero_point
