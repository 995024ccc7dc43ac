"""Channels in another order, a channel shuffle for one, cost nothing where a convolution nearby can take it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeGuard

from ..graph import Shape
from .layers import Clamp, Convolution, FloatGraph, FloatLayer, Function, Slicing
from .shapes import shapes


def fold_channel_order(graph: FloatGraph) -> FloatGraph:
    """Order the outputs of the convolution before, past what treats all values alike, or the inputs of those after.

    Only convolutions of one group: in others each channel has its place.
    """
    size, readers, private = shapes(graph), graph.readers(), graph.private()
    found: dict[str, FloatLayer] = {}
    moved: dict[str, Slicing] = {}
    for layer in graph.layers:
        if isinstance(layer, Slicing) and _orders(layer, size):
            before = _convolution_before(layer.inputs[0], found, private)
            after = readers[layer.output]
            if before is not None:
                order = list(layer.channels)
                found[before.output] = replace(before, weights=before.weights[order], bias=before.bias[order])
                last = found.pop(layer.inputs[0])
                found[layer.output] = replace(last, output=layer.output)
                continue
            if layer.output in private and all(_has_one_group(reader) for reader in after):
                moved[layer.output] = layer
                continue
        if isinstance(layer, Convolution) and layer.inputs[0] in moved:
            slicing = moved[layer.inputs[0]]
            back = [slicing.channels.index(channel) for channel in range(len(slicing.channels))]
            layer = replace(layer, inputs=slicing.inputs, weights=layer.weights[:, back])
        found[layer.output] = layer
    return graph.with_layers(found.values())


def _orders(layer: Slicing, size: Mapping[str, Shape]) -> bool:
    """Whether ``layer`` takes all of its input, channels in another order."""
    channels, rows, columns = size[layer.inputs[0]]
    whole = (layer.rows, layer.columns) == ((0, 1, rows), (0, 1, columns))
    return whole and sorted(layer.channels) == list(range(channels))


def _convolution_before(name: str, found: Mapping[str, FloatLayer], private: Collection[str]) -> Convolution | None:
    """The convolution of one group that makes ``name``, or what a function of each value makes it of."""
    while name in private and isinstance(layer := found.get(name), Clamp | Function) and len(layer.inputs) == 1:
        name = layer.inputs[0]
    layer = found.get(name)
    return layer if name in private and _has_one_group(layer) else None


def _has_one_group(layer: FloatLayer | None) -> TypeGuard[Convolution]:
    return isinstance(layer, Convolution) and layer.groups == 1
