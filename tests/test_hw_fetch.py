"""The program's fetch: order, back-pressure, and everything that stops it."""

import random

import pytest

from systolith.hw.engine.fetch import Fetch
from systolith.hw.isa.check import sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import (
    LAYOUTS,
    Operation,
    decode,
    encode,
)
from systolith.hw.isa.register_map import Cause

from .hw_memory import check_burst
from .hw_streams import STALLS, run, sink

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
IMAGE = 0x51C0FFEE
ADDRESS = 4096 - 2 * INSTRUCTION_BYTES
BEGIN = encode(Operation.BEGIN, fingerprint=FINGERPRINT, image=IMAGE)
STAMP = sealed(encode(Operation.IMAGE, image=IMAGE))
ENDS = [encode(Operation.END)] * (1 + Fetch.PREFETCH)


def random_fields(rng, operation):
    return {n: rng.getrandbits(f.width) for n, f in LAYOUTS[operation] if n != "operation"}


def shown(name, items):
    """What arrived at a queue, decoded; the vector unit's takes two operations, told apart by their code."""
    if name == "vector":
        return [decode(word.to_bytes(INSTRUCTION_BYTES, "little")) for word in items]
    return [(Operation(item["operation"]), {n: v for n, v in item.items() if n != "operation"}) for item in items]


def whole(*listing):
    """The sealed program of these instructions, between BEGIN and ENDs."""
    return sealed(b"".join([BEGIN, *listing, *ENDS]))


def simulate(content, stall, *, bus_bytes=8, busy_cycles=30, runs=1, stamp=STAMP, broken=-1):
    """(dispatched to each queue, causes of each run, their order, addresses read).

    content : the program;  broken : the byte address whose beat comes with an error
    """
    component, rng = Fetch(bus_bytes=bus_bytes, fingerprint=FINGERPRINT, packed=True, sliding=True), random.Random(7)
    outcomes, reads, order = [], [], []
    found = {name: [] for name in NAMES}

    async def memory(ctx):
        queue, offered, refused = [], False, 0
        while True:
            ready = rng.random() >= stall
            offered = bool(queue) and rng.random() >= stall
            ctx.set(component.requests.ready, ready)
            ctx.set(component.beats.valid, offered)
            ctx.set(component.beats.payload, queue[0][0] if offered else {"data": rng.getrandbits(9), "last": 1})
            ctx.set(component.beat_error, queue[0][1] if offered else rng.randrange(2))
            _, _, valid, burst, taken = await ctx.tick().sample(
                component.requests.valid, component.requests.payload, component.beats.ready
            )
            if offered and not taken:  # until those before it have moved on
                refused += 1
                assert refused < Fetch.PREFETCH, "fetch asked for a beat that it does not take"
            elif offered:
                refused = 0
                queue.pop(0)
            if valid and ready:
                check_burst(burst.address, burst.length + 1, bus_bytes)
                address, size = int(burst.address), (int(burst.length) + 1) * bus_bytes
                at, source = (0, stamp) if address == 0 else (address - ADDRESS, content)
                reads.append(address)
                assert size == INSTRUCTION_BYTES
                assert 0 <= at <= len(source) - size, "reads beyond the program's memory"
                for n in range(0, size, bus_bytes):
                    word = int.from_bytes(source[at + n : at + n + bus_bytes], "little")
                    error = broken >= 0 and address + n <= broken < address + n + bus_bytes
                    queue.append(({"data": word, "last": int(n + bus_bytes == size)}, error))

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
            while outcome is None:
                _, _, done, failed, cause = await ctx.tick().sample(component.done, component.failed, component.cause)
                if failed:
                    outcome = Cause(cause)
                if done:
                    assert quiet is not None
                    assert cycle >= quiet, "done while a unit was still busy"
                    outcome = Cause.NONE
                cycle += 1
                if quiet is None and cycle > len(content) // 4 + busy_cycles:
                    quiet = cycle
                    ctx.set(component.units_idle, 1)
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
    program = whole(*(encode(o, **f) for o, f in zip(operations, fields, strict=True)))
    found, outcomes, order, reads = simulate(program, stall, bus_bytes=bus_bytes, runs=2)
    assert {*operations} == {*QUEUE}
    for name in NAMES:
        expected = [(o, f) for o, f in zip(operations, fields, strict=True) if QUEUE[o] == name]
        assert found[name] == 2 * expected
    assert outcomes == [Cause.NONE] * 2
    assert order == 2 * [QUEUE[o] for o in operations]
    every = [0, *range(ADDRESS, ADDRESS + len(program), INSTRUCTION_BYTES)]
    second = reads.index(0, 1)
    assert reads[:second] == every[:second]
    assert reads[second:] == every[: len(reads) - second]
    assert min(second, len(reads) - second) >= len(every) - Fetch.PREFETCH


