"""Ever fewer bits: always there where noise grows least for each bit of memory that is given back.

Where the next step is too large for what a budget has left, others go back to more bits (as Dantzig, "Discrete-Variable
Extremum Problems", 1957, fills a knapsack).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from . import quant
from .bit_choice import Sensitivity


@dataclass(frozen=True)
class Step:
    """One choice of bits, and the noise expected of it.

    bits : of each layer's weights, by its name;  maps : of the maps on a grid, by the layer that writes the first
    mean : bits of all that the descent narrows, and of what is as fixed
    """

    bits: Mapping[str, int]
    mean: float
    noise: float
    maps: Mapping[str, int] = field(default_factory=dict)


def steps(
    weights: Sequence[Sensitivity], maps: Sequence[Sensitivity] = (), fixed: Sequence[tuple[int, int]] = ()
) -> list[Step]:
    """Ever narrower choices of the bits of ``weights`` and ``maps``, from the widest on.

    fixed : (size, bits) of what is not chosen, but counts in the mean
    """
    found = (*weights, *maps)
    bits = [one.widest for one in found]
    path = []
    while True:
        path.append(_step(weights, maps, bits, fixed))
        narrower = [
            (_price(one, bits[place], to), one.layer, to, place)
            for place, one in enumerate(found)
            for to in one.noise
            if to < bits[place]
        ]
        if not narrower:
            return path
        _, _, to, place = min(narrower)
        bits[place] = to


def filled(
    step: Step,
    budget: float,
    weights: Sequence[Sensitivity],
    maps: Sequence[Sensitivity] = (),
    fixed: Sequence[tuple[int, int]] = (),
) -> Step:
    """``step`` with what its ``budget`` has left: always that is widened whose noise falls most for each bit of memory.

    fixed : as in ``steps``, whose path ``step`` is of
    """
    found = (*weights, *maps)
    bits = [*(step.bits[one.layer] for one in weights), *(step.maps[one.layer] for one in maps)]
    while True:
        wider = [
            (-_price(one, to, bits[place]), one.layer, place, to)
            for place, one in enumerate(found)
            for to in (*one.noise, one.widest)
            if to > bits[place] and _price(one, to, bits[place]) > 0
        ]
        for _, _, place, to in sorted(wider):
            more = [*bits[:place], to, *bits[place + 1 :]]
            if _step(weights, maps, more, fixed).mean <= budget:
                bits = more
                break
        else:
            return _step(weights, maps, bits, fixed)


def _step(
    weights: Sequence[Sensitivity], maps: Sequence[Sensitivity], bits: Sequence[int], fixed: Sequence[tuple[int, int]]
) -> Step:
    """``bits``, those of ``weights``, then those of ``maps``."""
    now = list(zip((*weights, *maps), bits, strict=True))
    of_weights, of_maps = (
        {one.layer: width for one, width in some} for some in (now[: len(weights)], now[len(weights) :])
    )
    mean = mean_bits([*((one.size, width) for one, width in now), *fixed])
    return Step(of_weights, mean, sum(one.noise.get(width, 0.0) for one, width in now), of_maps)


def mean_bits(parts: Sequence[tuple[int, int]]) -> float:
    """Of all numbers of ``parts``, (numbers, bits of each); 0 of none."""
    return sum(size * bits for size, bits in parts) / max(1, sum(size for size, _ in parts))


def _price(one: Sensitivity, bits: int, to: int) -> float:
    """Noise for each bit of memory that going from ``bits`` ``to`` fewer gives back."""
    return (one.noise[to] - one.noise.get(bits, 0.0)) / (one.size * (bits - to))


def within_budget(path: Sequence[Step], budget: float, what: str = "") -> Step:
    """The first of ``path`` whose mean is ``budget`` bits at most.  Raises ConfigurationError if none has so few.

    what : is counted, in words, after "a budget"
    """
    for step in path:
        if step.mean <= budget:
            return step
    raise quant.ConfigurationError(
        f"a budget{what} of {budget:g} bits is below what is possible, {path[-1].mean:.2f} bits; ask for that or more"
    )


def within_loss(path: Sequence[Step], loss_of: Callable[[Step], float], loss: float) -> tuple[Step, dict[float, float]]:
    """The narrowest of ``path`` that loses ``loss`` at most, by halving, and what was measured: loss by mean bits."""
    low, high, measured = 0, len(path) - 1, {}
    while low < high:
        middle = (low + high + 1) // 2
        measured[path[middle].mean] = loss_of(path[middle])
        low, high = (middle, high) if measured[path[middle].mean] <= loss else (low, middle - 1)
    return path[low], measured
