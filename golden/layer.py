"""One layer of a quantized graph, whichever it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    Extremum,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Selection,
    Table,
    requantization_scales,
)
from ..quant.graph.errors import unknown_kind
from .add import add, pair_differences, pair_sums
from .average import average
from .concat import concat
from .conv import Kernel, convolve, prepare
from .depth_to_space import depth_to_space
from .extremum import extremum
from .multiply import multiply
from .normalization import normalize
from .pool import max_pool
from .requantize import requantize
from .select import select
from .storage import storage
from .table import look_up

Integers = NDArray[Any]
FEW_POSITIONS = 256  # maps smaller than this share one matrix product with the other images


@dataclass(frozen=True, eq=False)
class Ready:
    """What a layer computes once for all images: a convolution's kernel, the sums of all pairs."""

    kernel: Kernel | None = None
    pairs: Integers | None = None


def make_ready(layer: Layer, graph: Graph) -> Ready:
    """What ``layer`` of ``graph`` needs besides its inputs."""
    sources = [graph.map_of(name) for name in layer.inputs]
    match layer:
        case Conv():
            return Ready(kernel=prepare(layer, sources[0]))
        case Add():
            pairs = pair_differences if layer.operator == "Sub" else pair_sums
            return Ready(pairs=pairs(sources[0], sources[1], graph.map_of(layer.output)))
        case (
            MaxPool()
            | AveragePool()
            | Extremum()
            | Multiply()
            | Concat()
            | Table()
            | Normalization()
            | Selection()
            | DepthToSpace()
        ):
            return Ready()
        case unknown:
            unknown_kind(unknown)


def compute(layer: Layer, values: list[Integers], graph: Graph, ready: Ready) -> Integers:
    """What ``layer`` of ``graph`` makes of its inputs' integers, (N, C, rows, columns) each, in its map's own type."""
    sources = [graph.map_of(name) for name in layer.inputs]
    match layer:
        case Conv():
            return _convolved(layer, values[0], graph, ready)
        case MaxPool():
            return max_pool(layer, values[0]).astype(storage(graph.map_of(layer.output)), copy=False)
        case AveragePool():
            return average(layer, values[0], sources[0], graph.map_of(layer.output))
        case Add():
            return add(values[0], values[1], (sources[0], sources[1]), graph.map_of(layer.output), ready.pairs)
        case Extremum():
            return extremum(layer, values[0], values[1], (sources[0], sources[1]), graph.map_of(layer.output))
        case Multiply():
            return multiply(values[0], values[1], (sources[0], sources[1]), graph.map_of(layer.output))
        case Concat():
            return concat(values, sources, graph.map_of(layer.output), layer.axis)
        case Table():
            return look_up(values[0], layer.values, sources[0]).astype(storage(graph.map_of(layer.output)))
        case Normalization():
            return normalize(layer, values[0], sources[0], graph.map_of(layer.output))
        case Selection():
            return select(layer, values[0]).astype(storage(graph.map_of(layer.output)), copy=False)
        case DepthToSpace():
            return depth_to_space(layer, values[0]).astype(storage(graph.map_of(layer.output)), copy=False)
        case unknown:
            unknown_kind(unknown)


def _convolved(layer: Conv, values: Integers, graph: Graph, ready: Ready) -> Integers:
    """Image by image, so that the windows of large maps stay in the cache; small maps are multiplied together."""
    source, target = graph.map_of(layer.input), graph.tensors[layer.output]
    kind = storage(target) if isinstance(target, FeatureMap) else np.dtype(np.int32)
    result = np.empty((len(values), *target.shape), kind)
    _, rows, columns = target.shape
    step = 1 if rows * columns >= FEW_POSITIONS else max(1, len(values))
    for start in range(0, len(values), step):
        sums = convolve(layer, source, values[start : start + step], ready.kernel)
        if isinstance(target, FeatureMap):
            sums = requantize(sums, requantization_scales(layer, graph), target)
        result[start : start + step] = sums
    return result
