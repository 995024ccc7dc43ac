"""How runs begin and end: by themselves, at an error, by the host, by the watchdog."""

import pytest

from systolith.hw.engine.control import Control
from systolith.hw.isa.register_map import Cause

from .hw_streams import run

CAUSES = {"fetch": Cause.CHECK, "read": Cause.READ, "write": Cause.WRITE, "range": Cause.RANGE}


async def pulse(ctx, *signals):
    """These for one cycle."""
    for signal in signals:
        ctx.set(signal, 1)
    await ctx.tick()
    for signal in signals:
        ctx.set(signal, 0)


def shown(ctx, dut):
    return tuple(ctx.get(signal) for signal in (dut.busy, dut.done, dut.error)), Cause(ctx.get(dut.cause))


async def broken_off(ctx, dut, slow=7):
    """Memory takes its time; then everything is reset for one cycle, and the engine is idle."""
    for _ in range(slow):
        _, _, closed, cleared, busy = await ctx.tick().sample(dut.closed, dut.cleared, dut.busy)
        assert (closed, cleared, busy) == (1, 0, 1)
    ctx.set(dut.quiet, 1)
    await ctx.tick()
    ctx.set(dut.quiet, 0)
    assert (ctx.get(dut.cleared), ctx.get(dut.busy)) == (1, 1)
    await ctx.tick()
    assert (ctx.get(dut.cleared), ctx.get(dut.closed), ctx.get(dut.busy)) == (0, 0, 0)


def test_a_run_that_ends_by_itself_is_done():
    dut = Control()

    async def bench(ctx):
        for _ in range(2):
            await pulse(ctx, dut.start)
            assert shown(ctx, dut) == ((1, 0, 0), Cause.NONE)
            for _ in range(9):
                await ctx.tick()
            await pulse(ctx, dut.finished)
            assert shown(ctx, dut) == ((0, 1, 0), Cause.NONE)
            assert not ctx.get(dut.closed)
        await pulse(ctx, dut.clear)
        assert shown(ctx, dut) == ((0, 0, 0), Cause.NONE)

    run(dut, bench)


@pytest.mark.parametrize("what", CAUSES)
def test_the_first_error_breaks_the_run_off(what):
    """And keeps its cause until a start or a clear, and what the units waited for until a start."""
    dut = Control()

    async def bench(ctx):
        for forget in (dut.start, dut.clear):
            await pulse(ctx, dut.start)
            ctx.set(dut.failures.cause, Cause.CHECK)
            ctx.set(dut.waits, 0b10011)
            await pulse(ctx, getattr(dut.failures, what))
            await ctx.tick()
            ctx.set(dut.waits, 0)
            assert shown(ctx, dut) == ((1, 0, 1), CAUSES[what])
            await pulse(ctx, *(getattr(dut.failures, other) for other in CAUSES if other != what), dut.finished)
            await broken_off(ctx, dut)
            assert shown(ctx, dut) == ((0, 0, 1), CAUSES[what])
            assert ctx.get(dut.waits_shown) == 0b10011
            await pulse(ctx, forget)
            assert shown(ctx, dut) == ((int(forget is dut.start), 0, 0), Cause.NONE)
            assert ctx.get(dut.waits_shown) == (0 if forget is dut.start else 0b10011)
            if forget is dut.start:
                await pulse(ctx, dut.finished)

    run(dut, bench)


def test_that_all_is_quiet_counts_when_the_gates_have_closed():
    dut = Control()

    async def bench(ctx):
        await pulse(ctx, dut.start)
        ctx.set(dut.quiet, 1)
        await pulse(ctx, dut.reset)
        assert (ctx.get(dut.closed), ctx.get(dut.cleared)) == (1, 0)
        await ctx.tick()
        assert (ctx.get(dut.closed), ctx.get(dut.cleared)) == (1, 0)
        await ctx.tick()
        assert ctx.get(dut.cleared)

    run(dut, bench)


def test_a_token_that_is_left_is_an_error():
    dut = Control()

    async def bench(ctx):
        await pulse(ctx, dut.start)
        await pulse(ctx, dut.finished, dut.tokens_left)
        assert shown(ctx, dut) == ((1, 0, 1), Cause.TOKEN)
        await broken_off(ctx, dut)
        assert shown(ctx, dut) == ((0, 0, 1), Cause.TOKEN)

    run(dut, bench)


