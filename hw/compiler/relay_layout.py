"""Which relays are worth it, and where their slots lie: decided once all layers have places by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from math import prod

from ...quant.graph import Graph
from ..isa.parameters import Parameters
from .cost import Traffic
from .engine_layer import EngineLayer
from .geometry import Geometry
from .placement import TABLE_BYTES, Layout, Placement, lifetimes, meet
from .relay import PLANES, relays
from .relay_tiling import RelayTilings
from .span import Span, size
from .tiling import Tiling

GAIN = 0.99
"""Of both layers' cycles, what a relay may take at most."""


def hand_on(
    layers: Sequence[EngineLayer],
    graph: Graph,
    p: Parameters,
    layout: Layout,
    rooms: Sequence[Span],
    traffic: Callable[[int], Traffic],
) -> Layout:
    """``layout`` with each relay that is faster than its layers one after the other, by the planner's own estimate.

    rooms : what the maps and the vector unit's own layers leave each layer of the activation memory, half open
    """
    placements, windows = list(layout.placements), list(layout.windows)

    @cache
    def tilings(maker: Geometry, taker: Geometry, load: bool, traffic: Traffic) -> RelayTilings:
        return RelayTilings(maker, taker, p, load, traffic)

    for n in relays(layers, {*graph.inputs, *graph.outputs, *layout.resident}, p):
        maker, taker = layers[n : n + 2]
        if _overlap(layers, graph, layout, n):
            continue
        tables = [TABLE_BYTES if it.tables is not None else 0 for it in (maker, taker)]
        room = max(low for low, _ in rooms[n : n + 2]) + sum(tables), min(high for _, high in rooms[n : n + 2])
        if size(room) <= 0:
            continue
        found = tilings(maker.geometry, taker.geometry, traffic(n).load, traffic(n + 1)).best(size(room))
        apart = sum(placement.tiling.cost for placement in placements[n : n + 2])
        if found is None or sum(tiling.cost for tiling in found) > GAIN * apart:
            continue
        placements[n : n + 2] = _placed(placements[n], placements[n + 1], found, room, tables)
        windows[n] = windows[n + 1] = (n, n + 1)
    return Layout(tuple(placements), tuple(windows), layout.resident)


def _overlap(layers: Sequence[EngineLayer], graph: Graph, layout: Layout, n: int) -> bool:
    """Whether resident maps would be in each other's way if layers ``n`` and ``n + 1`` were at work together."""
    lives = lifetimes(layers, layout.windows)
    taken = sorted(
        (address, address + prod(graph.tensors[name].shape))
        for name, address in layout.resident.items()
        if meet(lives[name], (n, n + 1))
    )
    return any(end > start for (_, end), (start, _) in pairwise(taken))


def _placed(
    maker: Placement, taker: Placement, tilings: tuple[Tiling, Tiling], room: Span, tables: Sequence[int]
) -> tuple[Placement, Placement]:
    """Both layers' slots from ``room``'s beginning on, their tables before it."""
    made, taken = tilings
    address = room[0]

    def slots(count: int, size: int) -> tuple[int, ...]:
        nonlocal address
        found = tuple(address + i * size for i in range(count)) if size else ()
        address += count * size
        return found

    outputs = slots(taken.others, taken.output_slot)
    planes = slots(PLANES, made.output_slot)
    return (
        replace(
            maker, tiling=made, input_slots=slots(made.loads, made.input_slot), output_slots=planes, hands_on=True,
            tables=room[0] - sum(tables) if tables[0] else None,
        ),
        replace(
            taker, tiling=taken, input_slots=planes, output_slots=outputs,
            tables=room[0] - tables[1] if tables[1] else None,
        ),
    )  # fmt: skip
