"""Which tensors of a quantized graph have no rows and columns in its ONNX file: those after fully connected layers."""

from __future__ import annotations

from .layers import (
    Add,
    Concat,
    Graph,
    Table,
)


def flat_tensors(graph: Graph) -> set[str]:
    """Tensors that the file holds as (N, channels) instead of (N, channels, rows, columns)."""
    found: set[str] = set()
    for layer in graph.layers:
        pointwise = isinstance(layer, Add | Concat | Table)
        if layer.operator == "Gemm" or (pointwise and all(name in found for name in layer.inputs)):
            found.add(layer.output)
    return found
