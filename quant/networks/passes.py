"""Passes over the float network, from what an exporter wrote to the kinds of layer that quantization knows.

A layer is fused into the one before it only if nobody else reads what lies between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..graph import Shape
from ..graph.errors import ModelError
from .chains import fuse_chains, scale_before_clamp
from .flattening import lower_dense
from .layers import (
    Affine,
    Clamp,
    Clamped,
    Convolution,
    Flatten,
    FloatGraph,
    FloatLayer,
    Function,
    Padding,
    Pass,
    Pooling,
    Simple,
    Softmax,
    refusal,
    renamed,
)
from .shapes import shapes
from .slopes import split_slopes


def drop_passes(graph: FloatGraph) -> FloatGraph:
    """Remove layers that leave values as they are in inference; what they read takes over the name of their output."""
    size = shapes(graph)
    origin: dict[str, str] = {}  # of what such a layer makes: the tensor whose values it has
    names: dict[str, str] = {}  # what that tensor is called from now on
    kept = []
    for layer in graph.layers:
        if not _changes_nothing(layer, size):
            kept.append(layer)
            continue
        first = origin[layer.output] = origin.get(layer.inputs[0], layer.inputs[0])
        if first != graph.input:
            names[first] = layer.output
    names |= {name: names.get(first, first) for name, first in origin.items()}
    return renamed(graph.with_layers(kept), names)


def _changes_nothing(layer: FloatLayer, size: Mapping[str, Shape]) -> bool:
    return isinstance(layer, Pass) or (isinstance(layer, Flatten) and size[layer.inputs[0]] == size[layer.output])


def drop_last_softmax(graph: FloatGraph) -> FloatGraph:
    """Leave a last Softmax or LogSoftmax to the host; anywhere else it is refused."""
    for layer in graph.layers:
        if not isinstance(layer, Softmax):
            continue
        if layer.output != graph.output:
            raise refusal(layer, "only works as the last layer, where it is left to the host")
        left = graph.with_layers(other for other in graph.layers if other is not layer)
        return replace(left, output=layer.inputs[0], dropped=(*graph.dropped, f"{layer.operator} '{layer.name}'"))
    return graph


def merge_padding(graph: FloatGraph) -> FloatGraph:
    """Zeros around a map become pads of the convolutions that read it, or else a convolution that copies channels."""
    found: list[FloatLayer] = []
    size, readers = shapes(graph), graph.readers()
    merged: dict[str, Padding] = {}
    for layer in graph.layers:
        if isinstance(layer, Padding):
            after = readers[layer.output]
            if layer.output != graph.output and all(isinstance(reader, Convolution) for reader in after):
                merged[layer.output] = layer
                continue
            ones = np.ones(size[layer.output][0])
            layer = replace(_by_channel(layer, ones, np.zeros_like(ones)), pads=layer.pads)
        elif isinstance(layer, Convolution) and layer.inputs[0] in merged:
            before = merged[layer.inputs[0]]
            top, left, bottom, right = (one + other for one, other in zip(layer.pads, before.pads, strict=True))
            layer = replace(layer, inputs=before.inputs, pads=(top, left, bottom, right))
        found.append(layer)
    return graph.with_layers(found)


def fold_affine(graph: FloatGraph) -> FloatGraph:
    """Fold batch normalization and constants per channel into the convolution before, or make one of 1x1 of them.

    ``s * (W x + b) + t = (s W) x + (s b + t)``, computed in float64.  Zero padding of the folded convolution stays
    right because the normalization comes after it.
    """
    found: dict[str, FloatLayer] = {}
    private = graph.private()
    for layer in graph.layers:
        if isinstance(layer, Affine):
            before = found.get(layer.inputs[0])
            if isinstance(before, Convolution) and before.output in private:
                del found[before.output]
                weights = before.weights * layer.scale[:, None, None, None]
                bias = before.bias * layer.scale + layer.shift
                layer = replace(
                    before, output=layer.output, weights=weights.astype(np.float32), bias=bias.astype(np.float32)
                )
            else:
                layer = _by_channel(layer, layer.scale, layer.shift)
        found[layer.output] = layer
    return graph.with_layers(found.values())


def _by_channel(layer: Padding | Affine, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Convolution:
    """A convolution in place of ``layer``, ``scale[c] * x[c] + shift[c]``, (channels,) both."""
    weights = scale.astype(np.float32).reshape(-1, 1, 1, 1)
    names = layer.inputs, layer.output
    return Convolution(layer.name, "Conv", *names, weights, shift.astype(np.float32), groups=scale.size)


def fuse_clamps(graph: FloatGraph) -> FloatGraph:
    """Make each clamp part of the layer before it, if that computes new values; else it becomes a function of its own.

    Clamps commute with max poolings, so one after them belongs to the layer before them.
    """
    found: dict[str, FloatLayer] = {}
    private = graph.private()
    for layer in graph.layers:
        found[layer.output] = layer
        if not isinstance(layer, Clamp):
            continue
        source = layer.inputs[0]
        while source in private and isinstance(found.get(source), Pooling):
            source = found[source].inputs[0]
        before = found.get(source)
        if isinstance(before, Clamped) and source in private:
            low, high = max(before.low, layer.low), min(before.high, layer.high)
            found[source] = replace(before, low=low, high=high)
            found[layer.output] = replace(found.pop(layer.inputs[0]), output=layer.output)
        else:
            bounds = {} if layer.operator == "Relu" else {"min": layer.low, "max": layer.high}
            names = layer.name, layer.operator, layer.inputs, layer.output
            found[layer.output] = Function(*names, bounds, low=layer.low, high=layer.high)
    return graph.with_layers(found.values())


# Order matters: names fall away first, shapes settle before arithmetic folds, clamps meet their convolution last.
PASSES: tuple[Callable[[FloatGraph], FloatGraph], ...] = (
    drop_passes,
    drop_last_softmax,
    lower_dense,
    merge_padding,
    split_slopes,
    scale_before_clamp,
    fuse_chains,
    fold_affine,
    fuse_clamps,
)


def simplify(graph: FloatGraph) -> FloatGraph:
    """Run every pass with a legality check after each.  Raises ModelError, naming the layer, if one is left over."""
    for step in PASSES:
        graph = step(graph)
        shapes(graph)
    for layer in graph.layers:
        if not isinstance(layer, Simple):
            raise refusal(layer, "has nothing that it can be merged into")
    if not graph.layers:
        raise ModelError("the model has no convolution, pooling or fully connected layer; there is nothing to quantize")
    return graph