LOADS = [encode(Operation.LOAD, rows=n) for n in range(4)]
OTHER_IMAGE = encode(Operation.BEGIN, fingerprint=FINGERPRINT, image=IMAGE ^ 1)
OTHER_ACCELERATOR = encode(Operation.BEGIN, fingerprint=FINGERPRINT ^ 1 << 31, image=IMAGE)


def flipped(content, number, bit):
    changed = bytearray(content)
    changed[number * INSTRUCTION_BYTES + bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def without(content, number):
    """The chain with an instruction left out."""
    return content[: number * INSTRUCTION_BYTES] + content[(number + 1) * INSTRUCTION_BYTES :] + ENDS[0]


RIGHT = whole(*LOADS)
SWAPPED = RIGHT[:128] + RIGHT[192:256] + RIGHT[128:192] + RIGHT[256:]
OTHER = whole(*LOADS[:1], *LOADS[2:], *LOADS)
STOPPED = {  # program, stamp, loads that are dispatched, cause
    "a program for other parameters": (sealed(OTHER_ACCELERATOR + b"".join(LOADS)), STAMP, 0, Cause.FINGERPRINT),
    "a program for another image": (sealed(OTHER_IMAGE + b"".join(LOADS)), STAMP, 0, Cause.IMAGE),
    "no stamp": (RIGHT, bytes(64), 0, Cause.IMAGE),
    "a damaged stamp": (RIGHT, flipped(STAMP, 0, 9), 0, Cause.IMAGE),
    "a program as the stamp": (RIGHT, sealed(BEGIN), 0, Cause.IMAGE),
    "the image as the program": (STAMP + RIGHT, STAMP, 0, Cause.OPERATION),
    "zeros": (bytes(1024), STAMP, 0, Cause.CHECK),
    "ones": (b"\xff" * 1024, STAMP, 0, Cause.CHECK),
    "no BEGIN": (sealed(b"".join([*LOADS, *ENDS])), STAMP, 0, Cause.OPERATION),
    "a second BEGIN": (whole(LOADS[0], BEGIN, LOADS[1]), STAMP, 1, Cause.OPERATION),
    "a bit of BEGIN": (flipped(RIGHT, 0, 40), STAMP, 0, Cause.CHECK),
    "a bit of an instruction": (flipped(RIGHT, 3, 100), STAMP, 2, Cause.CHECK),
    "the last bit of a check": (flipped(RIGHT, 3, 511), STAMP, 2, Cause.CHECK),
    "a bit of END": (flipped(RIGHT, 5, 0), STAMP, 4, Cause.CHECK),
    "an instruction left out": (without(RIGHT, 2), STAMP, 1, Cause.CHECK),
    "an instruction twice": (RIGHT[:192] + RIGHT[128:], STAMP, 2, Cause.CHECK),
    "two in the wrong order": (SWAPPED, STAMP, 1, Cause.CHECK),
    "zeros behind the second": (RIGHT[:192] + bytes(512), STAMP, 2, Cause.CHECK),
    "another program behind the third": (RIGHT[:256] + OTHER[256:], STAMP, 3, Cause.CHECK),
    "an unknown operation": (whole(LOADS[0], bytes([10]) + bytes(63)), STAMP, 1, Cause.OPERATION),
    "a sealed zero": (whole(LOADS[0], bytes(64)), STAMP, 1, Cause.OPERATION),
}


@pytest.mark.parametrize("name", STOPPED)
def test_what_is_no_program_stops_before_it_is_dispatched(name):
    program, stamp, loads, cause = STOPPED[name]
    found, outcomes, _, _ = simulate(program + bytes(512), 0.0, stamp=stamp)
    assert outcomes == [cause]
    assert [f["rows"] for _, f in found.pop("load")] == list(range(loads))
    assert not any(found.values())


@pytest.mark.parametrize(("bus_bytes", "stall"), [(4, 0.5), (8, 0.0), (64, 0.0)])
def test_what_came_with_an_error_is_not_dispatched(bus_bytes, stall):
    """A beat of the stamp, of BEGIN, of an instruction; behind END it does not matter."""
    for address, loads in ((0, 0), (ADDRESS + 63, 0), (ADDRESS + 3 * 64 + 60, 2)):
        found, outcomes, _, _ = simulate(RIGHT, stall, bus_bytes=bus_bytes, broken=address)
        assert (outcomes, len(found["load"])) == ([Cause.READ], loads)
    found, outcomes, _, _ = simulate(RIGHT, stall, bus_bytes=bus_bytes, broken=ADDRESS + 6 * 64)
    assert (outcomes, len(found["load"])) == ([Cause.NONE], 4)
