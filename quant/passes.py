"""Passes over the float network, from what an exporter wrote to convolutions and poolings only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .errors import ModelError
from .floats import (
    Affine,
    Clamp,
    Convolution,
    Dense,
    Flatten,
    FloatGraph,
    FloatLayer,
    Pass,
    Pooling,
    Softmax,
    refusal,
    shapes,
)


def drop_passes(graph: FloatGraph) -> FloatGraph:
    """Remove layers that leave values as they are in inference; the layer before takes over the name of the output."""
    found: list[FloatLayer] = []
    for layer in graph.layers:
        if not isinstance(layer, Pass):
            found.append(layer)
        elif found:
            found[-1] = replace(found[-1], output=layer.output)
    return graph.with_layers(found)


def drop_last_softmax(graph: FloatGraph) -> FloatGraph:
    """Leave a last Softmax or LogSoftmax to the host; anywhere else it is refused."""
    for layer in graph.layers[:-1]:
        if isinstance(layer, Softmax):
            raise refusal(layer, "only works as the last layer, where it is left to the host")
    last = graph.layers[-1] if graph.layers else None
    if not isinstance(last, Softmax):
        return graph
    return replace(graph.with_layers(graph.layers[:-1]), dropped=(*graph.dropped, f"{last.operator} '{last.name}'"))


def lower_dense(graph: FloatGraph) -> FloatGraph:
    """Turn fully connected layers, with a flattening before, into convolutions that cover their whole input."""
    found: list[FloatLayer] = []
    flattened = None
    for layer, source in zip(graph.layers, shapes(graph), strict=False):
        if isinstance(layer, Flatten):
            flattened = flattened or (layer, source)
        elif isinstance(layer, Dense):
            shape = flattened[1] if flattened else source
            weights = layer.weights.reshape(layer.weights.shape[0], *shape)
            found.append(Convolution(layer.name, layer.output, weights, layer.bias, "Gemm"))
            flattened = None
        elif flattened is None or isinstance(layer, Clamp):
            found.append(layer)
        else:
            raise refusal(layer, f"follows the flattening '{flattened[0].name}'; only a fully connected layer may")
    if flattened:
        raise refusal(flattened[0], "no fully connected layer follows it; leave the last tensor in its NxCxHxW shape")
    return graph.with_layers(found)


def fold_affine(graph: FloatGraph) -> FloatGraph:
    """Fold batch normalization and added biases into the convolution before; where there is none, make one of 1x1.

    ``s * (W x + b) + t = (s W) x + (s b + t)``, computed in float64.  Zero padding of the folded convolution stays
    right because the normalization comes after it.
    """
    found: list[FloatLayer] = []
    for layer in graph.layers:
        before = found[-1] if found else None
        if not isinstance(layer, Affine):
            found.append(layer)
        elif isinstance(before, Convolution):
            weights = before.weights * layer.scale[:, None, None, None]
            bias = before.bias * layer.scale + layer.shift
            found[-1] = replace(
                before, output=layer.output, weights=weights.astype(np.float32), bias=bias.astype(np.float32)
            )
        else:
            channels = layer.scale.size
            found.append(
                Convolution(
                    layer.name,
                    layer.output,
                    layer.scale.astype(np.float32).reshape(channels, 1, 1, 1),
                    layer.shift.astype(np.float32),
                    groups=channels,
                )
            )
    return graph.with_layers(found)


def hoist_clamps(graph: FloatGraph) -> FloatGraph:
    """Move clamps before max poolings, which they commute with, so that they meet the convolution before."""
    found: list[FloatLayer] = []
    for layer in graph.layers:
        place = len(found)
        if isinstance(layer, Clamp):
            while place and isinstance(found[place - 1], Pooling):
                place -= 1
            if 0 < place < len(found):  # each tensor's name stays with the layer that now makes its last values
                found[-1] = replace(found[-1], output=layer.output)
                layer = replace(layer, output=found[place - 1].output)
        found.insert(place, layer)
    return graph.with_layers(found)


def fuse_clamps(graph: FloatGraph) -> FloatGraph:
    """Make each clamp part of the convolution before it; one after another narrow each other."""
    found: list[FloatLayer] = []
    for layer in graph.layers:
        before = found[-1] if found else None
        if not isinstance(layer, Clamp):
            found.append(layer)
        elif isinstance(before, Convolution):
            low, high = max(before.low, layer.low), min(before.high, layer.high)
            found[-1] = replace(before, output=layer.output, low=low, high=high)
        else:
            raise refusal(layer, "has no convolution or fully connected layer before it to be fused into")
    return graph.with_layers(found)


# Order matters: names fall away first, shapes settle before arithmetic folds, clamps meet their convolution last.
PASSES: tuple[Callable[[FloatGraph], FloatGraph], ...] = (
    drop_passes,
    drop_last_softmax,
    lower_dense,
    fold_affine,
    hoist_clamps,
    fuse_clamps,
)


def simplify(graph: FloatGraph) -> FloatGraph:
    """Run every pass with a legality check after each.  Raises ModelError, naming the layer, if one is left over."""
    for step in PASSES:
        graph = step(graph)
        shapes(graph)
    for layer in graph.layers:
        if not isinstance(layer, Convolution | Pooling):
            raise refusal(layer, "has nothing that it can be merged into")
    if not graph.layers:
        raise ModelError("the model has no convolution, pooling or fully connected layer; there is nothing to quantize")
    return graph
