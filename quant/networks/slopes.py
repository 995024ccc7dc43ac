"""A leaky ReLU with a slope for each channel becomes the sum of what is above 0 and of what is below."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .layers import (
    INFINITY,
    Addition,
    Affine,
    Clamp,
    Convolution,
    FloatGraph,
    FloatLayer,
    Slopes,
)


def split_slopes(graph: FloatGraph) -> FloatGraph:
    """``max(x, 0) + min(s * x, 0)``, or ``s * min(x, 0)`` if a slope is negative.

    A convolution before that nobody else reads is there for each half, so that clamps and slopes become a part of it.
    """
    private, producers = graph.private(), graph.producers()
    taken = {name for layer in graph.layers for name in (layer.name, layer.output)}
    twice = {
        layer.inputs[0]
        for layer in graph.layers
        if isinstance(layer, Slopes) and isinstance(producers.get(layer.inputs[0]), Convolution)
    }
    found: list[FloatLayer] = []
    for layer in graph.layers:
        if isinstance(layer, Slopes):
            found += _halves(layer, producers.get(layer.inputs[0]), taken, layer.inputs[0] in twice & private)
        elif layer.output not in twice & private:
            found.append(layer)
    return graph.with_layers(found)


def _halves(layer: Slopes, before: FloatLayer | None, taken: set[str], repeats: bool) -> list[FloatLayer]:
    made: list[FloatLayer] = []

    def named(what: str) -> str:
        name = f"{layer.output}_{what}"
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    sources = {"above": layer.inputs[0], "below": layer.inputs[0]}
    if repeats and before is not None:
        for half in sources:
            sources[half] = name = named(f"{half}_0")
            made.append(replace(before, name=name, output=name))
    above, scaled, below = named("above"), named("scaled"), named("below")
    made.append(Clamp(above, "Relu", (sources["above"],), above, 0.0, INFINITY))
    zeros = np.zeros_like(layer.slopes)
    source = (sources["below"],)
    if (layer.slopes >= 0).all():
        made.append(Affine(scaled, "Mul", source, scaled, layer.slopes, zeros))
        made.append(Clamp(below, "Clip", (scaled,), below, -INFINITY, 0.0))
    else:
        made.append(Clamp(scaled, "Clip", source, scaled, -INFINITY, 0.0))
        made.append(Affine(below, "Mul", (scaled,), below, layer.slopes, zeros))
    made.append(Addition(layer.name, "Add", (above, below), layer.output))
    return made
