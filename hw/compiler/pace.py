"""About how many cycles a network takes with other lanes than it was laid out for: no plan, no cycle model.

What the array and the bus do for a layer is the same with any lanes; the vector unit's time follows from them.  So one
layout tells of all.  ``choice`` rests on differences of these figures, not on the figures.
"""

from collections.abc import Sequence

from ..isa.parameters import Parameters
from .cost import drain
from .cutting import channel_tiles
from .engine_layer import EngineLayer
from .order import vector_cycles
from .residency import Layout


def pace(layers: Sequence[EngineLayer], layout: Layout, p: Parameters) -> float:
    """Cycles of ``layers``, laid out as they are, on the accelerator with ``p``, about.

    A layer of the array takes as long as the busiest unit.  Where that is not the vector unit, its own layers hide, for
    as long as they may be at work.
    """
    total, slack = 0.0, [0.0] * len(layers)
    for number, (layer, placement) in enumerate(zip(layers, layout.placements, strict=True)):
        if not layer.on_array:
            continue
        tiling = placement.tiling
        vector = drain(layer.geometry, p, tiling.count, sum(map(len, channel_tiles(layer.geometry, p))))
        cycles = max(tiling.array, tiling.bus, vector)
        total += cycles + tiling.ends
        slack[number] = cycles - vector
    for layer, (first, last) in zip(layers, layout.windows, strict=True):
        if not layer.on_array:
            left = float(vector_cycles(layer, p))
            for number in range(first, last + 1):
                hidden = min(left, slack[number])
                slack[number] -= hidden
                left -= hidden
            total += left
    return total
