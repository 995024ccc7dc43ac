"""Run a quantized graph: every tensor of it, as integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from itertools import takewhile
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import Conv, FeatureMap, Graph
from ..quant.graph.errors import DataError
from ..quant.graph.flat import flat_tensors
from ..quant.graph.host import HostArray, Reshape, Transpose, apply_steps
from ..quant.graph.ports import by_name
from .layer import (
    FEW_POSITIONS,
    Ready,
    compute,
    make_ready,
)
from .requantize import dequantize, quantize
from .storage import storage

Integers = NDArray[Any]
Progress = Callable[[int, int], None]  # images done, images in all
CHUNK_VALUES = 2**21  # elements of the largest tensor, or matrix of windows, of one chunk


def run(
    graph: Graph,
    x_q: Integers | Mapping[str, Integers],
    only: Collection[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Integers]:
    """Every tensor of ``graph`` by name for the input integers ``x_q``, (N, C, rows, columns), by name if several.

    Maps come in the narrowest of uint8, int8, uint16 and int16 that holds them, sums in int32.  ``only`` names the
    tensors to keep, by default all.  Raises DataError if ``x_q`` does not fit the graph's input.
    """
    inputs = by_name(x_q, graph.inputs)
    for name, values in inputs.items():
        _check_input(values, graph.map_of(name))
        inputs[name] = values.astype(storage(graph.map_of(name)), copy=False)
    count = len(inputs[graph.inputs[0]])
    kept = set(graph.tensors) if only is None else only
    chunk = chunk_size(graph)
    result: dict[str, Integers] = {}
    for name, tensor in graph.tensors.items():
        if name in kept:
            kind = storage(tensor) if isinstance(tensor, FeatureMap) else np.dtype(np.int32)
            result[name] = np.empty((count, *tensor.shape), kind)
    ready: dict[str, Ready] | None = {} if count > chunk else None
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        some = {name: values[part] for name, values in inputs.items()}
        for name, values in _run_chunk(graph, some, kept, ready).items():
            result[name][part] = values
        if progress:
            progress(min(start + chunk, count), count)
    return result


def _run_chunk(
    graph: Graph, inputs: Mapping[str, Integers], kept: Collection[str], ready: dict[str, Ready] | None
) -> dict[str, Integers]:
    """The tensors of ``kept``; others are forgotten once their last reader has run, and so is what was made ready,

    but for what ``ready`` keeps for the next chunk.
    """
    left = Counter(name for layer in graph.layers for name in layer.inputs)
    found = dict(inputs)
    for layer in graph.layers:
        if ready is None:
            made = make_ready(layer, graph)
        else:
            made = ready[layer.output] = ready.get(layer.output) or make_ready(layer, graph)
        found[layer.output] = compute(layer, [found[name] for name in layer.inputs], graph, made)
        for name in layer.inputs:
            left[name] -= 1
            if not left[name] and name not in kept:
                found.pop(name, None)
    return {name: values for name, values in found.items() if name in kept}


def quantize_input(graph: Graph, images: NDArray[np.float32]) -> Integers:
    """The integers of the only input for float32 ``images``, (N, C, rows, columns)."""
    return quantize_inputs(graph, {graph.input: images})[graph.input]


def quantize_inputs(graph: Graph, images: Mapping[str, NDArray[np.float32]]) -> dict[str, Integers]:
    """The integers of each input for its float32 ``images``, (N, C, rows, columns), as ONNX QuantizeLinear makes them.

    Both by the names of ``graph.inputs``.
    """
    maps = {name: graph.map_of(name) for name in graph.inputs}
    return {name: quantize(images[name], source).astype(storage(source)) for name, source in maps.items()}


def output(
    graph: Graph, images: NDArray[np.float32], progress: Progress | None = None
) -> tuple[NDArray[np.float32], Integers]:
    """``outputs`` of a network that has one of each: for float32 ``images``, (N, C, rows, columns)."""
    return outputs(graph, {graph.input: images}, progress)[graph.output]


def outputs(
    graph: Graph, images: Mapping[str, NDArray[np.float32]], progress: Progress | None = None
) -> dict[str, tuple[NDArray[Any], Integers]]:
    """What the model's file outputs for float32 ``images``, by the names of ``graph.outputs``: reals and integers.

    The reals are what the host makes of the integers, as the model's file has it, ``graph.arrays``; otherwise both are
    (N, outputs) after a fully connected layer, else (N, outputs, rows, columns).
    images : of each input by name, (N, C, rows, columns)
    """
    integers = run(graph, quantize_inputs(graph, images), graph.outputs, progress)
    flat = flat_tensors(graph)
    found = {}
    for name in graph.outputs:
        values = integers[name].reshape(len(integers[name]), -1) if name in flat else integers[name]
        reals = dequantize(integers[name], graph.tensors[name])
        array = graph.arrays.get(name)
        found[name] = (apply_steps(array.steps, reals) if array else reals.reshape(values.shape)), values
    return found


def scores(graph: Graph, integers: Integers) -> NDArray[np.float32]:
    """What the first output, whose ``integers`` these are, says of each class, (N, classes): see ``arranged``."""
    first = graph.outputs[0]
    tensor = graph.tensors[first]
    return arranged(dequantize(integers.reshape(-1, *tensor.shape), tensor), graph.arrays.get(first))


def arranged(reals: NDArray[np.float32], array: HostArray | None) -> NDArray[np.float32]:
    """An output's ``reals``, (N, channels, rows, columns), in the order of the model's file, (N, values).

    As they are before the host's softmax or argmax, which leave the highest the highest.
    """
    steps = takewhile(lambda step: isinstance(step, Reshape | Transpose), array.steps if array else ())
    return apply_steps(tuple(steps), reals).reshape(len(reals), -1)


def chunk_size(graph: Graph) -> int:
    """Images that are computed at once, 1 to 256, so that memory stays bounded whatever their number."""
    largest = max(prod(tensor.shape) for tensor in graph.tensors.values())
    for layer in graph.layers:
        _, rows, columns = graph.tensors[layer.output].shape
        if isinstance(layer, Conv) and rows * columns < FEW_POSITIONS:
            largest = max(largest, rows * columns * layer.weights[0].size * layer.groups)
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
