"""The storer writes every byte of its spans, and strobes nothing else."""

import itertools
import random
from collections import deque

import pytest

from systolith.hw.engine.activations import ActivationMemory
from systolith.hw.engine.sizes import memory_format
from systolith.hw.engine.storer import Storer
from systolith.hw.isa.parameters import Parameters

from .hw_memory import beat_of, byte, check_burst
from .hw_streams import STALLS, run, source

SIZES = {
    "4-byte bus": {"bus_bytes": 4},
    "16-byte bus": {"bus_bytes": 16},
    "two-byte elements": {"bus_bytes": 8, "activation_bits": 11},
    "a bus of two elements": {"bus_bytes": 4, "activation_bits": 16},
}
BASE = 0x5B_2000_0000


def transfers(p, rng):
    """Both sides at the same place of a beat, for every place; spans of all lengths, never twice to the same byte."""
    each, bus = p.element_bytes, p.bus_bytes
    result, dram = [], 4096 - 3 * bus
    for place in range(p.bus_elements):
        for _ in range(3):
            rows = rng.randint(1, 4)
            count = rng.choice([1, 2, p.bus_elements, p.bus_elements + 1, rng.randint(1, 30)])
            pitch = -(-count // p.bus_elements) * p.bus_elements + rng.choice([0, p.bus_elements])
            chip = rng.randrange(0, p.activation_elements - rows * pitch - p.bus_elements, p.bus_elements) + place
            result.append(
                {
                    "wait": rng.randrange(16), "post": rng.randrange(16), "rows": rows - 1, "bytes": count * each - 1,
                    "dram": dram + place * each, "dram_step": pitch * each, "chip": chip, "chip_step": pitch,
                }
            )  # fmt: skip
            dram += (rows + 2) * pitch * each
    long = {"rows": 0, "bytes": 40 * bus - 1, "dram": (dram // 4096 + 2) * 4096 - 4 * bus, "dram_step": 0, "chip": 0}
    return [*result, {"wait": 0, "post": 9, **long, "chip_step": 0}]


def expected_of(p, work):
    """DRAM byte: value."""
    each = p.element_bytes
    return {
        BASE + t["dram"] + r * t["dram_step"] + n: byte((t["chip"] + r * t["chip_step"]) * each + n)
        for t in work
        for r in range(t["rows"] + 1)
        for n in range(t["bytes"] + 1)
    }


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_storer_writes_spans(sizes, stall):
    p = Parameters(rows=2, columns=2, **sizes)
    component, rng = Storer(bus_bytes=p.bus_bytes, memory=memory_format(p)), random.Random(p.bus_bytes)
    bus, tokens = component.bus, component.tokens
    work = transfers(p, rng)
    expected, found, waits, gives, errors = expected_of(p, work), {}, [], [], [0, 0]

    async def chip(ctx):
        """The activation memory's read port."""
        answers = deque([None] * ActivationMemory.READ_LATENCY)
        while True:
            ready = rng.random() >= stall
            ctx.set(component.read_ready, ready)
            due = answers.popleft()
            ctx.set(component.read_data, rng.getrandbits(8 * p.bus_bytes) if due is None else due)
            _, _, valid, address = await ctx.tick().sample(component.read_valid, component.read_address)
            assert not valid or len(waits) > len(gives), "it reads before it has its tokens"
            aligned = address // p.bus_elements * p.bus_bytes
            answers.append(beat_of(aligned, p.bus_bytes) if valid and ready else None)

    async def dram(ctx):
        """An AXI4 slave: addresses and data in any order of arrival, answers late."""
        ctx.set(component.window, {"base": BASE >> 12, "pages": 1 << 10, "wraps": 0})
        bursts, beats, answers, cycle, answering, tokens_due = deque(), deque(), deque(), 0, None, 0
        held = {}
        while True:
            pausing = cycle % 150 < 60  # longer than the storer's FIFO
            ctx.set(tokens.ready, rng.random() >= stall)
            ready = {"aw": rng.random() >= stall, "w": rng.random() >= stall and not pausing}
            ctx.set(bus.awready, ready["aw"])
            ctx.set(bus.wready, ready["w"])
            if answering is None and answers and answers[0][0] <= cycle and rng.random() >= stall:
                answering = answers.popleft()[1]
            ctx.set(bus.bvalid, answering is not None)
            ctx.set(bus.bresp, answering if answering is not None else 3)
            values = await ctx.tick().sample(
                bus.awvalid, bus.awaddr, bus.awlen, bus.wvalid, bus.wdata,
                bus.wstrb, bus.wlast, bus.bready, tokens.take, tokens.wait, tokens.give, tokens.give_to,
                component.error,
            )  # fmt: skip
            awvalid, awaddr, awlen, wvalid, wdata, wstrb, wlast, bready, *rest = values[2:]
            take, wait, give, give_to, error = rest
            offered = {"aw": (awvalid, awaddr, awlen), "w": (wvalid, wdata, wstrb, wlast)}
            for name, now in offered.items():
                if name in held:
                    assert now == held.pop(name), f"{name} changed while it waited"
                if now[0] and not ready[name]:
                    held[name] = now
            errors[1] += error
            if take:
                waits.append(wait)
            if answering is not None and bready:
                errors[0] += answering >> 1
                answering = None
                tokens_due -= 1
            if awvalid and ready["aw"]:
                check_burst(awaddr, awlen + 1, p.bus_bytes)
                bursts.append((awaddr, awlen + 1))
                tokens_due += 1
            if wvalid and ready["w"]:
                beats.append((wdata, wstrb, wlast))
            while bursts and len(beats) >= bursts[0][1]:
                address, count = bursts.popleft()
                for n in range(count):
                    data, strobe, last = beats.popleft()
                    assert last == (n == count - 1)
                    for i in range(p.bus_bytes):
                        if strobe >> i & 1:
                            at = address + n * p.bus_bytes + i
                            assert at not in found, "written twice"
                            found[at] = data >> 8 * i & 0xFF
                response = rng.choice([2, 3] if rng.randrange(3) == 0 else [0, 1])
                answers.append((cycle + rng.randint(1, 30), response))
            if give:
                assert tokens_due == 0, "a token before memory answered"
                done = work[: len(gives) + 1]
                assert set(found) >= set(expected_of(p, done)), "a token before all is written"
                gives.append(give_to)
            cycle += 1

    async def end(ctx):
        while len(gives) < len(work):
            await ctx.tick()
        for _ in range(60):
            await ctx.tick()
        assert len(gives) == len(work)
        assert ctx.get(component.idle)
        assert not ctx.get(bus.awvalid)
        assert not ctx.get(bus.wvalid)

    run(component, end, source(component.instructions, work, stall=stall), chip, dram)
    assert found == expected
    assert waits == [t["wait"] for t in work]
    assert gives == [t["post"] for t in work]
    assert errors[0] == errors[1] > 0


def test_spans_of_one_beat_follow_each_other_as_bursts_do():
    p = Parameters(rows=2, columns=2, bus_bytes=8)
    component, reads, gives = Storer(bus_bytes=8, memory=memory_format(p)), [], []
    work = {"wait": 0, "post": 1, "rows": 39, "bytes": 7, "dram": 0, "dram_step": 64, "chip": 0, "chip_step": 32}

    async def around(ctx):
        ctx.set(component.window, {"base": BASE >> 12, "pages": 1 << 10, "wraps": 0})
        for ready in (component.read_ready, component.tokens.ready, component.bus.awready, component.bus.wready):
            ctx.set(ready, 1)
        cycle, last = 0, 0
        while True:
            ctx.set(component.bus.bvalid, last)  # memory answers at once
            values = await ctx.tick().sample(
                component.read_valid, component.read_address, component.bus.wvalid, component.tokens.give
            )
            _, _, reading, address, last, give = values
            reads.extend([(cycle, address)] if reading else [])
            gives.extend([cycle] if give else [])
            cycle += 1

    async def end(ctx):
        while not gives:
            await ctx.tick()

    run(component, end, source(component.instructions, [work], stall=0.0), around)
    times, addresses = zip(*reads, strict=True)
    assert [*addresses] == [32 * n for n in range(40)]
    assert [after - before for before, after in itertools.pairwise(times)] == [2] * 39
