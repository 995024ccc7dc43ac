"""Post-training quantization: calibrate a float network on the user's data and choose every integer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from ..graph import FeatureMap, Graph, Shape
from ..graph.errors import DataError
from ..graph.ports import by_name
from ..graph.progress import Counting, uncounted
from ..networks.execute import run_float
from ..networks.layers import Convolution, FloatGraph, Floats
from ..networks.passes import simplify
from ..networks.shapes import shapes
from ..onnx.budget import check_memory
from ..onnx.importer import import_onnx
from .assembly import assembled
from .equalize import equalized_if_narrow
from .grids import grids, groups
from .histogram import Histogram
from .learned import learn_weights
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
    group = groups(network)
    narrow, bits = weight_bits(network, settings), map_bits(network, group, settings)
    grid = grids(network, histograms, group, bits, settings)
    learning = None
    if images is not None:
        learning = Reconstruction(network, some_images(network, images), settings.seed)

    def integers(layer: Convolution, source: FeatureMap) -> QuantizedWeights:
        own, reach = settings.of(narrow[layer.name]), reach_of(source)
        nearest = quantize_weights(layer, source.scale, reach, own)
        if learning is None:
            return nearest
        return learn_weights(layer, learning.samples(layer), nearest, source.scale, reach, own)

    return assembled(network, grid, bits, integers, learning, progress or uncounted)
