"""Scales and shifts of their own for each value of an image: batch normalization of a flattened map, for one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..graph import Shape
from .layers import (
    Addition,
    Affine,
    Concatenation,
    Convolution,
    FloatGraph,
    FloatLayer,
    PixelShuffle,
    Product,
    Slicing,
    as_float32,
)
from .picking import MOST, pick
from .shapes import shapes


def fold_by_pixel(graph: FloatGraph) -> FloatGraph:
    """Fold each into the one before, or into the fully connected layers that read it; else see ``_apart``.

    ``W (s x + t) + b = (W s) x + (W t + b)``, computed in float64; what leaves float32 is refused where it ends.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _folded(graph)


def _folded(graph: FloatGraph) -> FloatGraph:
    size, readers, private = shapes(graph), graph.readers(), graph.private()
    found: dict[str, FloatLayer] = {}
    folded: dict[str, Affine] = {}
    for layer in graph.layers:
        before = found.get(layer.inputs[0])
        if isinstance(layer, Affine) and isinstance(before, Affine) and _joins(before, layer, private):
            layer = _after(before, layer, size[layer.output])
            del found[before.output]
        if isinstance(layer, Convolution) and layer.inputs[0] in folded:
            affine = folded[layer.inputs[0]]
            bias = layer.bias + (layer.weights * affine.shift.astype(np.float64)).sum(axis=(1, 2, 3))
            weights = as_float32(layer, layer.weights * affine.scale)
            layer = replace(layer, inputs=affine.inputs, weights=weights, bias=as_float32(layer, bias))
        found[layer.output] = layer
        if isinstance(layer, Affine) and layer.scale.ndim > 1:
            after = readers[layer.output]
            if layer.output not in graph.outputs and all(_covers(reader, size[layer.output]) for reader in after):
                folded[layer.output] = layer
                del found[layer.output]
    return graph.with_layers(part for layer in found.values() for part in _apart(layer, size))


def _joins(before: Affine, layer: Affine, private: Collection[str]) -> bool:
    """Whether one of two that follow each other has a value for each pixel, and only the second reads the first."""
    return {layer.scale.ndim, before.scale.ndim} != {1} and before.output in private


def _after(before: Affine, layer: Affine, shape: Shape) -> Affine:
    """``layer`` of ``before``, on a map of ``shape``, as one."""
    one, other = _spread(before, shape), _spread(layer, shape)
    shift = one.shift * other.scale + other.shift
    return replace(layer, inputs=before.inputs, scale=one.scale * other.scale, shift=shift)


def _spread(layer: Affine, shape: Shape) -> Affine:
    """``layer`` with a value for each of ``shape``."""
    if layer.scale.ndim > 1:
        return layer
    scale, shift = (np.broadcast_to(values[:, None, None], shape) for values in (layer.scale, layer.shift))
    return replace(layer, scale=scale, shift=shift)


def _covers(layer: FloatLayer, shape: Shape) -> bool:
    """Whether ``layer`` has a weight for each value of its input, of ``shape``, and no padding."""
    return isinstance(layer, Convolution) and layer.weights.shape[1:] == shape and not any(layer.pads)


def _apart(layer: FloatLayer, size: dict[str, Shape]) -> list[FloatLayer]:
    """``layer``, or if it has a value for each pixel: pixels as channels, scaled each, and back.

    Of more pixels than MOST, which cannot be channels each, it is a product and a sum with maps of those values.
    """
    if not isinstance(layer, Affine) or layer.scale.ndim == 1:
        return [layer]
    _, rows, columns = shape = size[layer.output]
    if rows * columns > MOST:
        return _with_maps(layer, shape)
    parts: list[FloatLayer] = []
    for place in range(rows * columns):
        one = f"{layer.name}/{place}"
        row, column = divmod(place, columns)
        parts += pick(one, layer.operator, layer.inputs[0], f"{one}_out", shape, {1: [row], 2: [column]})
    joined, scaled = f"{layer.name}/joined", f"{layer.name}/scaled"
    join = Concatenation(joined, layer.operator, tuple(part.output for part in parts), f"{joined}_out")
    scale, shift = (as_float32(layer, each.transpose(1, 2, 0).reshape(-1)) for each in (layer.scale, layer.shift))
    weights = scale.reshape(-1, 1, 1, 1)
    affine = Convolution(scaled, "Conv", (join.output,), f"{scaled}_out", weights, shift, groups=scale.size)
    back = PixelShuffle(layer.name, layer.operator, (affine.output,), layer.output, shape[1:])
    return [*parts, join, affine, back]


def _with_maps(layer: Affine, shape: Shape) -> list[FloatLayer]:
    """``layer`` as the product with a constant map, and the sum with another, of those that do something."""
    scales, shifts = bool((layer.scale != 1).any()), bool((layer.shift != 0).any())
    if not scales and not shifts:
        return pick(layer.name, layer.operator, layer.inputs[0], layer.output, shape, {})
    made: list[FloatLayer] = []
    (source,) = layer.inputs
    if scales:
        made += _constant(layer, "scale", layer.scale)
        name, output = (f"{layer.name}/scaled", f"{layer.output}/scaled") if shifts else (layer.name, layer.output)
        made.append(Product(name, "Mul", (source, made[-1].output), output))
        source = output
    if shifts:
        made += _constant(layer, "shift", layer.shift)
        made.append(Addition(layer.name, "Add", (source, made[-1].output), layer.output))
    return made


def _constant(layer: Affine, role: str, values: NDArray[np.float64]) -> list[FloatLayer]:
    """A map of ``values``, (channels, rows, columns), whatever ``layer`` reads: biases of a pixel that counts 0 times.

    The biases are the channels of one pixel, and become rows and columns.
    """
    names = [(f"{layer.name}/{role}/{part}", f"{layer.output}/{role}/{part}") for part in ("pixel", "values", "map")]
    (pixel, one), (flat, each), (whole, output) = names
    bias = as_float32(layer, values.transpose(1, 2, 0).reshape(-1))
    return [
        Slicing(pixel, layer.operator, layer.inputs, one, (0,), (0, 1, 1), (0, 1, 1)),
        Convolution(flat, "Conv", (one,), each, np.zeros((bias.size, 1, 1, 1), np.float32), bias),
        PixelShuffle(whole, layer.operator, (each,), output, (values.shape[1], values.shape[2])),
    ]
