"""Bursts, the shared read master, and the weights' prefetch."""

import random
from collections import deque

import pytest

from systolith.hw.engine.dma import Bursts, WeightStream
from systolith.hw.engine.read_master import ReadMaster

from .hw_memory import LONGEST, answers, beat_of, check_burst
from .hw_streams import STALLS, arrival, plain, run, sink, source

WIDTHS = ((4, 9), (16, 11), (16, 32), (64, 13))
"""Bytes of the bus, and bits of the longest span's bytes, less one, here, or more."""


def spans(rng, bus_bytes, count):
    """Starts near every boundary, lengths around the longest burst."""
    result = []
    for _ in range(count):
        page = rng.choice([0, 4096, 1 << 20, (1 << 32) - 4096])
        beat = rng.choice([0, 1, 4096 // bus_bytes - 1, rng.randrange(4096 // bus_bytes)])
        beats = rng.choice([1, 2, 15, 16, 17, 32, 33, rng.randint(1, 80)])
        address = min(page + beat * bus_bytes, (1 << 32) - beats * bus_bytes)
        first, last = rng.randrange(bus_bytes), rng.randrange(bus_bytes)  # of the first and the last beat's bytes
        size = (beats - 1) * bus_bytes + last - first + 1
        result.append({"address": address + first, "bytes": size - 1} if size > 0 else {"address": address, "bytes": 0})
    return result


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("bus_bytes", "span_bits"), WIDTHS)
def test_bursts_cover_their_spans_exactly(bus_bytes, span_bits, stall):
    component, found = Bursts(bus_bytes=bus_bytes, span_bits=span_bits), []
    rng = random.Random(bus_bytes)
    longest = (1 << min(span_bits, 13)) - 1  # from a block's last byte on: as many blocks as there can be
    wanted = [*spans(rng, bus_bytes, 60), {"address": bus_bytes * LONGEST - 1, "bytes": longest}]
    # a span has no more bursts than it meets blocks of the longest burst
    expected = []
    for span in wanted:
        block = bus_bytes * LONGEST
        first = span["address"] // bus_bytes * bus_bytes
        end = ((span["address"] + span["bytes"]) // bus_bytes + 1) * bus_bytes
        while first < end:
            stop = min(end, (first // block + 1) * block)
            expected.append({"address": first, "length": (stop - first) // bus_bytes - 1, "final": int(stop == end)})
            first = stop
    for burst in expected:
        check_burst(burst["address"], burst["length"] + 1, bus_bytes)
    run(
        component,
        arrival(found, len(expected)),
        source(component.spans, wanted, stall=stall),
        sink(component.bursts, found, stall=stall),
    )
    assert found == expected


def test_bursts_leave_no_cycle_unused():
    component, found = Bursts(bus_bytes=8, span_bits=7), []
    wanted = [{"address": 128 * n, "bytes": 127} for n in range(20)]
    cycles = [0]

    async def bench(ctx):
        while len(found) < 20:
            await ctx.tick()
            cycles[0] += 1

    run(component, bench, source(component.spans, wanted), sink(component.bursts, found))
    assert cycles[0] <= 21 + Bursts.LATENCY


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("bus_bytes", [4, 16])
def test_read_master_gives_each_user_its_own(bus_bytes, stall):
    users, base = 3, 0x9A_1000_0000
    component, rng = ReadMaster(bus_bytes=bus_bytes, users=users), random.Random(bus_bytes)
    bus = component.bus
    requests, expected, found = [], [], []
    for _ in range(users):
        mine, beats = [], []
        for number in range(25):
            length, final = rng.choice([0, 1, 15, rng.randrange(16)]), rng.random() < 0.5
            address = rng.randrange(1 << 16) * 16 * bus_bytes
            mine.append({"address": address, "length": length, "final": final})
            beats += [
                {"data": beat_of(base + address + n * bus_bytes, bus_bytes), "last": int(final and n == length)}
                for n in range(length + 1)
            ]
            assert number < 25
        requests.append(mine)
        expected.append(beats)
        found.append([])
    errors = {"injected": 0, "seen": 0}

    async def memory(ctx):
        """AXI4 slave: several bursts on their way, each answered after its latency, in order."""
        ctx.set(component.window, {"base": base >> 12, "pages": (1 << 20) - 1, "wraps": 0})
        waiting, cycle, offered, held = deque(), 0, None, None
        while True:
            ready = rng.random() >= stall
            ctx.set(bus.arready, ready)
            if offered is None and waiting and waiting[0][0] <= cycle and rng.random() >= stall:
                offered = waiting.popleft()[1:]
            word, last, response = offered or (rng.getrandbits(8 * bus_bytes), rng.randrange(2), 3)
            ctx.set(bus.rvalid, offered is not None)
            ctx.set(bus.rdata, word)
            ctx.set(bus.rlast, last)
            ctx.set(bus.rresp, response)
            valid, address, length, taken, error = (
                await ctx.tick().sample(
                    bus.arvalid,
                    bus.araddr,
                    bus.arlen,
                    bus.rready,
                    component.errors,
                )
            )[2:]
            if held is not None:
                assert (valid, address, length) == held, "the address channel changed while it waited"
            held = (valid, address, length) if valid and not ready else None
            errors["seen"] += error.bit_count()
            assert len({due for due, *_ in waiting}) <= ReadMaster.OUTSTANDING + 1
            if offered and taken:
                errors["injected"] += response >> 1
                offered = None
            if valid and ready:
                check_burst(address, length + 1, bus_bytes)
                due = cycle + 20
                for n in range(length + 1):
                    response = rng.choice([2, 3]) if rng.random() < 0.02 else rng.choice([0, 1])
                    waiting.append((due, beat_of(address + n * bus_bytes, bus_bytes), int(n == length), response))
            cycle += 1

    async def end(ctx):
        while [len(f) for f in found] != [len(e) for e in expected]:
            await ctx.tick()
        for _ in range(60):
            await ctx.tick()
        assert not ctx.get(bus.arvalid)

    sides = []
    for n in range(users):
        sides.append(source(component.requests[n], requests[n], stall=stall, seed=n))
        sides.append(sink(component.beats[n], found[n], stall=stall / 2, seed=10 + n))
    run(component, end, memory, *sides)
    assert found == expected
    assert errors["injected"] == errors["seen"] > 0


def test_users_take_turns():
    component, order = ReadMaster(bus_bytes=8, users=3), []

    async def bench(ctx):
        ctx.set(component.bus.arready, 1)
        ctx.set(component.window.pages, 3)
        for n in range(3):
            ctx.set(component.requests[n].valid, 1)
            ctx.set(component.requests[n].payload, {"address": n * 4096, "length": 0, "final": 1})
        for _ in range(12):
            _, _, valid, address = await ctx.tick().sample(component.bus.arvalid, component.bus.araddr)
            if valid:
                order.append(address // 4096)

    run(component, bench)
    assert len(order) > 8
    assert all(sorted(order[n : n + 3]) == [0, 1, 2] for n in range(len(order) - 2))


@pytest.mark.parametrize("asking", [{0}, {1}, {2}, {0, 2}])
def test_who_asks_is_served_in_every_cycle_while_others_do_not(asking):
    component, order = ReadMaster(bus_bytes=8, users=3), []

    async def bench(ctx):
        ctx.set(component.bus.arready, 1)
        ctx.set(component.window.pages, 3)
        for n in asking:
            ctx.set(component.requests[n].valid, 1)
            ctx.set(component.requests[n].payload.address, n * 4096)
        for _ in range(ReadMaster.LATENCY):
            await ctx.tick()
        for _ in range(ReadMaster.OUTSTANDING):
            assert ctx.get(component.bus.arvalid)
            order.append(ctx.get(component.bus.araddr) // 4096)
            await ctx.tick()
        assert not ctx.get(component.bus.arvalid), "more bursts than may be outstanding"

    run(component, bench)
    assert {*order} == asking
    assert all(len({*order[n : n + len(asking)]}) == len(asking) for n in range(len(order) - 1))


def test_weight_stream_is_not_idle_from_an_instruction_to_the_beat_that_ends_it():
    component = WeightStream(bus_bytes=32, fifo_beats=32)

    async def bench(ctx):
        assert ctx.get(component.idle)
        ctx.set(component.requests.ready, 1)
        ctx.set(component.instructions.valid, 1)
        await ctx.tick()
        ctx.set(component.instructions.valid, 0)
        for cycle in range(12):
            assert not ctx.get(component.idle)
            ctx.set(component.arriving.valid, cycle == 8)
            await ctx.tick()
        ctx.set(component.beats.ready, 1)
        assert ctx.get(component.beats.valid)
        await ctx.tick()
        assert ctx.get(component.idle)

    run(component, bench)


@pytest.mark.parametrize("slow_array", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("slow_memory", STALLS)
def test_weight_stream_never_asks_for_more_than_it_can_hold(slow_memory, slow_array):
    component, rng = WeightStream(bus_bytes=32, fifo_beats=32), random.Random(2)
    instructions = [
        {"dram": s["address"] // 32 * 32, "beats": (s["address"] % 32 + s["bytes"]) // 32} for s in spans(rng, 32, 12)
    ]
    expected = [
        {"data": beat_of(i["dram"] + n * 32, 32), "last": int(n == i["beats"])}
        for i in instructions
        for n in range(i["beats"] + 1)
    ]
    found, log = [], []

    async def room(ctx):
        while True:
            await ctx.tick()
            held = sum(beats for _, beats, _ in log) - len(found)
            assert held <= 32, "beats were asked for that there is no room for"
            assert ctx.get(component.arriving.ready)

    async def end(ctx):
        await arrival(found, len(expected))(ctx)
        assert ctx.get(component.idle)

    run(
        component,
        end,
        source(component.instructions, instructions, stall=slow_memory),
        answers(component.requests, component.arriving, 32, log, stall=slow_memory, seed=5),
        sink(component.beats, found, stall=slow_array),
        room,
    )
    assert found == expected
    assert sum(final for *_, final in log) == len(instructions)
    assert plain(len(log)) >= len(instructions)


def test_while_closed_what_nobody_takes_is_dropped():
    """And it is quiet once all that was asked for has come, not before."""
    component, said = ReadMaster(bus_bytes=8, users=2), []
    bus = component.bus

    async def bench(ctx):
        ctx.set(component.window, {"base": 0, "pages": 16, "wraps": 0})
        ctx.set(component.requests[1].payload, {"address": 0, "length": 7, "final": 1})
        ctx.set(component.requests[1].valid, 1)
        await ctx.tick()
        ctx.set(component.requests[1].valid, 0)
        ctx.set(bus.arready, 1)
        await ctx.tick().repeat(ReadMaster.LATENCY + 1)
        ctx.set(bus.rvalid, 1)
        sent = 0
        for cycle in range(40):
            if cycle == 10:
                assert sent < 8, "its user takes none: the others wait"
                ctx.set(component.closed, 1)
            ctx.set(bus.rvalid, sent < 8)
            ctx.set(bus.rlast, sent == 7)
            _, _, ready, quiet = await ctx.tick().sample(bus.rready, component.quiet)
            assert sent == 8 or not quiet
            sent += sent < 8 and ready
            said.append(quiet)
        assert sent == 8
        assert said[-1]

    run(component, bench)
