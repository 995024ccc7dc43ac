"""Post-training quantization: calibrate a float network on the user's data and choose every integer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never

import numpy as np
import onnx

from ..arithmetic.weightless import copied_bounds, layer_without_weights
from ..graph import (
    Conv,
    FeatureMap,
    Graph,
    Layer,
    Shape,
    Sums,
    Tensor,
)
from ..graph.errors import DataError
from ..graph.legality import check
from ..graph.ports import by_name, integer_name
from ..graph.progress import Counting
from ..networks.execute import run_float
from ..networks.layers import (
    INFINITY,
    Clamped,
    Concatenation,
    Convolution,
    FloatGraph,
    Floats,
    Function,
    PixelShuffle,
    Pooling,
    Simple,
    Slicing,
    refusal,
    simple,
)
from ..networks.passes import simplify
from ..networks.shapes import shapes
from ..onnx.budget import check_memory
from ..onnx.importer import import_onnx
from .equalize import equalized_if_narrow
from .grids import grids, groups
from .histogram import Histogram
from .learned import learn_weights
from .range_search import Grid
from .reconstruction import Reconstruction
from .sampling import batch_size, some_images
from .settings import Settings
from .weights import QuantizedWeights, quantize_weights, reach_of
from .widths import learns, map_bits, weight_bits


def load_float(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network of an ONNX model (path or ModelProto), as what can be quantized.  Raises ModelError."""
    network = simplify(import_onnx(source))
    check_memory(network.inputs, network.layers, shapes(network))
    return network


def quantize(
    model: FloatGraph | onnx.ModelProto | str | Path,
    calibration: Floats | Mapping[str, Floats],
    settings: Settings | None = None,
    progress: Counting | None = None,
) -> Graph:
    """Quantize ``model`` with ranges seen on ``calibration``, float32 of (N, C, rows, columns), by name if several.

    Raises ModelError if the model is not supported and DataError if the calibration does not fit it.
    """
    settings = settings or Settings()
    network = simplify(model) if isinstance(model, FloatGraph) else load_float(model)
    images = _checked(network, calibration)
    network = equalized_if_narrow(network, images, settings)
    histograms = observe(network, images, progress)
    return build(network, histograms, settings, images if learns(network, settings) else None)


def check_images(images: Floats, shape: Shape, what: str) -> None:
    """Raises DataError unless ``images`` is finite float32 of (N, *shape) with N of at least 1."""
    expected = "Nx" + "x".join(str(size) for size in shape)
    if images.dtype != np.float32:
        raise DataError(f"{what} has type {images.dtype}; it must be float32")
    if images.shape[1:] != shape or images.ndim != 4:
        found = "x".join(str(size) for size in images.shape) or "a single number"
        raise DataError(f"{what} has shape {found}; the model takes {expected}")
    if len(images) == 0:
        raise DataError(f"{what} holds no images; at least one is needed")
    if not np.isfinite(images).all():
        raise DataError(
            f"{what} contains NaN or infinity in image {int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))}"
        )


def observe(
    network: FloatGraph, calibration: Floats | Mapping[str, Floats], progress: Counting | None = None
) -> dict[str, Histogram]:
    """A histogram of every tensor of a simplified ``network`` over ``calibration``, batch by batch."""
    given = _checked(network, calibration)
    histograms = {name: Histogram() for name in (*network.inputs, *(layer.output for layer in network.layers))}
    batch, count = batch_size(network), len(next(iter(given.values())))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # the histogram finds and names it
        for start in range(0, count, batch):
            some = {name: images[start : start + batch] for name, images in given.items()}
            for name, values in run_float(network, some):
                histograms[name].add(name, values)
            if progress:
                progress(min(start + batch, count), count)
    return histograms


def _checked(network: FloatGraph, calibration: Floats | Mapping[str, Floats]) -> dict[str, Floats]:
    """The images of ``calibration`` by input.  Raises DataError if they do not fit ``network``."""
    given = by_name(calibration, network.inputs)
    for name, images in given.items():
        where = "the calibration data" if len(given) == 1 else f"the calibration data of '{name}'"
        check_images(images, network.inputs[name], where)
    return given


def build(
    network: FloatGraph,
    histograms: Mapping[str, Histogram],
    settings: Settings,
    images: Mapping[str, Floats] | None = None,
    progress: Counting | None = None,
) -> Graph:
    """The quantized graph of a simplified ``network`` whose tensors have these ``histograms``.

    images : by input, what to learn rounding from, as far as memory allows; without them it is to the nearest
    progress : of (layers done, layers in all) while it learns
    """
    size, group = shapes(network), groups(network)
    narrow, bits = weight_bits(network, settings), map_bits(network, group, settings)
    grid = grids(network, histograms, group, bits, settings)
    inputs = [_map(name, shape, grid[name], bits[name]) for name, shape in network.inputs.items()]
    tensors: dict[str, Tensor] = {source.name: source for source in inputs}
    learning = None
    if images is not None:
        learning = Reconstruction(network, some_images(network, images), settings.seed)
        for name in network.inputs:
            learning.start(name, tensors[integer_name(name)])
    readers = network.readers()
    layers: list[Layer] = []
    for number, layer in enumerate(map(simple, network.layers)):
        sources = [tensors[integer_name(name)] for name in layer.inputs]
        maps = [source for source in sources if isinstance(source, FeatureMap)]
        target = _map(layer.output, size[layer.output], grid[layer.output], bits[layer.output], layer, maps)
        made: Tensor = target
        integers = None
        if isinstance(layer, Convolution):
            own = settings.of(narrow[layer.name])
            reach = reach_of(maps[0])
            integers = quantize_weights(layer, maps[0].scale, reach, own)
            if learning is not None:
                integers = learn_weights(layer, learning.samples(layer), integers, maps[0].scale, reach, own)
            if layer.output in network.outputs and not readers[layer.output] and _hands_out_sums(layer):
                made = Sums(layer.output, target.shape, maps[0].scale * integers.scales)
            layers.append(_conv(layer, maps[0], made, integers))
        else:
            _check_poles(layer, maps[0])
            layers.append(layer_without_weights(layer, tuple(maps), target))
        tensors[made.name] = made
        if learning is not None:
            learning.made(layer, made, integers, maps[0])
            if progress:
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
