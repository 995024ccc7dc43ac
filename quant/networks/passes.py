"""Passes over the float network, from what an exporter wrote to the kinds of layer that quantization knows.

A layer is fused into the one before it only if nobody else reads what lies between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..graph.errors import ModelError
from .by_pixel import fold_by_pixel
from .chains import fuse_chains, scale_before_clamp
from .channel_order import fold_channel_order
from .large_windows import split_windows
from .layers import (
    Affine,
    Clamp,
    Clamped,
    Convolution,
    FloatGraph,
    FloatLayer,
    Function,
    Moving,
    Padding,
    Pooling,
    Simple,
    TransposedConvolution,
    VolumeConvolution,
    as_float32,
    refusal,
)
from .parts import read_parts
from .shapes import shapes
from .slopes import split_slopes
from .transposed import lower_transposed
from .volumes import lower_volumes


def merge_padding(graph: FloatGraph) -> FloatGraph:
    """What surrounds a map becomes pads of the layers that read it.

    Zeros do of convolutions, or else a convolution that copies channels; what is below all of max poolings.
    """
    found: list[FloatLayer] = []
    size, readers = shapes(graph), graph.readers()
    merged: dict[str, Padding] = {}
    for layer in graph.layers:
        if isinstance(layer, Padding):
            after = readers[layer.output]
            takes = Convolution if layer.value == 0 else Pooling
            if layer.output not in graph.outputs and all(isinstance(reader, takes) for reader in after):
                merged[layer.output] = layer
                continue
            if layer.value != 0:
                raise refusal(layer, f"pads with {layer.value:g}; that works before a MaxPool alone, else 0")
            ones = np.ones(size[layer.output][0])
            layer = replace(_by_channel(layer, ones, np.zeros_like(ones)), pads=layer.pads)
        elif isinstance(layer, Convolution | Pooling) and layer.inputs[0] in merged:
            before = merged[layer.inputs[0]]
            top, left, bottom, right = (one + other for one, other in zip(layer.pads, before.pads, strict=True))
            layer = replace(layer, inputs=before.inputs, pads=(top, left, bottom, right))
        found.append(layer)
    return graph.with_layers(found)


def fold_affine(graph: FloatGraph) -> FloatGraph:
    """Fold batch normalization and constants into the convolution before, or make one of 1x1 of them.

    ``s * (W x + b) + t = (s W) x + (s b + t)``, computed in float64.  Zero padding of the folded convolution stays
    right because the normalization comes after it.
    """
    found: dict[str, FloatLayer] = {}
    private = graph.private()
    for layer in graph.layers:
        if isinstance(layer, Affine):
            before = found.get(layer.inputs[0])
            if isinstance(before, Convolution | TransposedConvolution) and before.output in private:
                del found[before.output]
                layer = replace(_scaled(before, layer, len(layer.scale)), output=layer.output)
            elif isinstance(before, VolumeConvolution) and before.output in private and _alike(layer, before):
                del found[before.output]
                plane = _scaled(before.plane, layer, len(before.plane.bias))
                layer = replace(before, output=layer.output, plane=plane)
            else:
                layer = _by_channel(layer, layer.scale, layer.shift)
        found[layer.output] = layer
    return graph.with_layers(found.values())


def _scaled(
    layer: Convolution | TransposedConvolution, by: Affine, channels: int
) -> Convolution | TransposedConvolution:
    """``layer``, and what ``by`` does to the first so many ``channels``."""
    scale, shift = by.scale[:channels], by.shift[:channels]
    weights, bias = layer.weights * scale[:, None, None, None], layer.bias * scale + shift
    return replace(layer, weights=as_float32(by, weights), bias=as_float32(by, bias))


def _alike(layer: Affine, before: VolumeConvolution) -> bool:
    """Whether ``layer`` does the same to every slice that ``before`` makes."""
    parts = [values.reshape(len(before.taps), -1) for values in (layer.scale, layer.shift)]
    return all(bool((values == values[0]).all()) for values in parts)


def _by_channel(layer: Padding | Affine, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Convolution:
    """A convolution in place of ``layer``, ``scale[c] * x[c] + shift[c]``, (channels,) both."""
    weights, bias = as_float32(layer, scale).reshape(-1, 1, 1, 1), as_float32(layer, shift)
    return Convolution(layer.name, "Conv", layer.inputs, layer.output, weights, bias, groups=scale.size)


def fuse_clamps(graph: FloatGraph) -> FloatGraph:
    """Make each clamp part of the layer before it, if that computes new values; else it becomes a function of its own.

    Clamps commute with what moves values, so one after such layers belongs to the layer before them.
    """
    found: dict[str, FloatLayer] = {}
    private = graph.private()
    for layer in graph.layers:
        found[layer.output] = layer
        if not isinstance(layer, Clamp):
            continue
        source = layer.inputs[0]
        while source in private and isinstance(found.get(source), Moving):
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


# Order matters: what moves values settles before arithmetic folds, clamps meet their convolution before a transposed
# one is taken apart.
PASSES: tuple[Callable[[FloatGraph], FloatGraph], ...] = (
    merge_padding,
    fold_by_pixel,
    split_slopes,
    scale_before_clamp,
    fuse_chains,
    fold_affine,
    fuse_clamps,
    lower_volumes,
    read_parts,
    fold_channel_order,
    lower_transposed,
    split_windows,
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
