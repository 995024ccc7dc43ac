# amaranth: UnusedElaboratable=no
"""Block RAM in banks, and behind an AXI port, which a host reaches too."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from systolith.hw.board.banks import DEEPEST, Banks
from systolith.hw.board.block_memory import DEPTH, BlockMemory
from systolith.quant import ConfigurationError

from .test_host_link import simulate, until

PAGE, PART = 4096, 512
PAGES = (0, 1, 4, 6)
"""That bursts are written to; the host has 2 and 3."""


@pytest.mark.parametrize("depth", [1, 7, 512, 1024 + 512, 2 * DEEPEST + 2])
def test_banks_are_one_memory(depth):
    """A read and a write of some bytes in each cycle; a read finds what was written WRITE_LATENCY cycles before it."""
    rng = np.random.default_rng(depth)
    banks = Banks(line_bytes=2, depth=depth)
    ends = sorted({at for at in (0, 3, 4, 5, 6, DEEPEST - 1, DEEPEST, 2 * DEEPEST, depth - 1) if at < depth})
    wrote = [(line, 0xFFFF, 0b11) for line in ends]
    wrote += [(int(rng.choice(ends)), int(rng.integers(1 << 16)), int(rng.integers(4))) for _ in range(200)]
    asked = [*[ends[0]] * len(ends), *(int(rng.choice(ends)) for _ in range(200))]
    kept = dict.fromkeys(ends, 0)
    expected, found = [], []

    async def run(ctx):
        for cycle, (line, (at, value, enable)) in enumerate(zip(asked, wrote, strict=True)):
            if cycle >= Banks.WRITE_LATENCY:
                old, new, mask = wrote[cycle - Banks.WRITE_LATENCY]
                for byte in (0xFF << 8 * n for n in range(2) if mask >> n & 1):
                    kept[old] = kept[old] & ~byte | new & byte
            busy = any(wrote[then][0] == line for then in range(max(0, cycle - Banks.WRITE_LATENCY + 1), cycle + 1))
            expected.append(None if busy else kept[line])
            ctx.set(banks.line, line)
            ctx.set(banks.write, {"line": at, "data": value, "enable": enable})
            if cycle >= Banks.LATENCY:
                found.append(ctx.get(banks.data))
            await ctx.tick()

    simulate(banks, run)
    compared = [(want, got) for want, got in zip(expected, found, strict=False) if want is not None]
    assert len(compared) > 50 or depth == 1
    assert [got for _, got in compared] == [want for want, _ in compared]


@pytest.mark.parametrize(("bus_bytes", "stall"), [(4, 0.0), (4, 0.4), (8, 0.0), (8, 0.5), (32, 0.3)])
def test_block_memory_is_memory(bus_bytes, stall):
    """Bursts of reads and writes, and a host between them, on pages of their own; every byte, every answer."""
    rng = np.random.default_rng(bus_bytes)
    size = 7 * PAGE  # banks of 4, 2 and 1
    memory = BlockMemory(bus_bytes=bus_bytes, size=size)
    read, write, host = memory.bus.read, memory.bus.write, memory.host
    kept = np.zeros(size, np.uint8)
    bursts = []
    for _ in range(25):  # written to the beginning of a page, or far behind the end
        beats = int(rng.integers(1, 17))
        line = int(rng.integers(0, PART // bus_bytes - beats + 1))
        page = int(rng.choice([*PAGES, 7, 0x12345]))
        bursts.append((page * PAGE + line * bus_bytes, rng.integers(0, 256, (beats, bus_bytes), dtype=np.uint8)))
    strobes = [rng.integers(0, 2, data.shape, dtype=np.uint8) for _, data in bursts]
    places = [(2 * PAGE + 4 * int(at), int(rng.integers(0, 1 << 32))) for at in rng.integers(0, PAGE // 2, 30)]

    def halts():
        return rng.random() < stall

    async def addresses(ctx, channel, prefix, listed):
        for address, data in listed:
            while halts():
                await ctx.tick()
            ctx.set(getattr(channel, f"{prefix}addr"), address)
            ctx.set(getattr(channel, f"{prefix}len"), len(data) - 1)
            ctx.set(getattr(channel, f"{prefix}valid"), 1)
            await until(ctx, getattr(channel, f"{prefix}ready"))
            ctx.set(getattr(channel, f"{prefix}valid"), 0)

    async def send_data(ctx):
        for (_, data), strobe in zip(bursts, strobes, strict=True):
            for beat, (values, enabled) in enumerate(zip(data, strobe, strict=True)):
                while halts():
                    await ctx.tick()
                ctx.set(write.wdata, int.from_bytes(values.tobytes(), "little"))
                ctx.set(write.wstrb, int(sum(int(bit) << n for n, bit in enumerate(enabled))))
                ctx.set(write.wlast, beat == len(data) - 1)
                ctx.set(write.wvalid, 1)
                await until(ctx, write.wready)
                ctx.set(write.wvalid, 0)

    async def host_access(ctx, address, value=None):
        ctx.set(host.request.payload, {"address": address, "write": value is not None, "data": value or 0})
        ctx.set(host.request.valid, 1)
        await until(ctx, host.request.ready)
        ctx.set(host.request.valid, 0)
        (answer,) = await until(ctx, host.done, host.answer)
        return answer

    async def hosts(ctx):
        for address, value in places:
            await host_access(ctx, address, value)
            assert await host_access(ctx, address) == value

    async def judge(ctx):
        for (address, data), strobe in zip(bursts, strobes, strict=True):
            ctx.set(write.bready, 0)
            while halts():
                await ctx.tick()
            ctx.set(write.bready, 1)
            (response,) = await until(ctx, write.bvalid, write.bresp)
            assert response == (3 if address >= size else 0)
            if address < size:
                part = kept[address : address + data.size]
                part[:] = np.where(strobe.reshape(-1), data.reshape(-1), part)
        ctx.set(write.bready, 0)
        for address, value in places:
            kept[address : address + 4] = np.frombuffer(value.to_bytes(4, "little"), np.uint8)
        for _ in range(5):
            await ctx.tick()

    async def read_back(ctx):
        for address, data in bursts:
            for beat in range(len(data)):
                ctx.set(read.rready, 0)
                while halts():
                    await ctx.tick()
                ctx.set(read.rready, 1)
                value, last, response = await until(ctx, read.rvalid, read.rdata, read.rlast, read.rresp)
                assert (last, response) == (beat == len(data) - 1, 3 if address >= size else 0)
                if address < size:
                    at = address + beat * bus_bytes
                    assert value.to_bytes(bus_bytes, "little") == kept[at : at + bus_bytes].tobytes()

    clear = Simulator(memory)
    clear.add_clock(1e-6)
    done = []

    async def zero(ctx):  # what a RAM holds at first nobody knows; the host writes what bursts write to
        for page in PAGES:
            for at in range(page * PAGE, page * PAGE + PART, 4):
                await host_access(ctx, at, 0)
        done.append("zero")

    async def writing(ctx):
        while "zero" not in done:
            await ctx.tick()
        await addresses(ctx, write, "aw", bursts)

    async def data(ctx):
        while "zero" not in done:
            await ctx.tick()
        await send_data(ctx)

    async def main(ctx):
        await zero(ctx)
        await judge(ctx)
        done.append("written")
        await read_back(ctx)
        while "host" not in done:
            await ctx.tick()
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(read.rvalid)
            assert not ctx.get(write.bvalid)

    async def reading(ctx):
        while "written" not in done:
            await ctx.tick()
        await addresses(ctx, read, "ar", bursts)

    async def beside(ctx):
        while "zero" not in done:
            await ctx.tick()
        await hosts(ctx)
        done.append("host")

    for bench in (writing, data, reading, beside):
        clear.add_testbench(bench, background=True)
    clear.add_testbench(main)
    clear.run()


def test_block_memory_has_the_latency_that_it_says():
    """Two bursts asked for in two cycles come without a gap, the first LATENCY cycles behind its address."""
    memory = BlockMemory(bus_bytes=8, size=PAGE)
    read = memory.bus.read
    seen = []

    async def ask(ctx):
        ctx.set(read.rready, 1)
        ctx.set(read.arvalid, 1)
        ctx.set(read.arlen, 3)
        for cycle in range(16):
            assert ctx.get(read.arready)
            if ctx.get(read.rvalid):
                seen.append(cycle)
            await ctx.tick()
            ctx.set(read.arvalid, cycle == 0)

    simulate(memory, ask)
    assert seen == [*range(BlockMemory.LATENCY, BlockMemory.LATENCY + 8)]


def test_responses_that_nobody_takes_are_not_lost():
    """Bursts of one beat, every other one outside: as many are taken as responses find room, the rest behind those."""
    memory = BlockMemory(bus_bytes=8, size=PAGE)
    write = memory.bus.write
    asked = [PAGE * (number % 2) for number in range(DEPTH + 4)]
    taken, answers = [], []

    async def ask(ctx):
        for address in asked:
            ctx.set(write.awaddr, address)
            ctx.set(write.awvalid, 1)
            await until(ctx, write.awready)
        ctx.set(write.awvalid, 0)

    async def beats(ctx):
        ctx.set(write.wvalid, 1)
        while len(taken) < len(asked):
            await until(ctx, write.wready)
            taken.append(len(answers))
        ctx.set(write.wvalid, 0)

    async def judge(ctx):
        for _ in range(4 * DEPTH):
            await ctx.tick()
        assert taken == [0] * DEPTH
        ctx.set(write.bready, 1)
        while len(answers) < len(asked):
            answers.extend(await until(ctx, write.bvalid, write.bresp))
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(write.bvalid)

    simulate(memory, ask, beats, judge)
    assert answers == [3 * (address >= PAGE) for address in asked]
    assert len(taken) == len(asked)


def test_a_size_in_no_whole_pages_is_refused():
    with pytest.raises(ConfigurationError, match=r"^memory size must be a multiple of 4096 bytes, not 5000$"):
        BlockMemory(bus_bytes=8, size=5000)
