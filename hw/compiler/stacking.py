"""Where slots lie that live at different times: dynamic storage allocation, at the end of the activation memory.

Addresses and sizes are in elements, a step is a layer of the program.

Blocks are placed one after the other, each as near the end as those let it that live at the same time (first fit).
Whether that leaves holes depends on the order, and no order is best for all (the problem is NP-complete: Garey and
Johnson 1979, SR2).  So it is repaired: from the program's on, the block that reaches lowest where most is lost to holes
comes first in the next one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from .windows import Lifetime, meet

Blocks = Mapping[int, tuple[Lifetime, int]]
"""Of each layer, by index, when its slots live, and the elements that they take."""

MOST = 64
"""Orders that are tried."""


@dataclass(frozen=True)
class Stacking:
    """bottoms : where each layer's block begins;  lowest : of each step, where the lowest does, or the capacity
    over : the first layer whose block does not lie above the floor, None if all do
    """

    bottoms: Mapping[int, int]
    lowest: list[int]
    over: int | None


def stacked(blocks: Blocks, capacity: int, floors: Sequence[int], cost: Callable[[Sequence[int]], float]) -> Stacking:
    """The cheapest of the orders that are tried, or, if none fits, one that does not.

    floors : of each step, what blocks must not reach below
    cost : cycles, about, of where the lowest block of each step begins
    """
    ways = _ways(blocks, capacity, floors)
    priced = [(way.over is not None, inf if way.over is not None else cost(way.lowest), way) for way in ways]
    return min(priced, key=lambda found: found[:2])[2]


def _ways(blocks: Blocks, capacity: int, floors: Sequence[int]) -> Iterator[Stacking]:
    """Of the program's order first, then of the repaired ones, until nothing is lost or an order comes again."""
    least = [capacity] * len(floors)
    for (first, last), size in blocks.values():
        least[first : last + 1] = [bottom - size for bottom in least[first : last + 1]]
    order = sorted(blocks)
    seen: set[tuple[int, ...]] = set()
    while len(seen) < MOST and tuple(order) not in seen:
        seen.add(tuple(order))
        bottoms = _placed(blocks, capacity, order)
        lowest = [capacity] * len(floors)
        for n, bottom in bottoms.items():
            first, last = blocks[n][0]
            lowest[first : last + 1] = [min(old, bottom) for old in lowest[first : last + 1]]
        over = [floor - low for floor, low in zip(floors, lowest, strict=True)]
        lost = [fits - low for fits, low in zip(least, lowest, strict=True)]
        bad = over if max(over) > 0 else lost
        step = max(range(len(bad)), key=bad.__getitem__)
        if bad[step] <= 0:
            yield Stacking(bottoms, lowest, None)
            return
        below = min((n for n in order if meet(blocks[n][0], (step, step))), key=bottoms.__getitem__)
        yield Stacking(bottoms, lowest, below if bad is over else None)
        order = [below, *(n for n in order if n != below)]


def _placed(blocks: Blocks, capacity: int, order: Sequence[int]) -> dict[int, int]:
    """Where each block begins, maybe below 0, if they are placed in this order."""
    bottoms: dict[int, int] = {}
    for n in order:
        life, size = blocks[n]
        bottom = capacity - size
        others = [(low, low + blocks[other][1]) for other, low in bottoms.items() if meet(blocks[other][0], life)]
        for low, high in sorted(others, key=lambda block: -block[1]):
            if bottom >= high:
                break
            bottom = min(bottom, low - size)
        bottoms[n] = bottom
    return bottoms
