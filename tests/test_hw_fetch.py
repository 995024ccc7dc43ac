"""The program's fetch: order, back-pressure, and everything that stops it."""

import random

import pytest

from systolith.hw.engine.fetch import Fetch
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import (
    LAYOUTS,
    Operation,
    decode,
    encode,
)
from systolith.hw.isa.register_map import Cause

from .hw_memory import check_burst
from .hw_streams import STALLS, plain, run, sink

QUEUE = {
    Operation.LOAD: "load",
    Operation.WEIGHTS: "weights",
    Operation.ARRAY: "array",
    Operation.VECTOR: "vector",
    Operation.SETUP: "vector",
    Operation.STORE: "store",
}
NAMES = tuple(dict.fromkeys(QUEUE.values()))
FINGERPRINT = 0x93A5C1E7
ADDRESS = 4096 - 2 * INSTRUCTION_BYTES


def random_fields(rng, operation):
    return {n: rng.getrandbits(f.width) for n, f in LAYOUTS[operation] if n != "operation"}


def shown(name, items):
    """What arrived at a queue, decoded; the vector unit's takes two operations, told apart by their code."""
    if name == "vector":
        return [decode(word.to_bytes(INSTRUCTION_BYTES, "little")) for word in items]
    return [(Operation(item["operation"]), {n: v for n, v in item.items() if n != "operation"}) for item in items]


def simulate(program, stall, *, bus_bytes=8, busy_cycles=30, runs=1):
    """(dispatched to each queue, outcomes of each run): an outcome is ("done" or the cause, reads behind END)."""
    component, rng = Fetch(bus_bytes=bus_bytes, fingerprint=FINGERPRINT), random.Random(7)
    content = b"".join(program)
    outcomes, reads, order = [], [], []
    found = {name: [] for name in NAMES}

    async def memory(ctx):
        queue, offered = [], False
        while True:
            ready = rng.random() >= stall
            offered = bool(queue) and rng.random() >= stall
            ctx.set(component.requests.ready, ready)
            ctx.set(component.beats.valid, offered)
            ctx.set(component.beats.payload, queue[0] if offered else {"data": rng.getrandbits(9), "last": 1})
            _, _, valid, burst, taken = await ctx.tick().sample(
                component.requests.valid, component.requests.payload, component.beats.ready
            )
            if offered:
                assert taken, "fetch asked for a beat that it does not take"
                queue.pop(0)
            if valid and ready:
                check_burst(burst.address, burst.length + 1, bus_bytes)
                at, size = int(burst.address) - ADDRESS, (int(burst.length) + 1) * bus_bytes
                reads.append(at)
                assert size == INSTRUCTION_BYTES
                assert 0 <= at <= len(content) - size, "reads beyond the program's memory"
                for n in range(0, size, bus_bytes):
                    word = int.from_bytes(content[at + n : at + n + bus_bytes], "little")
                    queue.append({"data": word, "last": int(n + bus_bytes == size)})

    async def watch(ctx):
        last = dict.fromkeys(NAMES, 0)
        while True:
            await ctx.tick()
            for name in NAMES:
                if len(found[name]) != last[name]:
                    last[name] = len(found[name])
                    order.append(name)

    async def bench(ctx):
        for _ in range(runs):
            ctx.set(component.units_idle, 0)
            ctx.set(component.program, ADDRESS)
            ctx.set(component.start, 1)
            await ctx.tick()
            ctx.set(component.start, 0)
            ctx.set(component.program, rng.getrandbits(32))
            outcome, cycle, quiet = None, 0, None
            while True:
                _, _, done, failed, cause, busy = await ctx.tick().sample(
                    component.done, component.failed, component.cause, component.busy
                )
                assert busy
                if failed:
                    assert outcome is None
                    outcome = Cause(cause)
                if done:
                    assert quiet is not None
                    assert cycle >= quiet, "done while a unit was still busy"
                    break
                cycle += 1
                if quiet is None and cycle > 20 * len(program) + busy_cycles:
                    quiet = cycle
                    ctx.set(component.units_idle, 1)
            assert not ctx.get(component.busy)
            outcomes.append(outcome)
        before = sum(map(len, found.values()))
        for _ in range(40):
            await ctx.tick()
        assert sum(map(len, found.values())) == before

    sinks = [sink(getattr(component, name), found[name], stall=stall, seed=n) for n, name in enumerate(NAMES)]
    run(component, bench, memory, watch, *sinks)
    return {name: shown(name, items) for name, items in found.items()}, outcomes, order, reads


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("bus_bytes", [4, 16, 64])
def test_every_instruction_reaches_its_unit_in_order(bus_bytes, stall):
    rng = random.Random(bus_bytes)
    operations = [rng.choice([*QUEUE]) for _ in range(30)]
    fields = [random_fields(rng, o) for o in operations]
    program = [encode(Operation.BEGIN, fingerprint=FINGERPRINT)]
    program += [encode(o, **f) for o, f in zip(operations, fields, strict=True)]
    program += [encode(Operation.END)] * (1 + Fetch.PREFETCH)
    found, outcomes, order, reads = simulate(program, stall, bus_bytes=bus_bytes, runs=2)
    assert {*operations} == {*QUEUE}
    for name in NAMES:
        expected = [(o, f) for o, f in zip(operations, fields, strict=True) if QUEUE[o] == name]
        assert found[name] == 2 * expected
    assert outcomes == [None, None]
    assert order == 2 * [QUEUE[o] for o in operations]
    assert reads.count(0) == 2


@pytest.mark.parametrize("stall", STALLS)
def test_a_program_for_other_parameters_is_refused(stall):
    program = [encode(Operation.BEGIN, fingerprint=FINGERPRINT ^ 1 << 31), encode(Operation.STORE)]
    program += [encode(Operation.END)] * (1 + Fetch.PREFETCH)
    found, outcomes, _, _ = simulate(program, stall)
    assert outcomes == [Cause.FINGERPRINT]
    assert not any(found.values())


@pytest.mark.parametrize("operation", [8, 0x80, 0xFF])
def test_an_unknown_operation_stops_the_program(operation):
    unknown = operation.to_bytes(INSTRUCTION_BYTES, "little")
    program = [encode(Operation.LOAD, rows=3), unknown, encode(Operation.LOAD, rows=4)]
    program += [encode(Operation.END)] * (1 + Fetch.PREFETCH)
    found, outcomes, _, _ = simulate(program, 0.0)
    assert outcomes == [Cause.OPERATION]
    assert [f["rows"] for _, f in found["load"]] == [3]
    assert plain(int(Cause.OPERATION.value)) == 3
