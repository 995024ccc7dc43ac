"""The FIFOs whose writers count, against a queue."""

import random

import pytest

from systolith.hw.engine.counted_fifo import CountedFifo
from systolith.hw.engine.shift_fifo import ShiftFifo

from .hw_streams import STALLS, arrival, recorder, run, sink

BOTH = pytest.mark.parametrize("fifo", [CountedFifo, ShiftFifo])


@BOTH
@pytest.mark.parametrize("slow_taker", STALLS)
@pytest.mark.parametrize("depth", [2, 3, 8, 13])
def test_items_come_out_in_order_with_every_place_in_use(fifo, depth, slow_taker):
    component, rng, written, found, most = fifo(shape=12, depth=depth), random.Random(depth), [], [], [0]

    async def writer(ctx):
        """As fast as there are places, then with pauses."""
        while len(written) < 400:
            writes = len(written) - len(found) < depth and (len(written) < 200 or rng.random() < 0.5)
            ctx.set(component.incoming.valid, writes)
            if writes:
                written.append(rng.randrange(1 << 12))
                ctx.set(component.incoming.payload, written[-1])
            most[0] = max(most[0], len(written) - len(found))
            await ctx.tick()
        ctx.set(component.incoming.valid, 0)

    async def end(ctx):
        while len(written) < 400:
            await ctx.tick()
        await arrival(found, 400)(ctx)

    run(component, end, sink(component.outgoing, found, stall=slow_taker), writer)
    assert found == written
    assert most == [depth if slow_taker else min(depth, fifo.LATENCY + 1)]


@BOTH
def test_latency_and_full_throughput(fifo):
    component, found = fifo(shape=8, depth=4), []

    async def writer(ctx):
        for item in range(50):
            ctx.set(component.incoming.valid, 1)
            ctx.set(component.incoming.payload, item)
            await ctx.tick()
        ctx.set(component.incoming.valid, 0)

    run(
        component,
        arrival(found, 50),
        writer,
        sink(component.outgoing, []),
        recorder(found, component.outgoing.valid, component.outgoing.payload),
    )
    assert found == [(cycle + fifo.LATENCY, cycle) for cycle in range(50)]
