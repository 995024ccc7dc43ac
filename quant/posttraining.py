"""Post-training quantization: calibrate a float network on the user's data and choose every integer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from .activations import choose_grid
from .errors import DataError
from .execute import run_float
from .floats import INFINITY, Convolution, FloatGraph, Floats, Pooling, shapes
from .graph import Conv, FeatureMap, Graph, Layer, MaxPool, Shape, Sums, Tensor, check
from .histogram import Histogram
from .importer import import_onnx
from .passes import simplify
from .settings import Settings
from .weights import QuantizedWeights, quantize_weights

Progress = Callable[[int, int], None]  # images done, images in all
BATCH_VALUES = 2**23  # floats of the largest im2col matrix of one batch


def load_float(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network of an ONNX model (path or ModelProto) as convolutions and poolings only.  Raises ModelError."""
    return simplify(import_onnx(source))


def quantize(
    model: FloatGraph | onnx.ModelProto | str | Path,
    calibration: Floats,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Graph:
    """Quantize ``model`` with ranges seen on ``calibration``, float32 of (N, C, rows, columns).

    Raises ModelError if the model is not supported and DataError if the calibration does not fit it.
    """
    settings = settings or Settings()
    network = simplify(model) if isinstance(model, FloatGraph) else load_float(model)
    histograms = observe(network, calibration, progress)
    return build(network, histograms, settings)


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


def observe(network: FloatGraph, calibration: Floats, progress: Progress | None = None) -> dict[str, Histogram]:
    """A histogram of every tensor of a simplified ``network`` over ``calibration``, batch by batch."""
    check_images(calibration, network.shape, "the calibration data")
    histograms = {network.input: Histogram()} | {layer.output: Histogram() for layer in network.layers}
    batch = batch_size(network)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is found, and named, by the histogram
        for start in range(0, len(calibration), batch):
            for name, values in run_float(network, calibration[start : start + batch]):
                histograms[name].add(name, values)
            if progress:
                progress(min(start + batch, len(calibration)), len(calibration))
    return histograms


def batch_size(network: FloatGraph) -> int:
    """Images that fit a bounded im2col matrix, 1 to 64."""
    largest = 1
    for layer, (_, rows, columns) in zip(network.layers, shapes(network)[1:], strict=True):
        if isinstance(layer, Convolution):
            largest = max(largest, rows * columns * layer.weights[0].size * layer.groups)
    return max(1, min(64, BATCH_VALUES // largest))


def build(network: FloatGraph, histograms: dict[str, Histogram], settings: Settings) -> Graph:
    """The quantized graph of a simplified ``network`` whose tensors have these ``histograms``."""
    found = shapes(network)
    source = _map(network, -1, found[0], histograms, settings)
    tensors: dict[str, Tensor] = {source.name: source}
    layers: list[Layer] = []
    for index, layer in enumerate(network.layers):
        shape = found[index + 1]
        if isinstance(layer, Pooling):
            target: Tensor = replace(source, name=integer_name(layer.output), shape=shape)
            layers.append(MaxPool(layer.name, source.name, target.name, layer.kernel, layer.strides, layer.pads))
        elif isinstance(layer, Convolution):
            reach = max(source.high - source.zero_point, source.zero_point - source.low)
            integers = quantize_weights(layer, source.scale, reach, settings)
            if index == len(network.layers) - 1 and _hands_out_sums(layer):
                target = Sums(layer.output, shape, source.scale * integers.scales)
            else:
                target = _map(network, index, shape, histograms, settings)
            layers.append(_conv(layer, source.name, target.name, integers))
        else:
            raise TypeError(f"{type(layer).__name__} must be simplified away before quantizing")
        tensors[target.name] = target
        if isinstance(target, FeatureMap):
            source = target
    return check(Graph(integer_name(network.input), layers[-1].output, tuple(layers), tensors))


def integer_name(name: str) -> str:
    """Name of the integers of the float tensor ``name``, as ONNX Runtime's quantizer spells it."""
    return f"{name}_quantized"


def _hands_out_sums(layer: Convolution) -> bool:
    return layer.operator == "Gemm" and layer.low == -INFINITY and layer.high == INFINITY


def _conv(layer: Convolution, source: str, target: str, integers: QuantizedWeights) -> Conv:
    return Conv(
        layer.name,
        layer.operator,
        source,
        target,
        integers.weights,
        integers.scales,
        integers.bias,
        layer.strides,
        layer.pads,
        layer.dilations,
        layer.groups,
    )


def _map(
    network: FloatGraph, index: int, shape: Shape, histograms: Mapping[str, Histogram], settings: Settings
) -> FeatureMap:
    """The map that layer ``index`` makes (-1: the input), clamped as its activation function says.

    Max poolings that follow share its grid, and only what they let through matters, so that is what is calibrated.
    """
    last = index
    while last + 1 < len(network.layers) and isinstance(network.layers[last + 1], Pooling):
        last += 1
    observed = histograms[network.layers[last].output if last >= 0 else network.input]
    scale, zero_point = choose_grid(observed, settings)
    low, high = 0, 2**settings.activation_bits - 1
    layer = network.layers[index] if index >= 0 else None
    if isinstance(layer, Convolution):
        low = max(low, _on_grid(layer.low, scale, zero_point))
        high = min(high, _on_grid(layer.high, scale, zero_point))
    name = layer.output if layer else network.input
    return FeatureMap(integer_name(name), shape, scale, zero_point, low, high)


def _on_grid(bound: float, scale: np.float32, zero_point: int) -> int:
    """The integer nearest to the real ``bound``, held within +-2**20."""
    steps = np.rint(np.clip(np.float64(bound) / np.float64(scale), -(2.0**20), 2.0**20))
    return int(steps) + zero_point
