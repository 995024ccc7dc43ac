"""What reads joined maps part by part reads the parts: then nothing stands between them and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from ..graph import Shape
from .layers import Concatenation, FloatGraph, FloatLayer, Slicing, needed, renamed
from .shapes import shapes


def read_parts(graph: FloatGraph) -> FloatGraph:
    """A concatenation falls away if all who read it are slices that take one of its maps each, and these do too."""
    sizes, readers = shapes(graph), graph.readers()
    same: dict[str, str] = {}
    for layer in graph.layers:
        if isinstance(layer, Concatenation) and layer.axis == 1 and layer.output not in graph.outputs:
            taken = {reader.output: _part(reader, layer, sizes) for reader in readers[layer.output]}
            if all(taken.values()) and not taken.keys() & set(graph.outputs):
                same |= {name: same.get(part, part) for name, part in taken.items()}
    kept = renamed(graph.with_layers(layer for layer in graph.layers if layer.output not in same), same)
    return kept.with_layers(needed(kept.layers, kept.outputs))


def _part(reader: FloatLayer, joined: Concatenation, sizes: Mapping[str, Shape]) -> str:
    """Which of the maps that are ``joined`` the ``reader`` takes, as a whole and alone; "" if none."""
    for name, end in zip(joined.inputs, accumulate(sizes[name][0] for name in joined.inputs), strict=True):
        channels = tuple(range(end - sizes[name][0], end))
        if isinstance(reader, Slicing) and reader.channels == channels and sizes[reader.output] == sizes[name]:
            return name
    return ""
