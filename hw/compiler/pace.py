"""About how many cycles a network takes with other lanes than it was laid out for: no plan, no cycle model.

What array, bus and loader do for a layer is the same with any lanes; the vector unit's time follows from those.  So one
layout tells of all.  ``choice`` rests on differences between these figures: docs/cycles.md has how far they are off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..isa.parameters import Parameters
from .cost import AFFINE_GAP, drain, in_turns, writing
from .cutting import tile_count
from .engine_layer import EngineLayer
from .sliding import interval, reads, row_lead
from .span import Span
from .tiling import Tiling


@dataclass(frozen=True)
class Busy:
    """Cycles of one layer, about: those that it keeps the array's time, and what of them the vector unit has left; of a
    layer of the vector unit alone, ``vector`` all of its own, of which at least ``shown`` hide behind nothing."""

    array: float
    slack: float
    vector: float
    shown: float


def pace(
    layers: Sequence[EngineLayer], tilings: Sequence[Tiling], windows: Sequence[Span], lanes: int, p: Parameters
) -> float:
    """Cycles of ``layers``, cut as ``tilings`` says and at work in ``windows``, on the accelerator with ``p``, about.

    lanes : for which the layers were laid out
    """
    return together([busy(layer, tiling, lanes, p) for layer, tiling in zip(layers, tilings, strict=True)], windows)


def busy(layer: EngineLayer, tiling: Tiling, lanes: int, p: Parameters) -> Busy:
    """What one layer takes: of the array as long as the busiest unit."""
    vector = _vector(layer, tiling, p)
    if not layer.on_array:
        # what scales channels before a convolution keeps it waiting with its last tile
        return Busy(0.0, 0.0, vector, vector / tiling.count if layer.affine else 0.0)
    g, laid_out = layer.geometry, replace(p, lanes=lanes)
    tiles = tile_count(g, p)
    turns = tiling.count * tiles
    cycles = max(tiling.array, tiling.bus, vector, float(in_turns(tiling.array, vector, turns, p)))
    # the last channel tile of all is drained by as many lanes
    few, more = (drain(g, each, tiling.count, tiles, 1) for each in (laid_out, p))
    return Busy(cycles + tiling.ends - (few - more) / turns, cycles - vector, 0.0, 0.0)


def together(layers: Sequence[Busy], windows: Sequence[Span]) -> float:
    """Cycles of all ``layers``: where the vector unit is not the busiest, its own hide, for as long as they may be at
    work."""
    total, slack = sum(layer.array for layer in layers), [layer.slack for layer in layers]
    for layer, (first, last) in zip(layers, windows, strict=True):
        left = layer.vector
        for number in range(first, last + 1):
            if not left:
                break
            hidden = min(left, slack[number])
            slack[number] -= hidden
            left -= hidden
        total += max(left, layer.shown)
    return total


def _vector(layer: EngineLayer, tiling: Tiling, p: Parameters) -> float:
    """Cycles of the vector unit for ``layer``, and of its writes and the loader's."""
    g, tiles = layer.geometry, tile_count(layer.geometry, p)
    vectors = tiles * g.target[1] * g.target[2]
    if layer.on_array:
        cycles = float(drain(g, p, tiling.count, tiles, 1))
    else:
        # where it reads in every cycle, each write takes its port once, if it is the bank's
        each = interval(g, p) + (reads(g, p) >= p.lane_groups) * min(1.0, 2 / p.banks)
        across = -(-g.target[2] // tiling.shape[1])
        cycles = vectors * each + tiles * g.target[1] * across * row_lead(g, p)
        cycles += g.scales * tiling.count * tiles * AFFINE_GAP
    return max(cycles, float(writing(g, p, np.array(tiling.loader), vectors)))
