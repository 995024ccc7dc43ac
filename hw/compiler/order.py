"""The order of a network's branches: what the vector unit does alone hides behind the array's work."""

from collections.abc import Sequence

from ..isa.parameters import Parameters
from .cutting import tile_count, whole
from .dependencies import makers_of
from .engine_layer import EngineLayer
from .kernel_steps import kernel
from .packing import pass_cycles
from .sliding import rows_of_results

SPARE = 0.8
"""Of the array's time, what the vector unit's own layers are planned into: it loses the rest to loads and banks."""


def ordered(layers: Sequence[EngineLayer], p: Parameters) -> list[EngineLayer]:
    """``layers`` in an order that keeps the array busy, by list scheduling (Graham 1966) on two resources.

    Layers of the vector unit alone start as soon as what they read is there.  Of the array's layers whose inputs are
    ready, the shortest comes next: so the longest branch comes last, and what follows a join trails behind it row by
    row; if none is ready, the one that will be first.
    """
    makers = {id(layer): [layers[n] for n in found] for layer, found in zip(layers, makers_of(layers), strict=True)}
    done: dict[int, float] = {}  # when a layer is complete, by identity
    array = vector = 0.0
    left, result = list(layers), []

    def ready(layer: EngineLayer) -> float | None:
        """When all that ``layer`` reads is complete; None if something is not ordered yet."""
        ends = [done.get(id(maker)) for maker in makers[id(layer)]]
        return None if None in ends else max((end for end in ends if end is not None), default=0.0)

    while left:
        free = [(start, layer) for layer in left if (start := ready(layer)) is not None]
        alone = [pair for pair in free if not pair[1].on_array]
        if alone:
            start, chosen = alone[0]
            vector = max(vector, start) + vector_cycles(chosen, p)
            done[id(chosen)] = vector
        else:
            start, chosen = min(free, key=lambda pair: (max(pair[0], array), array_cycles(pair[1], p)))
            array = max(array, start) + array_cycles(chosen, p)
            done[id(chosen)] = array
        left.remove(chosen)
        result.append(chosen)
    return result


def array_cycles(layer: EngineLayer, p: Parameters) -> int:
    """Cycles of the array for all of ``layer``, if nothing keeps it waiting."""
    tiles = tile_count(layer.geometry, p)
    windows = kernel(layer.geometry, p).pass_windows(layer.convolved[1:])
    return tiles * whole(layer.geometry, p).passes(p) * max(windows, pass_cycles(layer.geometry, p))


def vector_cycles(layer: EngineLayer, p: Parameters) -> int:
    """Cycles of the vector unit for all of ``layer``."""
    return tile_count(layer.geometry, p) * rows_of_results(layer.geometry, p, *layer.target[1:])
