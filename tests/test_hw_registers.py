"""AXI4-Lite registers, in every order of address, data and answer."""

import random

import pytest

from systolith.hw.engine.registers import (
    IDENTITY,
    REGISTERS,
    STALLS,
    Registers,
)

from .hw_streams import run

WRITABLE = {
    "PROGRAM": 0xFFFF_FFC0, "BASE": 0xFFFF_F000, "BASE_HIGH": 0xFF, "LIMIT": 0xFFFF_F000, "WATCHDOG": 0xFFFF_FFFF,
    "INTERRUPT_ENABLE": 1,
}  # fmt: skip
"""Which bits of a register hold what is written; the others read 0."""
ORDERS = {"together": (0, 0), "address first": (0, 4), "data first": (4, 0)}


def component():
    return Registers(fingerprint=0x12345678, features=0x9ABCDEF0)


def offset(name):
    return REGISTERS[name][0]


async def write(ctx, dut, address, value, strobe=15, order=(0, 0), patience=0):
    """One write: cycles before address and data are offered, cycles before the answer is taken.  Pulses seen."""
    waiting, pulses, cycle = {"aw", "w"}, {"start": 0, "clear": 0, "reset": 0}, 0
    while waiting or not ctx.get(dut.bus.bvalid):
        if "aw" in waiting and cycle >= order[0]:
            ctx.set(dut.bus.awaddr, address)
            ctx.set(dut.bus.awvalid, 1)
        if "w" in waiting and cycle >= order[1]:
            ctx.set(dut.bus.wdata, value)
            ctx.set(dut.bus.wstrb, strobe)
            ctx.set(dut.bus.wvalid, 1)
        _, _, aw, w, *seen = await ctx.tick().sample(
            dut.bus.awvalid & dut.bus.awready, dut.bus.wvalid & dut.bus.wready, *(getattr(dut, n) for n in pulses)
        )
        for name, count in zip(pulses, seen, strict=True):
            pulses[name] += count
        for name, done in (("aw", aw), ("w", w)):
            if done:
                waiting.discard(name)
                ctx.set(getattr(dut.bus, f"{name}valid"), 0)
        cycle += 1
        assert cycle < 40
    for last in range(patience + 1):
        ctx.set(dut.bus.bready, last == patience)
        _, _, valid, response, *seen = await ctx.tick().sample(
            dut.bus.bvalid, dut.bus.bresp, *(getattr(dut, n) for n in pulses)
        )
        assert valid, "the answer went away"
        for name, count in zip(pulses, seen, strict=True):
            pulses[name] += count
    assert (valid, response) == (1, 0)
    ctx.set(dut.bus.bready, 0)
    assert not ctx.get(dut.bus.bvalid), "answered twice"
    return pulses


async def read(ctx, dut, address, patience=0):
    ctx.set(dut.bus.araddr, address)
    ctx.set(dut.bus.arvalid, 1)
    _, _, taken = await ctx.tick().sample(dut.bus.arready)
    while not taken:
        _, _, taken = await ctx.tick().sample(dut.bus.arready)
    ctx.set(dut.bus.arvalid, 0)
    ctx.set(dut.bus.araddr, 0)
    while not ctx.get(dut.bus.rvalid):
        await ctx.tick()
    first = ctx.get(dut.bus.rdata)
    for _ in range(patience):
        await ctx.tick()
        assert ctx.get(dut.bus.rvalid)
        assert ctx.get(dut.bus.rdata) == first
    ctx.set(dut.bus.rready, 1)
    await ctx.tick()
    ctx.set(dut.bus.rready, 0)
    assert not ctx.get(dut.bus.rvalid)
    return first


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("patience", [0, 5])
def test_writes_in_any_order(order, patience):
    dut, rng = component(), random.Random(1)

    async def bench(ctx):
        model = dict.fromkeys(WRITABLE, 0)
        for _ in range(60):
            name, value, strobe = rng.choice(list(model)), rng.getrandbits(32), rng.randrange(16)
            mask = sum(0xFF << 8 * n for n in range(4) if strobe >> n & 1)
            model[name] = (model[name] & ~mask | value & mask) & WRITABLE[name]
            assert not any((await write(ctx, dut, offset(name), value, strobe, order, patience)).values())
            for register, expected in model.items():
                assert await read(ctx, dut, offset(register), patience) == expected
            shown = {
                "PROGRAM": ctx.get(dut.program),
                "BASE": ctx.get(dut.base) << 12 & 0xFFFF_FFFF,
                "BASE_HIGH": ctx.get(dut.base) >> 20,
                "LIMIT": ctx.get(dut.pages) << 12,
                "WATCHDOG": ctx.get(dut.watchdog),
                "INTERRUPT_ENABLE": ctx.get(dut.interrupt_enable),
            }
            assert shown == model

    run(dut, bench)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_start_clear_and_reset_are_pulses_of_one_cycle(order):
    """Reset goes before start, and alone is heard while busy."""
    dut = component()

    async def pulses(ctx, register, value, strobe=15, patience=0):
        seen = await write(ctx, dut, offset(register), value, strobe, order, patience)
        return [seen[name] for name in ("start", "clear", "reset")]

    async def bench(ctx):
        for value, wanted in ((1, [1, 0, 0]), (2, [0, 1, 0]), (4, [0, 0, 1]), (3, [1, 1, 0]), (7, [0, 1, 1])):
            assert await pulses(ctx, "CONTROL", value, patience=3) == wanted
        assert await pulses(ctx, "CONTROL", 7, strobe=14) == [0, 0, 0]
        ctx.set(dut.busy, 1)
        for value, wanted in ((1, [0, 0, 0]), (2, [0, 0, 0]), (7, [0, 0, 1])):
            assert await pulses(ctx, "CONTROL", value) == wanted
        assert await pulses(ctx, "ID", 7) == [0, 0, 0]

    run(dut, bench)


