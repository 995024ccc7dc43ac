"""Which relays are worth it, and where their slots lie: decided once all layers have places by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from math import prod

from ...quant.graph import Graph
from ..isa.parameters import Parameters
from .cost import Traffic
from .engine_layer import EngineLayer
from .geometry import Geometry
from .placement import TABLE_BYTES, Layout, Placement
from .relay import relays
from .relay_tiling import Addresses, Relay, RelayTilings, Slots
from .span import Span, size
from .windows import lifetimes, meet

GAIN = 0.99
"""Of both layers' cycles, what a relay may take at most."""


def hand_on(
    layers: Sequence[EngineLayer],
    graph: Graph,
    p: Parameters,
    layout: Layout,
    bottoms: Sequence[int],
    traffic: Callable[[int], Traffic],
) -> Layout:
    """``layout`` with each relay that is faster than its layers one after the other, by the planner's own estimate.

    bottoms : where, for each layer, the slots of the vector unit's own layers begin, which lie behind all others
    """
    placements, windows = list(layout.placements), list(layout.windows)

    @cache
    def tilings(maker: Geometry, taker: Geometry, load: bool, traffic: Traffic) -> RelayTilings:
        return RelayTilings(maker, taker, p, load, traffic)

    for n in relays(layers, {*graph.inputs, *graph.outputs, *layout.resident}, p):
        maker, taker = layers[n], layers[n + 1]
        holes = _holes(layers, graph, layout, n, min(bottoms[n : n + 2]))
        if holes is None:
            continue
        tables = tuple((1, TABLE_BYTES if it.tables is not None else 0) for it in (maker, taker))
        packed: Callable[[Slots], Addresses | None] = partial(_packed, holes=holes, tables=tables, beat=p.bus_elements)
        found = tilings(maker.geometry, taker.geometry, traffic(n).load, traffic(n + 1)).best(packed)
        apart = sum(placement.tiling.cost for placement in placements[n : n + 2])
        if found is not None and found.cost <= GAIN * apart:
            placements[n : n + 2] = _placed(placements[n], placements[n + 1], found)
            windows[n] = windows[n + 1] = (n, n + 1)
    return replace(layout, placements=tuple(placements), windows=tuple(windows))


def _holes(layers: Sequence[EngineLayer], graph: Graph, layout: Layout, n: int, end: int) -> list[Span] | None:
    """What is free before ``end`` while layers ``n`` and ``n + 1`` are at work together; None if maps that are resident
    would be in each other's way."""
    lives = lifetimes(layers, layout.windows)
    taken = sorted(
        (address, address + prod(graph.tensors[name].shape))
        for name, address in layout.resident.items()
        if meet(lives[name], (n, n + 1))
    )
    holes, free = [], 0
    for start, behind in taken:
        if start < free:
            return None
        holes.append((free, start))
        free = behind
    return [hole for hole in (*holes, (free, end)) if size(hole) > 0]


def _packed(of_tilings: Slots, holes: Sequence[Span], tables: Slots, beat: int) -> Addresses | None:
    """Addresses of all slots, the largest first where they fit, in whole beats; None if they do not."""
    slots = [*tables, *of_tilings]
    free = [(start + -start % beat, end) for start, end in holes]
    found: Addresses = [()] * len(slots)
    for number in sorted(range(len(slots)), key=lambda n: -slots[n][1]):
        count, each = slots[number]
        for _ in range(count if each else 0):
            at = next((n for n, hole in enumerate(free) if size(hole) >= each), None)
            if at is None:
                return None
            start, end = free[at]
            found[number] += (start,)
            free[at] = start + each + -each % beat, end
    return found


def _placed(maker: Placement, taker: Placement, relay: Relay) -> tuple[Placement, Placement]:
    first, second, outputs, planes, inputs = relay.addresses
    tables = next(iter(first), None), next(iter(second), None)
    return (
        replace(maker, tiling=relay.made, input_slots=inputs, output_slots=planes, tables=tables[0], hands_on=True),
        replace(taker, tiling=relay.taken, input_slots=(), output_slots=outputs, tables=tables[1]),
    )
