"""One layer of the quantized graph as the float operator that stands between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import numpy as np

from ..arithmetic.normalization import normalization
from ..arithmetic.tables import table
from ..arithmetic.weightless import copied_bounds
from ..graph import (
    LOOKUP,
    Add,
    AveragePool,
    Concat,
    Conv,
    Extremum,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Table,
)
from ..graph.errors import GraphError, unknown_kind
from ..networks.functions import DEFAULTS
from ..networks.layers import Function
from ..onnx.windows import ceil_pads

Attributes = dict[str, Any]


def node_of(layer: Layer, graph: Graph) -> tuple[str, Attributes]:
    """Operator and attributes of ``layer`` of ``graph``.  Raises GraphError if no operator computes its tables."""
    match layer:
        case Conv():
            return _convolution(layer)
        case MaxPool():
            return "MaxPool", _window(layer)
        case AveragePool():
            return _average(layer, graph.map_of(layer.input))
        case Add() | Extremum():
            return layer.operator, {}
        case Multiply():
            return "Mul", {}
        case Concat():
            return "Concat", {"axis": 1}
        case Table():
            return _function(layer, graph.map_of(layer.input), graph.map_of(layer.output))
        case Normalization():
            return _normalization(layer, graph.map_of(layer.input), graph.map_of(layer.output))
        case unknown:
            unknown_kind(unknown)


def constants_of(layer: Layer) -> list[tuple[str, Any]]:
    """What ``layer``'s node reads besides maps, weights and biases: role and value."""
    if isinstance(layer, Table) and layer.operator == "Clip":
        return [(role, np.float32(layer.attributes[role])) for role in ("min", "max")]
    return []


def clamps(layer: Layer, sources: Sequence[FeatureMap], target: FeatureMap) -> bool:
    """Whether values outside the output's low..high can reach its QuantizeLinear."""
    match layer:
        case MaxPool():
            return False
        case Concat():
            return copied_bounds(sources, target.scale, target.zero_point) is None
        case Conv() | AveragePool() | Add() | Extremum() | Multiply() | Table() | Normalization():
            return True
        case unknown:
            unknown_kind(unknown)


def _convolution(layer: Conv) -> tuple[str, Attributes]:
    match layer.operator:
        case "Gemm":
            return "Gemm", {"transB": 1}
        case "Conv":
            return "Conv", _window(layer) | {"dilations": layer.dilations, "group": layer.groups}
        case unknown:
            assert_never(unknown)


def _window(layer: Conv | MaxPool | AveragePool) -> Attributes:
    return {"kernel_shape": layer.kernel, "strides": layer.strides, "pads": layer.pads}


def _average(layer: AveragePool, source: FeatureMap) -> tuple[str, Attributes]:
    if layer.kernel == source.shape[1:] and not any(layer.pads):
        return "GlobalAveragePool", {}
    top, left, bottom, right = layer.pads
    pads = top, left, bottom - layer.ceil[0], right - layer.ceil[1]
    grown = ceil_pads((source.shape[1], source.shape[2]), layer.kernel, layer.strides, pads)
    if any(layer.ceil) and grown != layer.pads:
        raise GraphError(
            f"layer '{layer.name}': pads {layer.pads} with ceil {layer.ceil} are not what ONNX's ceil_mode makes,"
            f" {grown}; ONNX has no such node"
        )
    extra = {"pads": pads, "count_include_pad": int(layer.include_pad), "ceil_mode": int(any(layer.ceil))}
    return "AveragePool", _window(layer) | extra


def _function(layer: Table, source: FeatureMap, target: FeatureMap) -> tuple[str, Attributes]:
    if layer.operator == LOOKUP:
        return LOOKUP, {}
    if layer.operator not in DEFAULTS:
        raise GraphError(f"layer '{layer.name}': {layer.operator} is not one of {', '.join((*DEFAULTS, LOOKUP))}")
    function = Function(layer.name, layer.operator, layer.inputs, layer.output, layer.attributes)
    expected = table(function, source, target)
    if not np.array_equal(layer.values, expected):
        raise GraphError(f"layer '{layer.name}': its table is not that of {layer.operator}; ONNX has no such node")
    return layer.operator, {} if layer.operator == "Clip" else dict(layer.attributes)


def _normalization(layer: Normalization, source: FeatureMap, target: FeatureMap) -> tuple[str, Attributes]:
    parameters = layer.size, layer.alpha, layer.beta, layer.bias
    made = normalization(layer.name, source, target, *parameters)
    same = (made.shift, made.exponent) == (layer.shift, layer.exponent)
    if not (same and np.array_equal(made.coarse, layer.coarse) and np.array_equal(made.fine, layer.fine)):
        raise GraphError(f"layer '{layer.name}': its tables are not those of its LRN; ONNX has no such node")
    return "LRN", dict(zip(("size", "alpha", "beta", "bias"), parameters, strict=True))
