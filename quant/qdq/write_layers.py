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
    DepthToSpace,
    Extremum,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Pads,
    Selection,
    Table,
)
from ..graph.errors import GraphError, unknown_kind
from ..networks.functions import DEFAULTS
from ..networks.layers import Function

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
            return "Concat", {"axis": layer.axis}
        case Table():
            return _function(layer, graph.map_of(layer.input), graph.map_of(layer.output))
        case Normalization():
            return _normalization(layer, graph.map_of(layer.input), graph.map_of(layer.output))
        case Selection():
            return ("Slice", {}) if layer.spacing else ("Gather", {"axis": 1})
        case DepthToSpace():
            return "DepthToSpace", {"blocksize": layer.block[0], "mode": "DCR"}
        case unknown:
            unknown_kind(unknown)


def zeros_before(layer: Layer) -> Pads | None:
    """Zeros that a Pad puts around the map before ``layer``'s node, (top, left, bottom, right); None if there are none.

    With ``ceil_mode`` and ``count_include_pad`` ONNX Runtime's float kernel divides by what lies inside the pads, as
    ONNX says, and the integer kernel that it fuses by the whole window.  Zeros that are part of the map count in both.
    """
    if not isinstance(layer, AveragePool) or not any(layer.ceil):
        return None
    top, left, bottom, right = layer.pads
    return top, left, bottom - layer.ceil[0], right - layer.ceil[1]


def constants_of(layer: Layer, graph: Graph) -> list[tuple[str, Any]]:
    """What ``layer``'s node reads besides maps, weights and biases: role and value."""
    if isinstance(layer, Selection):
        return _selected(layer, graph.map_of(layer.input))
    if isinstance(layer, Table) and layer.operator == "Clip":
        return [(role, np.float32(layer.attributes[role])) for role in ("min", "max")]
    return []


def clamps(layer: Layer, sources: Sequence[FeatureMap], target: FeatureMap) -> bool:
    """Whether values outside the output's low..high can reach its QuantizeLinear."""
    match layer:
        case MaxPool() | Selection() | DepthToSpace():
            return False
        case Concat():
            return copied_bounds(sources, target.scale, target.zero_point) is None
        case Conv() | AveragePool() | Add() | Extremum() | Multiply() | Table() | Normalization():
            return True
        case unknown:
            unknown_kind(unknown)


def _selected(layer: Selection, source: FeatureMap) -> list[tuple[str, Any]]:
    """Inputs of a Gather of channels, or of a Slice of those axes of which not all is taken."""
    if not layer.spacing:
        return [("indices", np.array(layer.channels))]
    taken = (layer.channels[0], layer.spacing, len(layer.channels)), layer.rows, layer.columns
    axes = [n for n, length in enumerate(source.shape) if taken[n] != (0, 1, length)] or [0]
    first, steps, count = np.array([taken[n] for n in axes]).T
    ends = first + steps * (count - 1) + 1
    return [("starts", first), ("ends", ends), ("axes", np.array(axes) + 1), ("steps", steps)]


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
    if any(layer.ceil):
        return "AveragePool", _window(layer) | {"pads": (0, 0, *layer.ceil), "count_include_pad": 0}
    return "AveragePool", _window(layer) | {"count_include_pad": int(layer.include_pad)}


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
