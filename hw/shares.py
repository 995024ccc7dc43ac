"""How many columns share a multiplier: what a network and a family allow, and which of these is preferred."""

from collections.abc import Sequence
from dataclasses import replace

from .area import multiplying
from .compiler.engine_layer import EngineLayer
from .compiler.kernel_steps import kernel
from .compiler.widths import has_lowest_weight
from .devices import MULTIPLIERS
from .isa.parameters import Parameters
from .isa.sharing import MOST_COLUMNS


def shares(layers: Sequence[EngineLayer], p: Parameters) -> list[int]:
    """Columns per multiplier that are exact for ``layers`` on the accelerator with ``p``, the preferred ones first.

    That is the fewest multipliers that nothing else pays for; then, in their order, more for LUTs or for cycles: of
    columns that share a multiplier depthwise layers use one at a time.
    """
    found = {n: p.shared(n) for n in range(2, MOST_COLUMNS + 1)}
    lowest = any(has_lowest_weight(layer, p.weight_bits) for layer in layers)
    exact = {n: it for n, it in found.items() if it is not None and not (lowest and not it.lowest)}
    unshared = replace(p, columns_per_multiplier=1)
    turns = any(kernel(layer.geometry, unshared).depthwise for layer in layers)
    free = [1, *(n for n, it in exact.items() if it.free and not (turns and not it.lowest))]
    best = min(free, key=lambda n: _multipliers(p, n))
    return [best, *(n for n in (1, *exact) if n > best)]


def shared(layers: Sequence[EngineLayer], p: Parameters) -> Parameters:
    """``p`` with the first of ``shares`` with which the largest part of the family has enough multipliers for the
    array, the one that needs fewest if none has.
    """
    several = shares(layers, p)
    there = MULTIPLIERS.get(p.target, 0)
    fewest = min(several, key=lambda n: _multipliers(p, n))
    enough = (n for n in several if _multipliers(p, n) <= there)
    return replace(p, columns_per_multiplier=next(enough, fewest))


def _multipliers(p: Parameters, columns: int) -> float:
    """Of the array."""
    return multiplying(replace(p, columns_per_multiplier=columns))["cell"]
