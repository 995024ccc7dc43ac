"""Fully connected layers become convolutions that cover their whole input, and flattenings fall away."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Shape
from .layers import (
    Addition,
    Clamp,
    Convolution,
    Dense,
    Flatten,
    FloatGraph,
    FloatLayer,
    Function,
    refusal,
)
from .shapes import next_shape

# Layers that do not care how values are arranged.
POINTWISE = (Clamp, Function, Addition)


def lower_dense(graph: FloatGraph) -> FloatGraph:
    """Turn fully connected layers, with a flattening before, into convolutions that cover their whole input.

    A flattened map keeps its rows and columns, and the layer that reads it its name.
    """
    found: list[FloatLayer] = []
    sizes: dict[str, Shape] = dict(graph.inputs)  # as the maps are, not flattened
    flat: dict[str, Flatten] = {}  # tensors that the model takes for flat although they have rows and columns
    source: dict[str, str] = {}  # what to read instead of a flattening's output
    for layer in graph.layers:
        before = next((flat[name] for name in layer.inputs if name in flat), None)
        layer = replace(layer, inputs=tuple(source.get(name, name) for name in layer.inputs))
        if isinstance(layer, Flatten):
            source[layer.output] = layer.inputs[0]
            flat[layer.output] = before or layer
            continue
        if isinstance(layer, Dense):
            weights = layer.weights.reshape(layer.weights.shape[0], *sizes[layer.inputs[0]])
            layer = Convolution(layer.name, "Gemm", layer.inputs, layer.output, weights, layer.bias)
        elif before is not None and isinstance(layer, POINTWISE):
            flat[layer.output] = before
        elif before is not None:
            raise refusal(layer, f"follows the flattening '{before.name}'; only a fully connected layer may")
        sizes[layer.output] = next_shape(layer, [sizes[name] for name in layer.inputs])
        found.append(layer)
    if before := next((flat[name] for name in graph.outputs if name in flat), None):
        raise refusal(before, "no fully connected layer follows it; leave the last tensor in its NxCxHxW shape")
    return graph.with_layers(found)
