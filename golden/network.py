"""Run a quantized graph: every tensor of it, as integers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.errors import DataError
from ..quant.graph import Conv, FeatureMap, Graph, requantization_scales
from .conv import convolve, reduction_parts
from .pool import max_pool
from .requantize import dequantize, quantize, requantize

Integers = NDArray[Any]
Progress = Callable[[int, int], None]  # images done, images in all
CHUNK_VALUES = 2**20  # elements of the largest im2col matrix of one chunk: it then stays in the cache


def run(
    graph: Graph, x_q: Integers, only: Collection[str] | None = None, progress: Progress | None = None
) -> dict[str, Integers]:
    """Every tensor of ``graph`` by name for the input integers ``x_q``, (N, C, rows, columns).

    Maps come in the narrowest of uint8, int8, uint16 and int16 that holds them, sums in int32.  ``only`` names the
    tensors to keep, by default all.  Raises DataError if ``x_q`` does not fit the graph's input.
    """
    source = graph.map_of(graph.input)
    _check_input(x_q, source)
    kept = set(graph.tensors) if only is None else only
    chunk = chunk_size(graph)
    parts = {
        layer.output: reduction_parts(layer, graph.map_of(layer.input))
        for layer in graph.layers
        if isinstance(layer, Conv)
    }
    result: dict[str, Integers] = {}
    for name, tensor in graph.tensors.items():
        if name in kept:
            kind = storage(tensor) if isinstance(tensor, FeatureMap) else np.dtype(np.int32)
            result[name] = np.empty((len(x_q), *tensor.shape), kind)
    for start in range(0, len(x_q), chunk):
        part = slice(start, start + chunk)
        for name, values in _run_chunk(graph, x_q[part].astype(storage(source)), parts).items():
            if name in kept:
                result[name][part] = values
        if progress:
            progress(min(start + chunk, len(x_q)), len(x_q))
    return result


def _run_chunk(graph: Graph, values: Integers, parts: Mapping[str, list[slice]]) -> dict[str, Integers]:
    found = {graph.input: values}
    for layer in graph.layers:
        if not isinstance(layer, Conv):
            values = max_pool(layer, values)
        else:
            values = convolve(layer, graph.map_of(layer.input), values, parts[layer.output])
            target = graph.tensors[layer.output]
            if isinstance(target, FeatureMap):
                scales = requantization_scales(layer, graph)
                values = requantize(values, scales, target).astype(storage(target))
        found[layer.output] = values
    return found


def quantize_input(graph: Graph, images: NDArray[np.float32]) -> Integers:
    """The input integers of float32 ``images``, (N, C, rows, columns), as ONNX QuantizeLinear makes them."""
    source = graph.map_of(graph.input)
    return quantize(images, source).astype(storage(source))


def output(
    graph: Graph, images: NDArray[np.float32], progress: Progress | None = None
) -> tuple[NDArray[np.float32], Integers]:
    """What the model's file outputs for float32 ``images``, (N, C, rows, columns): the reals, and their integers.

    Both are (N, outputs) if the last layer is fully connected, else (N, outputs, rows, columns).
    """
    integers = run(graph, quantize_input(graph, images), [graph.output], progress)[graph.output]
    reals = dequantize(integers, graph.tensors[graph.output])
    if graph.layers[-1].operator == "Gemm":
        return reals.reshape(len(reals), -1), integers.reshape(len(integers), -1)
    return reals, integers


def storage(tensor: FeatureMap) -> np.dtype[Any]:
    """The narrowest integer type that holds low..high of ``tensor``."""
    kinds = (np.dtype(kind) for kind in (np.uint8, np.int8, np.uint16, np.int16, np.int32))
    return next(
        kind for kind in kinds if np.iinfo(kind.name).min <= tensor.low and tensor.high <= np.iinfo(kind.name).max
    )


def chunk_size(graph: Graph) -> int:
    """Images that are computed at once, 1 to 256, so that memory stays bounded whatever their number."""
    largest = 1
    for layer in graph.layers:
        _, rows, columns = graph.tensors[layer.output].shape
        reduction = (
            layer.weights[0].size * layer.groups if isinstance(layer, Conv) else layer.kernel[0] * layer.kernel[1]
        )
        largest = max(largest, rows * columns * reduction)
    return max(1, min(256, CHUNK_VALUES // largest))


def _check_input(values: Integers, source: FeatureMap) -> None:
    if values.dtype.kind not in "iu":
        raise DataError(
            f"input '{source.name}' has type {values.dtype}; it must be integers (golden.quantize_input makes them)"
        )
    if values.ndim != 4 or values.shape[1:] != source.shape:
        raise DataError(
            f"input '{source.name}' has shape {values.shape}; it must be (N, {', '.join(map(str, source.shape))})"
        )
    if values.size and not (source.low <= values.min() and values.max() <= source.high):
        found = f"{values.min()}..{values.max()}"
        raise DataError(f"input '{source.name}' has values {found}; they must be {source.low}..{source.high}")
