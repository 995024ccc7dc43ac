"""What reads joined maps part by part reads the parts: then nothing stands between them and what made them."""

from __future__ import annotations

from itertools import accumulate

from .layers import Concatenation, FloatGraph, Slicing, needed, renamed
from .shapes import shapes


def read_parts(graph: FloatGraph) -> FloatGraph:
    """Slices that are exactly one of the maps that a concatenation joins fall away, and what nobody reads then."""
    sizes, joined = shapes(graph), {layer.output: layer for layer in graph.layers if isinstance(layer, Concatenation)}
    same: dict[str, str] = {}
    for layer in graph.layers:
        source = joined.get(layer.inputs[0])
        if not isinstance(layer, Slicing) or source is None or source.axis != 1 or layer.output in graph.outputs:
            continue
        ends = list(accumulate(sizes[name][0] for name in source.inputs))
        for name, end in zip(source.inputs, ends, strict=True):
            if layer.channels == tuple(range(end - sizes[name][0], end)) and sizes[layer.output] == sizes[name]:
                same[layer.output] = same.get(name, name)
    kept = renamed(graph.with_layers(layer for layer in graph.layers if layer.output not in same), same)
    return kept.with_layers(needed(kept.layers, kept.outputs))
