"""An order of channels becomes that of the weights before it or behind it, so that nothing has to be moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .layers import Convolution, FloatGraph, FloatLayer, Function, Slicing, TransposedConvolution
from .picking import pick
from .shapes import shapes


def fold_channel_order(graph: FloatGraph) -> FloatGraph:
    """Selections of whole channels fall away where a convolution computes what they read, or reads what they make.

    Behind a convolution each channel must be taken once or not at all.  Before convolutions it must be all channels in
    another order; past depthwise ones that order goes on to who reads them, past functions of one value to what
    those read.
    """
    while (simpler := _step(graph)) is not None:
        graph = simpler
    return graph


def _step(graph: FloatGraph) -> FloatGraph | None:
    """``graph`` with one selection less, or nearer to its end; None if there is none to be folded."""
    size, producers, private, readers = shapes(graph), graph.producers(), graph.private(), graph.readers()
    for layer in graph.layers:
        if not isinstance(layer, Slicing) or size[layer.output][1:] != size[layer.inputs[0]][1:]:
            continue
        source, order = layer.inputs[0], np.array(layer.channels)
        before, after = producers.get(source), readers[layer.output]
        once = len(set(layer.channels)) == len(order)
        mine = once and source in private
        if mine and isinstance(before, Convolution | TransposedConvolution) and before.groups == 1:
            weights, bias = before.weights[order], before.bias[order]
            made = replace(before, output=layer.output, weights=weights, bias=bias)
            return _with(graph, {before.output: [made], layer.output: []})
        if source in private and isinstance(before, Function) and len(before.inputs) == 1:
            inner = f"{layer.output}/ordered"
            first = replace(layer, inputs=before.inputs, output=inner)
            then = replace(before, inputs=(inner,), output=layer.output)
            return _with(graph, {before.output: [first, then], layer.output: []})
        if not once or len(order) != size[source][0] or layer.output in graph.outputs or not after:
            continue
        if all(isinstance(reader, Convolution) and reader.groups == 1 for reader in after):
            return _with(graph, {layer.output: [], **{r.output: [_reading(r, source, order)] for r in after}})
        (reader, *others) = after
        if not others and isinstance(reader, Convolution) and reader.groups == len(reader.weights) == len(order):
            inverse = np.argsort(order)
            weights, bias = reader.weights[inverse], reader.bias[inverse]
            inner = f"{reader.output}/ordered"
            moved = replace(reader, inputs=(source,), output=inner, weights=weights, bias=bias)
            names = layer.name, layer.operator, inner, reader.output
            again = pick(*names, size[reader.output], {0: layer.channels})
            return _with(graph, {layer.output: [], reader.output: [moved, *again]})
    return None


def _reading(reader: FloatLayer, source: str, order: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatLayer:
    """``reader``, which reads ``source`` in ``order``, as it reads ``source``."""
    assert isinstance(reader, Convolution)
    return replace(reader, inputs=(source,), weights=np.ascontiguousarray(reader.weights[:, np.argsort(order)]))


def _with(graph: FloatGraph, changed: dict[str, list[FloatLayer]]) -> FloatGraph:
    """``graph`` with other layers in place of those that make the tensors of ``changed``."""
    return graph.with_layers(new for layer in graph.layers for new in changed.get(layer.output, [layer]))
