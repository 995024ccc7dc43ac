"""About how many cycles a network takes with other lanes than it was laid out for: no plan, no cycle model.

What array, bus and loader do for a layer is the same with any lanes; the vector unit's time follows from those.  So one
layout tells of all.  ``choice`` rests on differences between these figures: docs/cycles.md has how far they are off.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..isa.parameters import Parameters
from .cost import drain, in_turns, writing
from .cutting import channel_tiles
from .engine_layer import EngineLayer
from .sliding import interval, reads, row_lead
from .span import Span
from .tiling import Tiling


def pace(
    layers: Sequence[EngineLayer], tilings: Sequence[Tiling], windows: Sequence[Span], lanes: int, p: Parameters
) -> float:
    """Cycles of ``layers``, cut as ``tilings`` says and at work in ``windows``, on the accelerator with ``p``, about.

    lanes : for which the layers were laid out

    A layer of the array takes as long as the busiest unit.  Where that is not the vector unit, its own layers hide, for
    as long as they may be at work.
    """
    laid_out = replace(p, lanes=lanes)
    total, slack = 0.0, [0.0] * len(layers)
    for number, (layer, tiling) in enumerate(zip(layers, tilings, strict=True)):
        if layer.on_array:
            vector = _vector(layer, tiling, p)
            tiles = sum(map(len, channel_tiles(layer.geometry, p)))
            turns = tiling.count * tiles
            cycles = max(tiling.array, tiling.bus, vector, float(in_turns(tiling.array, vector, turns, p)))
            # the last channel tile of all is drained by as many lanes
            few, more = (drain(layer.geometry, each, tiling.count, tiles, 1) for each in (laid_out, p))
            total += cycles + tiling.ends - (few - more) / turns
            slack[number] = cycles - vector
    for layer, tiling, (first, last) in zip(layers, tilings, windows, strict=True):
        if not layer.on_array:
            left = _vector(layer, tiling, p)
            for number in range(first, last + 1):
                hidden = min(left, slack[number])
                slack[number] -= hidden
                left -= hidden
            total += left
    return total


def _vector(layer: EngineLayer, tiling: Tiling, p: Parameters) -> float:
    """Cycles of the vector unit for ``layer``, and of its writes and the loader's."""
    g, tiles = layer.geometry, sum(map(len, channel_tiles(layer.geometry, p)))
    vectors = tiles * g.target[1] * g.target[2]
    if layer.on_array:
        cycles = float(drain(g, p, tiling.count, tiles, 1))
    else:
        # where it reads in every cycle, each write takes its port once, if it is the bank's
        each = interval(g, p) + (reads(g, p) >= p.lane_groups) * min(1.0, 2 / p.banks)
        across = -(-g.target[2] // tiling.shape[1])
        cycles = vectors * each + tiles * g.target[1] * across * row_lead(g, p)
    return max(cycles, float(writing(g, p, np.array(tiling.loader), vectors)))
