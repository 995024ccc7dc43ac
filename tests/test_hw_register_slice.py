"""The register slice against a queue."""

import random

import pytest

from systolith.hw.engine.register_slice import RegisterSlice

from .hw_streams import STALLS, arrival, recorder, run, sink, source


@pytest.mark.parametrize("slow_taker", STALLS)
@pytest.mark.parametrize("slow_giver", STALLS)
def test_items_come_out_in_order(slow_giver, slow_taker):
    component, found = RegisterSlice(shape=12), []
    items = [random.Random(8).randrange(1 << 12) for _ in range(400)]
    run(
        component,
        arrival(found, len(items)),
        source(component.incoming, items, stall=slow_giver),
        sink(component.outgoing, found, stall=slow_taker),
    )
    assert found == items


def test_latency_and_full_throughput():
    component, taken, found = RegisterSlice(shape=8), [], []
    items = list(range(50))
    entered = component.incoming.valid & component.incoming.ready
    run(
        component,
        arrival(found, len(items)),
        source(component.incoming, items),
        sink(component.outgoing, []),
        recorder(taken, entered, component.incoming.payload),
        recorder(found, component.outgoing.valid, component.outgoing.payload),
    )
    assert [cycle for cycle, _ in taken] == list(range(50))
    assert found == [(cycle + RegisterSlice.LATENCY, item) for cycle, item in taken]


def test_no_path_from_either_side_to_the_other():
    """Within a cycle, ``ready`` does not follow the taker, nor ``valid`` and the payload the giver."""
    component = RegisterSlice(shape=8)

    async def bench(ctx):
        for _ in range(5):
            for taker in (0, 1):
                seen = set()
                for giver, payload in ((0, 3), (1, 3), (1, 7)):
                    for now in (taker, 1 - taker, taker):
                        ctx.set(component.incoming.valid, giver)
                        ctx.set(component.incoming.payload, payload)
                        ctx.set(component.outgoing.ready, now)
                        outputs = (component.incoming.ready, component.outgoing.valid, component.outgoing.payload)
                        seen.add(tuple(ctx.get(output) for output in outputs))
                assert len(seen) == 1
                await ctx.tick()

    run(component, bench)
