"""Which tensors of a quantized graph have no rows and columns in its ONNX file: those after fully connected layers."""

from __future__ import annotations

from .errors import unknown_kind
from .layers import (
    AveragePool,
    Concat,
    Conv,
    Graph,
    Layer,
    MaxPool,
    Normalization,
    Table,
)
from .moves import DepthToSpace, Selection
from .of_two import Add, Extremum, Multiply


def flat_tensors(graph: Graph) -> set[str]:
    """Tensors that the file holds as (N, channels) instead of (N, channels, rows, columns)."""
    found: set[str] = set()
    for layer in graph.layers:
        if _is_flat(layer, all(name in found for name in layer.inputs)):
            found.add(layer.output)
    return found


def _is_flat(layer: Layer, inputs_are: bool) -> bool:
    """Whether ``layer`` makes a flat tensor, if all its ``inputs_are``, or are not."""
    match layer:
        case Conv():
            return layer.operator == "Gemm"
        case Concat():
            return inputs_are and layer.axis == 1
        case Add() | Extremum() | Multiply() | Table() | Selection():
            return inputs_are
        case MaxPool() | AveragePool() | Normalization() | DepthToSpace():
            return False
        case unknown:
            unknown_kind(unknown)
