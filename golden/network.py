"""Run a quantized graph: every tensor of it, as integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.errors import DataError
from ..quant.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Table,
    requantization_scales,
)
from .add import add
from .average import average
from .concat import concat
from .conv import convolve, reduction_parts
from .normalization import normalize
from .pool import max_pool
from .requantize import dequantize, quantize, requantize
from .storage import storage
from .table import look_up

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
        for name, values in _run_chunk(graph, x_q[part].astype(storage(source)), parts, kept).items():
            result[name][part] = values
        if progress:
            progress(min(start + chunk, len(x_q)), len(x_q))
    return result


def _run_chunk(
    graph: Graph, values: Integers, parts: Mapping[str, list[slice]], kept: Collection[str]
) -> dict[str, Integers]:
    """The tensors of ``kept``; others are forgotten once their last reader has run."""
    left = Counter(name for layer in graph.layers for name in layer.inputs)
    found = {graph.input: values}
    for layer in graph.layers:
        target = graph.tensors[layer.output]
        made = compute(layer, [found[name] for name in layer.inputs], graph, parts.get(layer.output))
        found[layer.output] = made.astype(storage(target), copy=False) if isinstance(target, FeatureMap) else made
        for name in layer.inputs:
            left[name] -= 1
            if not left[name] and name not in kept:
                found.pop(name, None)
    return {name: values for name, values in found.items() if name in kept}


def compute(layer: Layer, values: list[Integers], graph: Graph, parts: list[slice] | None = None) -> Integers:
    """What ``layer`` of ``graph`` makes of its inputs' integers, (N, C, rows, columns) each."""
    sources = [graph.map_of(name) for name in layer.inputs]
    target = graph.tensors[layer.output]
    if isinstance(layer, Conv):
        sums = convolve(layer, sources[0], values[0], parts)
        return requantize(sums, requantization_scales(layer, graph), target) if isinstance(target, FeatureMap) else sums
    assert isinstance(target, FeatureMap)
    if isinstance(layer, MaxPool):
        return max_pool(layer, values[0])
    if isinstance(layer, AveragePool):
        return average(layer, values[0], sources[0], target)
    if isinstance(layer, Add):
        return add(values[0], values[1], (sources[0], sources[1]), target)
    if isinstance(layer, Concat):
        return concat(values, sources, target)
    if isinstance(layer, Table):
        return look_up(values[0], layer.values, sources[0])
    return normalize(layer, values[0], sources[0], target)


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
    last = next(layer for layer in graph.layers if layer.output == graph.output)
    if last.operator == "Gemm":
        return reals.reshape(len(reals), -1), integers.reshape(len(integers), -1)
    return reals, integers


def chunk_size(graph: Graph) -> int:
    """Images that are computed at once, 1 to 256, so that memory stays bounded whatever their number."""
    largest = 1
    for layer in graph.layers:
        channels, rows, columns = graph.tensors[layer.output].shape
        reduction = layer.weights[0].size * layer.groups if isinstance(layer, Conv) else channels
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
