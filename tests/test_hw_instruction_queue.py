"""The queue before a unit: every instruction, once, in order."""

from itertools import pairwise

import pytest
from amaranth.lib import data

from systolith.hw.engine.instruction_queue import InstructionQueue

from .hw_streams import STALLS, arrival, recorder, run, sink, source

SHAPE = data.StructLayout({"operation": 8, "fields": 40})
ITEMS = [{"operation": n, "fields": (n * 0x9E3779B97F) & ((1 << 40) - 1)} for n in range(40)]


@pytest.mark.parametrize("depth", [2, 3, 8])
@pytest.mark.parametrize("slow_unit", [*STALLS, 0.9])
@pytest.mark.parametrize("slow_dispatch", STALLS)
def test_instructions_come_out_as_they_went_in(slow_dispatch, slow_unit, depth):
    component, found = InstructionQueue(shape=SHAPE, depth=depth), []

    async def end(ctx):
        await arrival(found, len(ITEMS))(ctx)
        assert ctx.get(component.empty)

    incoming = source(component.incoming, ITEMS, stall=slow_dispatch)
    run(component, end, incoming, sink(component.outgoing, found, stall=slow_unit))
    assert found == ITEMS


@pytest.mark.parametrize("depth", [2, 5])
def test_depth_latency_and_rate(depth):
    component, taken, given = InstructionQueue(shape=SHAPE, depth=depth), [], []

    async def bench(ctx):
        for _ in range(20):
            assert ctx.get(component.empty) == (not taken)
            await ctx.tick()
        assert len(taken) == depth, "nobody takes them"
        ctx.set(component.outgoing.ready, 1)
        while len(given) < 10:
            await ctx.tick()

    run(
        component,
        bench,
        source(component.incoming, ITEMS[:12]),
        recorder(taken, component.incoming.valid & component.incoming.ready),
        recorder(given, component.outgoing.valid & component.outgoing.ready, component.outgoing.payload),
    )
    assert [p for _, p in given] == ITEMS[:10]
    assert taken[1][0] - taken[0][0] == 2
    assert [b - a for a, b in pairwise(cycle for cycle, _ in given[2:])] == [2] * 7
