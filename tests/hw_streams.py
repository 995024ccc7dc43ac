"""Testbenches for components: streams with random stalls, a watchdog, and the silence that must follow."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from amaranth import Cat, Value
from amaranth.lib import data
from amaranth.sim import Simulator

Bench = Callable[[Any], Coroutine[Any, Any, None]]

STALLS = (0.0, 0.5)
"""Share of cycles in which a side of a stream does not take part: tests run with none and with many."""


def run(component: Any, bench: Bench, *background: Bench, cycles: int = 20_000, clocked: bool = False) -> None:
    """Simulate until ``bench`` returns.  AssertionError when that takes more than ``cycles``.

    clocked : what the background sets counts from the next step on, as a register's value does, so that the circuit
    settles once a cycle and not behind each value: a third less time; it can sample then, and not get
    """
    simulator = Simulator(component)
    simulator.add_clock(1e-6)

    async def watchdog(ctx: Any) -> None:
        for _ in range(cycles):  # an unfinished tick().repeat() would warn when it is collected
            await ctx.tick()
        raise AssertionError(f"the bench did not end in {cycles} cycles")

    for process in (watchdog, *background):
        if clocked:
            simulator.add_process(process)
        else:
            simulator.add_testbench(process, background=True)
    simulator.add_testbench(bench)
    simulator.run()


def plain(value: Any) -> Any:
    """A constant of a layout as dictionaries, lists and integers."""
    if isinstance(value, data.Const):
        layout = value.shape()
        if isinstance(layout, data.StructLayout):
            return {name: plain(value[name]) for name in layout.members}
        return [plain(value[index]) for index in range(layout.length)]
    return int(value)


def packed(values: Sequence[int], bits: int) -> int:
    """``values`` side by side, the first lowest, as a signal of ``bits`` each holds them: to set one integer a cycle
    takes far less time than to have an array of a layout made of them.
    """
    mask = (1 << bits) - 1
    word = 0
    for value in reversed(values):
        word = word << bits | (value & mask)
    return word


def set_at_once(ctx: Any, values: Mapping[str, int], component: Any) -> None:
    """Members of ``component`` by name: the circuits settle once behind them, and not behind each."""
    members = [Value.cast(getattr(component, name)) for name in values]
    word = at = 0
    for member, value in zip(members, values.values(), strict=True):
        word |= (value & ((1 << len(member)) - 1)) << at
        at += len(member)
    ctx.set(Cat(members), word)


def source(port: Any, items: list[Any], *, stall: float = 0.0, seed: int = 0) -> Bench:
    """Sends ``items`` into a stream, holding each until it is taken."""
    rng = random.Random(seed)

    async def bench(ctx: Any) -> None:
        for item in items:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(port.payload, item)
            ctx.set(port.valid, 1)
            while not (await ctx.tick().sample(port.ready))[2]:
                pass
            ctx.set(port.valid, 0)

    return bench


def sink(port: Any, into: list[Any], *, stall: float = 0.0, seed: int = 1) -> Bench:
    """Takes what a stream gives, for ever; fails if a waiting payload changes or goes away."""
    rng = random.Random(seed)

    async def bench(ctx: Any) -> None:
        held = None
        while True:
            ready = rng.random() >= stall
            ctx.set(port.ready, ready)
            _, _, valid, payload = await ctx.tick().sample(port.valid, port.payload)
            payload = plain(payload)
            if held is not None:
                assert valid, f"{held} was offered and withdrawn"
                assert payload == held, f"{held} became {payload} before it was taken"
            held = None
            if valid and ready:
                into.append(payload)
            elif valid:
                held = payload

    return bench


def recorder(into: list[Any], condition: Any, *signals: Any) -> Bench:
    """Appends (cycle, signals ...) for each cycle in which ``condition`` holds."""

    async def bench(ctx: Any) -> None:
        cycle = 0
        while True:
            _, _, there, *values = await ctx.tick().sample(condition, *signals)
            if there:
                into.append((cycle, *map(plain, values)))
            cycle += 1

    return bench


def arrival(into: list[Any], count: int, silence: int = 40) -> Bench:
    """Ends when ``into`` holds ``count`` items and nothing more comes in ``silence`` cycles."""

    async def bench(ctx: Any) -> None:
        while len(into) < count:
            await ctx.tick()
        await ctx.tick().repeat(silence)
        assert len(into) == count, f"{len(into) - count} items too many"

    return bench
