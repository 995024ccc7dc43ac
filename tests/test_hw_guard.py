"""The gate to the bus: addresses, the window's edges, and what stops it."""

import random

import pytest

from systolith.hw.engine.guard import Guard

from .hw_streams import STALLS, arrival, run, sink, source

BASE = 0x7C_0000_5000
PAGES = 3


def burst(address, length=0, final=0):
    return {"address": address, "length": length, "final": final}


def bench_of(component, found, sent, *, window=None, stall=0.0):
    """A bench that lets ``sent`` through a window of PAGES pages, and what is in front and behind."""

    async def opened(ctx):
        ctx.set(component.window, window or {"base": BASE >> 12, "pages": PAGES, "wraps": 0})
        await ctx.tick()

    return [opened, source(component.bursts, sent, stall=stall), sink(component.passed, found, stall=stall)]


@pytest.mark.parametrize("stall", STALLS)
def test_what_lies_inside_gets_its_address(stall):
    component, rng, found = Guard(), random.Random(1), []
    sent = [burst(rng.randrange(PAGES * 4096), rng.randrange(16), rng.randrange(2)) for _ in range(60)]
    sent += [burst(0), burst(PAGES * 4096 - 4)]
    run(component, arrival(found, len(sent)), *bench_of(component, found, sent, stall=stall))
    assert found == [{**b, "address": BASE + b["address"]} for b in sent]


@pytest.mark.parametrize("address", [PAGES * 4096, PAGES * 4096 + 64, 1 << 31, (1 << 32) - 4])
def test_behind_what_lies_outside_nothing_passes(address):
    component, found = Guard(), []
    sent = [burst(0), burst(address), burst(0), burst(64)]

    async def end(ctx):
        await arrival(found, 1)(ctx)
        assert ctx.get(component.outside)

    run(component, end, *bench_of(component, found, sent))
    assert found == [{**burst(0), "address": BASE}]


@pytest.mark.parametrize("window", [{"base": 0, "pages": 0, "wraps": 0}, {"base": 1, "pages": 9, "wraps": 1}], ids=str)
def test_an_empty_window_and_one_that_wraps_let_nothing_out(window):
    component, found = Guard(), []

    async def end(ctx):
        await arrival(found, 0)(ctx)
        assert ctx.get(component.outside)

    run(component, end, *bench_of(component, found, [burst(0)], window=window))


def test_while_closed_what_has_passed_stays_and_nothing_follows():
    """Neither from inside the window nor from outside, which is no failure then; what comes is dropped."""
    component = Guard()

    async def bench(ctx):
        ctx.set(component.window.pages, 1)
        ctx.set(component.bursts.valid, 1)
        ctx.set(component.bursts.payload.address, 64)
        await ctx.tick()
        ctx.set(component.closed, 1)
        ctx.set(component.bursts.payload.address, 128)
        for _ in range(5):
            _, _, ready, valid, address = await ctx.tick().sample(
                component.bursts.ready, component.passed.valid, component.passed.payload.address
            )
            assert (ready, valid, address) == (0, 1, 64)
        ctx.set(component.passed.ready, 1)
        await ctx.tick()
        for address in (128, 192, 4096, 64):
            ctx.set(component.bursts.payload.address, address)
            _, _, ready, valid, outside = await ctx.tick().sample(
                component.bursts.ready, component.passed.valid, component.outside
            )
            assert (ready, valid, outside) == (1, 0, 0)

    run(component, bench)