def test_identity_status_and_unknown_offsets():
    dut = component()

    async def bench(ctx):
        assert await read(ctx, dut, offset("ID")) == IDENTITY == int.from_bytes(b"SYST", "big")
        assert await read(ctx, dut, offset("FINGERPRINT")) == 0x12345678
        assert await read(ctx, dut, offset("FEATURES")) == 0x9ABCDEF0
        await write(ctx, dut, offset("ID"), 0)
        assert await read(ctx, dut, offset("ID")) == IDENTITY
        for busy, done, error, cause in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 4), (0, 0, 0, 255)):
            for name, value in (("busy", busy), ("done", done), ("error", error), ("cause", cause)):
                ctx.set(getattr(dut, name), value)
            assert await read(ctx, dut, offset("STATUS")) == busy | done << 1 | error << 2 | cause << 8
        ctx.set(dut.waits, 0b0101010)
        ctx.set(dut.waits_shown, 0b1010101)
        assert await read(ctx, dut, offset("WAITS")) == 0b1010101
        known = {value for value, _ in REGISTERS.values()}
        for address in range(0, 256, 4):
            if address not in known or address == offset("CONTROL"):
                assert await read(ctx, dut, address) == 0

    run(dut, bench)


def test_counters_count_while_busy_and_begin_anew():
    dut, rng = component(), random.Random(9)
    names = ("ARRAY_BUSY", *(f"STALL_{name}" for name, _ in STALLS))

    async def bench(ctx):
        for cycles in (50, 21):
            ctx.set(dut.waits, 127)
            ctx.set(dut.array_busy, 1)
            await write(ctx, dut, offset("CONTROL"), 1)
            counts = dict.fromkeys(names, 0)
            ctx.set(dut.busy, 1)
            for _ in range(cycles):
                waits, array = rng.randrange(128), rng.randrange(2)
                ctx.set(dut.waits, waits)
                ctx.set(dut.array_busy, array)
                counts["ARRAY_BUSY"] += array
                for n, (name, _) in enumerate(STALLS):
                    counts[f"STALL_{name}"] += waits >> n & 1
                await ctx.tick()
            ctx.set(dut.busy, 0)
            ctx.set(dut.waits, 127)
            for name, count in counts.items():
                assert await read(ctx, dut, offset(name)) == count, name
            assert await read(ctx, dut, offset("CYCLES")) == cycles
            assert await read(ctx, dut, offset("CYCLES_HIGH")) == 0

    run(dut, bench)


@pytest.mark.parametrize("patience", [0, 1, 6])
def test_every_write_has_its_own_answer(patience):
    """Writes are offered one after the other, answered or not."""
    dut, values, counts = component(), [0x1000, 0x2000, 0x3000, 0x4000], {"aw": 0, "w": 0, "b": 0}

    async def bench(ctx):
        ctx.set(dut.bus.awaddr, offset("BASE"))
        ctx.set(dut.bus.wstrb, 15)
        seen, waited = [], 0
        for _ in range(80):
            ctx.set(dut.bus.awvalid, counts["aw"] < len(values))
            ctx.set(dut.bus.wvalid, counts["w"] < len(values))
            ctx.set(dut.bus.wdata, values[min(counts["w"], len(values) - 1)])
            waited = waited + 1 if ctx.get(dut.bus.bvalid) else 0
            ctx.set(dut.bus.bready, waited > patience)
            _, _, aw, w, b = await ctx.tick().sample(
                dut.bus.awvalid & dut.bus.awready, dut.bus.wvalid & dut.bus.wready, dut.bus.bvalid & dut.bus.bready
            )
            counts["aw"] += aw
            counts["w"] += w
            counts["b"] += b
            if b:
                waited = 0
                seen.append(ctx.get(dut.base) << 12)
        assert counts == {"aw": 4, "w": 4, "b": 4}
        assert seen[-1] == values[-1]
        assert all(base in values[n:] for n, base in enumerate(seen))

    run(dut, bench)


def test_a_read_and_a_write_at_once():
    dut = component()

    async def bench(ctx):
        await write(ctx, dut, offset("BASE"), 0x5000)
        ctx.set(dut.bus.arvalid, 1)
        ctx.set(dut.bus.araddr, offset("BASE"))
        await write(ctx, dut, offset("PROGRAM"), 0x40)
        assert (ctx.get(dut.bus.rvalid), ctx.get(dut.bus.rdata)) == (1, 0x5000)
        assert ctx.get(dut.bus.arready) == 0

    run(dut, bench)


def test_every_register_has_its_own_offset():
    offsets = [value for value, _ in REGISTERS.values()]
    assert len(set(offsets)) == len(offsets)
    assert all(value % 4 == 0 and value < 256 for value in offsets)
