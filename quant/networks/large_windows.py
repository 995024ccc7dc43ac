"""A pooling over a large map becomes several in a row: of parts of it, and of what these give."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from ..graph import Pair
from .layers import Average, FloatGraph, FloatLayer, Pooling
from .shapes import shapes

LARGEST_MAXIMUM = 16
"""Rows or columns of a maximum over a whole axis; of more it is taken in steps, which need fewer sums at once."""

LARGEST_AVERAGE = 256
"""Rows or columns that an average may take; a larger one is the average of parts of one length, if there are such."""


def split_windows(graph: FloatGraph) -> FloatGraph:
    """Maxima and averages over whole axes, in steps where they are large, none of which would be split again.

    A maximum in steps is the same; an average is rounded once more with each.
    """
    found: list[FloatLayer] = []
    sizes = shapes(graph)
    for layer in graph.layers:
        if isinstance(layer, Pooling | Average) and not any(layer.pads):
            _, rows, columns = sizes[layer.inputs[0]]
            found += _steps(layer, (rows, columns))
        else:
            found.append(layer)
    return graph.with_layers(found)


def _steps(layer: Pooling | Average, size: Pair) -> list[FloatLayer]:
    """``layer`` over a map of ``size``, (rows, columns), in as many steps as leave none that is large."""
    made: list[FloatLayer] = []
    rest: Pooling | Average = layer
    while (first := (_part(rest, rest.kernel[0], size[0]), _part(rest, rest.kernel[1], size[1]))) != (1, 1):
        parts = f"parts{len(made)}" if made else "parts"
        names = f"{layer.name}/{parts}", layer.operator, rest.inputs, f"{layer.output}/{parts}"
        second = -(-rest.kernel[0] // first[0]), -(-rest.kernel[1] // first[1])
        if isinstance(rest, Pooling):
            pads = 0, 0, first[0] * second[0] - rest.kernel[0], first[1] * second[1] - rest.kernel[1]
            made.append(Pooling(*names, first, first, pads))
        else:
            made.append(Average(*names, first, first))
        down, across = (1 if part > 1 else stride for part, stride in zip(first, rest.strides, strict=True))
        rest = replace(rest, inputs=names[3:], kernel=second, strides=(down, across))
        size = -(-size[0] // first[0]), -(-size[1] // first[1])
    return [*made, rest]


def _part(layer: Pooling | Average, kernel: int, length: int) -> int:
    """The first step's kernel along an axis of ``length``; 1 if one step does."""
    if kernel != length:
        return 1
    if isinstance(layer, Pooling):
        if length <= LARGEST_MAXIMUM:
            return 1
        part = max(isqrt(length - 1) + 1, -(-length // LARGEST_MAXIMUM))  # what two steps take
        return part if part <= 2 * LARGEST_MAXIMUM else LARGEST_MAXIMUM
    if length <= LARGEST_AVERAGE:
        return 1
    return next((part for part in range(isqrt(length), 1, -1) if length % part == 0), 1)
