"""The loader places every byte of its spans, and nothing else."""

import random

import pytest

from systolith.hw.engine.activations import ActivationMemory
from systolith.hw.engine.loader import Loader
from systolith.hw.engine.sizes import memory_format
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import TRANSFER

from .hw_memory import answers, byte
from .hw_streams import STALLS, plain, run, source

SIZES = {
    "4-byte bus": {"bus_bytes": 4},
    "16-byte bus": {"bus_bytes": 16},
    "two-byte elements": {"bus_bytes": 8, "activation_bits": 11},
    "a bus of two elements": {"bus_bytes": 4, "activation_bits": 16},
}


def transfers(p, rng):
    """Every alignment on either side, spans within a beat, across beats, across bursts and pages."""
    each, bus = p.element_bytes, p.bus_bytes
    result = []
    for start in range(0, bus, each):
        for _ in range(3):
            rows = rng.randint(1, 4)
            count = rng.choice([1, 2, bus // each, bus // each + 1, rng.randint(1, 30)])
            step = rng.randint(count, count + 20) * each
            chip_step = rng.randint(count, count + 9)
            span = rows * chip_step
            result.append(
                {
                    "wait": rng.randrange(16),
                    "post": rng.randrange(16),
                    "rows": rows - 1,
                    "bytes": count * each - 1,
                    "dram": rng.choice([4096 - bus, 8192, 12288 + 5 * bus]) + start,
                    "dram_step": step,
                    "chip": rng.choice([0, p.activation_elements - span, rng.randint(0, p.activation_elements - span)]),
                    "chip_step": chip_step,
                }
            )
    long = {"rows": 0, "bytes": 40 * bus - 1, "dram": 4096 * 3 - 4 * bus, "dram_step": 0, "chip": 3, "chip_step": 0}
    backwards = {"rows": 2, "bytes": 2 * each - 1, "dram": 9000, "chip": 90, "dram_step": -16, "chip_step": -2}
    return [*result, {"wait": 0, "post": 1, **long}, {"wait": 1, "post": 2, **backwards}]


def expected_of(p, t):
    """Element address: value."""
    each = p.element_bytes
    places = {}
    for row in range(t["rows"] + 1):
        for n in range(t["bytes"] // each + 1):
            at = t["dram"] + row * t["dram_step"] + n * each
            places[t["chip"] + row * t["chip_step"] + n] = sum(byte(at + i) << 8 * i for i in range(each))
    return places


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_loader_places_spans(sizes, stall):
    p = Parameters(rows=2, columns=2, **sizes)
    component, rng = Loader(bus_bytes=p.bus_bytes, memory=memory_format(p)), random.Random(p.bus_bytes)
    work = transfers(p, rng)
    encoded = [{n: v & ((1 << TRANSFER[n].width) - 1) for n, v in t.items()} for t in work]
    found, waits, events, log = [{}], [], [], []  # for each instruction: element address: value

    async def surroundings(ctx):
        cycle, last, given = 0, -99, 0
        while True:
            ctx.set(component.tokens.ready, rng.random() >= stall)
            ctx.set(component.write_ready, rng.random() >= stall)
            write, ready, give, give_to, take, tokens, wait, idle = (
                await ctx.tick().sample(
                    component.write, component.write_ready, component.tokens.give, component.tokens.give_to,
                    component.tokens.take, component.tokens.ready, component.tokens.wait, component.idle,
                )
            )[2:]  # fmt: skip
            assert tokens or not take
            if take:
                waits.append(wait)
            if write.valid and ready:
                at = plain(write)
                for i in range(at["low"], at["high"]):
                    address = (at["address"] + i) % (1 << p.address_bits)
                    if len(found[-1]) == len(expected_of(p, work[len(found) - 1])):
                        found.append({})
                    assert address not in found[-1], "written twice"
                    found[-1][address] = at["data"][i] & ((1 << 8 * p.element_bytes) - 1)
                last = cycle
            if give:
                assert not idle, "a run could end before this token is counted"
                given += 1
                complete = len(found) if len(found[-1]) == len(expected_of(p, work[len(found) - 1])) else len(found) - 1
                assert given <= complete, "a token before all is written"
                events.append((give_to, cycle - last))
            cycle += 1

    async def end(ctx):
        while len(events) < len(work):
            await ctx.tick()
        for _ in range(40):
            await ctx.tick()
        assert len(events) == len(work)
        assert ctx.get(component.idle)

    run(
        component,
        end,
        source(component.instructions, encoded, stall=stall),
        answers(component.requests, component.beats, p.bus_bytes, log, stall=stall, seed=3),
        surroundings,
    )
    assert found == [expected_of(p, t) for t in work]
    assert waits == [t["wait"] for t in work]
    assert [give_to for give_to, _ in events] == [t["post"] for t in work]
    assert events[-1][1] >= ActivationMemory.WRITE_LATENCY
    # no beat was fetched in vain
    bus = p.bus_bytes
    needed = sum(
        (t["dram"] + r * t["dram_step"] + t["bytes"]) // bus - (t["dram"] + r * t["dram_step"]) // bus + 1
        for t in work
        for r in range(t["rows"] + 1)
    )
    assert sum(beats for _, beats, _ in log) == needed
