"""A pooling over a large map becomes two in a row: of parts of it, and of what these give."""

from __future__ import annotations

from math import isqrt

from .layers import Average, FloatGraph, FloatLayer, Pooling
from .shapes import shapes

LARGEST_MAXIMUM = 16
"""Rows or columns of a maximum over a whole axis; of more it is taken in two steps, which need fewer sums at once."""

LARGEST_AVERAGE = 256
"""Rows or columns that an average may take; a larger one is the average of parts of one length, if there are such."""


def split_windows(graph: FloatGraph) -> FloatGraph:
    """Maxima and averages over whole axes, in two steps where they are large.

    A maximum in two steps is the same; an average is rounded once more.
    """
    found: list[FloatLayer] = []
    sizes = shapes(graph)
    for layer in graph.layers:
        if not isinstance(layer, Pooling | Average) or any(layer.pads):
            found.append(layer)
            continue
        size = sizes[layer.inputs[0]][1:]
        parts = [_part(layer, *axis) for axis in zip(layer.kernel, size, strict=True)]
        if parts == [1, 1]:
            found.append(layer)
            continue
        first = parts[0], parts[1]
        second = -(-layer.kernel[0] // first[0]), -(-layer.kernel[1] // first[1])
        pads = 0, 0, first[0] * second[0] - layer.kernel[0], first[1] * second[1] - layer.kernel[1]
        names = f"{layer.name}/parts", layer.operator, layer.inputs, f"{layer.output}/parts"
        rest = layer.name, layer.operator, names[3:], layer.output
        if isinstance(layer, Pooling):
            found += [Pooling(*names, first, first, pads), Pooling(*rest, second, (1, 1), (0, 0, 0, 0))]
        else:
            found += [Average(*names, first, first), Average(*rest, second, low=layer.low, high=layer.high)]
    return graph.with_layers(found)


def _part(layer: Pooling | Average, kernel: int, length: int) -> int:
    """The first step's kernel along an axis of ``length``; 1 if one step does."""
    if kernel != length:
        return 1
    if isinstance(layer, Pooling):
        return 1 if length <= LARGEST_MAXIMUM else isqrt(length - 1) + 1
    if length <= LARGEST_AVERAGE:
        return 1
    return next((part for part in range(isqrt(length), 1, -1) if length % part == 0), 1)