@pytest.mark.parametrize("when", ["idle", "done", "running", "broken off", "cleared"])
def test_a_reset_by_the_host_leaves_nothing(when):
    dut = Control()

    async def bench(ctx):
        ctx.set(dut.waits, 0b101)
        if when != "idle":
            await pulse(ctx, dut.start)
        if when == "done":
            await pulse(ctx, dut.finished)
        if when in ("broken off", "cleared"):
            await pulse(ctx, dut.failures.read)
            await ctx.tick()
            assert ctx.get(dut.error)
        if when == "cleared":
            await ctx.tick()
            await pulse(ctx, dut.quiet)
            await pulse(ctx, dut.reset)
        else:
            await pulse(ctx, dut.reset)
            await broken_off(ctx, dut)
        assert shown(ctx, dut) == ((0, 0, 0), Cause.NONE)
        assert ctx.get(dut.waits_shown) == 0
        await pulse(ctx, dut.start)
        assert shown(ctx, dut) == ((1, 0, 0), Cause.NONE)

    run(dut, bench)


@pytest.mark.parametrize("cycles", [1, 20])
def test_the_watchdog_bites_when_nothing_has_moved_for_so_long(cycles):
    dut = Control()

    async def until_closed(ctx):
        count = 0
        while not ctx.get(dut.closed):
            await ctx.tick()
            count += 1
        return count

    async def bench(ctx):
        ctx.set(dut.watchdog, cycles)
        for _ in range(3):
            await ctx.tick()
        await pulse(ctx, dut.start)
        first = await until_closed(ctx)
        assert shown(ctx, dut) == ((1, 0, 1), Cause.WATCHDOG)
        await broken_off(ctx, dut)
        await pulse(ctx, dut.start)
        for _ in range(3 * cycles):
            ctx.set(dut.progress, 1)
            await ctx.tick()
            assert not ctx.get(dut.closed)
        ctx.set(dut.progress, 0)
        assert cycles < first <= cycles + 3
        assert await until_closed(ctx) == first + 1  # what moves is counted a cycle later

    run(dut, bench)


def test_memory_that_never_answers_is_told_though_the_engine_cannot_end():
    dut = Control()

    async def bench(ctx):
        ctx.set(dut.watchdog, 10)
        await pulse(ctx, dut.start)
        await pulse(ctx, dut.reset)
        for _ in range(20):
            await ctx.tick()
        assert shown(ctx, dut) == ((1, 0, 1), Cause.WATCHDOG)
        await broken_off(ctx, dut)
        assert shown(ctx, dut) == ((0, 0, 0), Cause.NONE)

    run(dut, bench)


def test_the_watchdog_does_not_hide_an_earlier_cause():
    dut = Control()

    async def bench(ctx):
        ctx.set(dut.watchdog, 10)
        await pulse(ctx, dut.start)
        await pulse(ctx, dut.failures.write)
        for _ in range(30):
            await ctx.tick()
        assert shown(ctx, dut) == ((1, 0, 1), Cause.WRITE)

    run(dut, bench)


def test_without_a_watchdog_a_run_may_stand_still():
    dut = Control()

    async def bench(ctx):
        await pulse(ctx, dut.start)
        for _ in range(300):
            await ctx.tick()
        assert shown(ctx, dut) == ((1, 0, 0), Cause.NONE)

    run(dut, bench)


@pytest.mark.parametrize(
    ("base", "pages", "wraps"), [(5, 7, 0), ((1 << 28) - 7, 7, 0), ((1 << 28) - 7, 8, 1), ((1 << 28) - 1, 1 << 19, 1)]
)
def test_the_window_is_that_of_the_start(base, pages, wraps):
    dut = Control()

    async def bench(ctx):
        ctx.set(dut.base, base)
        ctx.set(dut.pages, pages)
        await pulse(ctx, dut.start)
        ctx.set(dut.base, 3)
        ctx.set(dut.pages, 1 << 18)
        await ctx.tick()
        assert [ctx.get(field) for field in (dut.window.base, dut.window.pages, dut.window.wraps)] == [
            base,
            pages,
            wraps,
        ]

    run(dut, bench)
