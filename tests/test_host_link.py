# amaranth: UnusedElaboratable=no
"""The serial link circuit by circuit: octets, frames, requests."""

import zlib

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from systolith.host import frames
from systolith.host.frames import Frame
from systolith.hw.board import link as circuit
from systolith.hw.board.framing import Deframer, Framer
from systolith.hw.board.link import Command, Link, Status
from systolith.hw.board.uart import Receiver, Transmitter
from systolith.quant import ConfigurationError

MEMORY_BYTES = 8192
END = frames.END[0]


def simulate(module, *benches):
    simulator = Simulator(module)
    simulator.add_clock(1e-6)
    for bench in benches[:-1]:
        simulator.add_testbench(bench, background=True)
    simulator.add_testbench(benches[-1])
    simulator.run()


async def until(ctx, condition, *signals):
    """Ticks, the last one that finds ``condition``; what ``signals`` were then."""
    while True:
        _, _, there, *values = await ctx.tick().sample(condition, *signals)
        if there:
            return values


@pytest.mark.parametrize("divisor", [4, 5, 13])
def test_octets_cross_a_line(divisor):
    m = Module()
    m.submodules.sender = sender = Transmitter(divisor=divisor)
    m.submodules.receiver = receiver = Receiver(divisor=divisor)
    m.d.comb += receiver.line.eq(sender.line)
    octets = [*range(0, 256, 3)] if divisor == 4 else [0, 255, 0x55, 0xAA, 1, 128]
    came = []

    async def send(ctx):
        for octet in octets:
            ctx.set(sender.octets.payload, octet)
            ctx.set(sender.octets.valid, 1)
            await until(ctx, sender.octets.ready)
        ctx.set(sender.octets.valid, 0)

    async def receive(ctx):
        for _ in range(11 * divisor * (len(octets) + 2)):
            await ctx.tick()
            assert not ctx.get(receiver.broken)
            if ctx.get(receiver.octets.valid):
                came.append(ctx.get(receiver.octets.payload))

    simulate(m, send, receive)
    assert came == octets


def test_a_low_stop_bit_is_no_octet_and_a_glitch_none_either():
    receiver = Receiver(divisor=8)
    came, broken = [], []

    async def drive(ctx):
        async def hold(level, cycles):
            ctx.set(receiver.line, level)
            for _ in range(cycles):
                await ctx.tick()
                broken.append(ctx.get(receiver.broken))
                if ctx.get(receiver.octets.valid):
                    came.append(ctx.get(receiver.octets.payload))

        await hold(1, 20)
        await hold(0, 3)  # a glitch
        await hold(1, 100)
        await hold(0, 300)  # a line that somebody pulled
        await hold(1, 20)
        for bit in (0, 1, 1, 0, 0, 1, 0, 1, 0, 1):
            await hold(bit, 8)
        await hold(1, 20)

    simulate(receiver, drive)
    assert (sum(broken), came) == (1, [0b01010011])


class Wired:
    """Deframer, Link, Framer, with registers and memory that this test answers for."""

    def __init__(self, seed=0):
        self.module = m = Module()
        m.submodules.deframer = self.deframer = Deframer()
        m.submodules.link = self.link = Link(memory_bytes=MEMORY_BYTES)
        m.submodules.framer = self.framer = Framer()
        connect(m, self.deframer.content, self.link.content)
        m.d.comb += [self.link.ended.eq(self.deframer.ended), self.link.broken.eq(self.deframer.broken)]
        connect(m, self.link.items, self.framer.items)
        self.memory = np.random.default_rng(seed).integers(0, 1 << 32, MEMORY_BYTES // 4, dtype=np.uint32)
        self.registers = np.arange(64, dtype=np.uint32) * 0x01010101
        self.writes = []
        self.answers = []
        self.rng = np.random.default_rng(seed + 1)

    def words(self, port, store, name):
        async def serve(ctx):
            while True:
                ctx.set(port.request.ready, 0)
                for _ in range(self.rng.integers(0, 3)):
                    await ctx.tick()
                ctx.set(port.request.ready, 1)
                asked = await until(ctx, port.request.valid, port.request.payload)
                request = asked[0]
                ctx.set(port.request.ready, 0)
                for _ in range(self.rng.integers(0, 3)):
                    await ctx.tick()
                if request.write:
                    store[request.address // 4] = request.data
                    self.writes.append((name, int(request.address), int(request.data)))
                ctx.set(port.answer, int(store[request.address // 4]))
                ctx.set(port.done, 1)
                await ctx.tick()
                ctx.set(port.done, 0)

        return serve

    def exchange(self, *spells):
        """Octets of each spell are sent, then time passes until the link is at rest; the answers so far, by spell."""
        by_spell = []

        async def listen(ctx):
            came = b""
            ctx.set(self.framer.octets.ready, 1)
            while True:
                octet = await until(ctx, self.framer.octets.valid, self.framer.octets.payload)
                came += bytes([octet[0]])
                if octet[0] == END and came.strip(frames.END):
                    self.answers.append(Frame.from_octets(came.strip(frames.END)))
                    came = b""

        async def send(ctx):
            for spell in spells:
                before = len(self.answers)
                for octet in spell:
                    ctx.set(self.deframer.octets.payload, octet)
                    ctx.set(self.deframer.octets.valid, 1)
                    await ctx.tick()
                    ctx.set(self.deframer.octets.valid, 0)
                    await ctx.tick()
                for _ in range(4):
                    await ctx.tick()
                while ctx.get(self.link.busy):
                    await ctx.tick()
                by_spell.append(self.answers[before:])

        simulate(
            self.module,
            listen,
            self.words(self.link.registers, self.registers, "registers"),
            self.words(self.link.memory, self.memory, "memory"),
            send,
        )
        return by_spell


def octets(sequence, command, address=0, data=b"", count=None):
    return Frame(sequence, command, len(data) // 4 if count is None else count, address, data).to_octets()


SYNC = octets(7, frames.SYNC, 0x1234, count=0)


def test_both_sides_speak_of_the_same():
    assert [c.value for c in Command] == [
        frames.SYNC,
        frames.READ_REGISTERS,
        frames.WRITE_REGISTERS,
        frames.READ_MEMORY,
        frames.WRITE_MEMORY,
    ]
    named = {name: getattr(frames, name) for name in ("OKAY", "DAMAGED", "NO_SESSION", "ORDER", "REFUSED")}
    assert {s.name: s.value for s in Status} == named
    assert (circuit.VERSION, circuit.DATA_WORDS) == (frames.VERSION, frames.DATA_WORDS)


def test_a_frame_is_what_the_page_says():
    """Sequence 1, WRITE_REGISTERS, one word, at 0x18: 0x000000C0, whose octet is escaped; with zlib's CRC."""
    content = bytes([1, 2, 1, 0, 0x18, 0, 0, 0, 0xC0, 0, 0, 0])
    check = zlib.crc32(content).to_bytes(4, "little")
    plain = content + check
    escaped = plain.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    assert octets(1, 2, 0x18, b"\xc0\0\0\0") == b"\xc0" + escaped + b"\xc0"
    assert b"\xc0" + escaped + b"\xc0" == bytes.fromhex("C0 01020100 18000000 DBDC000000 679CCD8E C0")
    assert Frame.from_octets(escaped) == Frame(1, 2, 1, 0x18, b"\xc0\0\0\0")
    for at in range(len(plain)):
        damaged = bytearray(plain)
        damaged[at] ^= 1
        assert Frame.from_octets(damaged.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")) is None


def test_words_are_read_and_written():
    wired = Wired()
    data = bytes(range(0xB8, 0xB8 + 64))  # delimiters and escapes among them
    before = wired.memory.tobytes()
    said = wired.exchange(
        SYNC,
        octets(8, frames.WRITE_MEMORY, 0x100, data),
        octets(9, frames.READ_MEMORY, 0xF0, count=64),
        octets(10, frames.WRITE_REGISTERS, 0x18, b"\xdb\xc0\0\1" + b"\1\2\3\4"),
        octets(11, frames.READ_REGISTERS, 0x14, count=4),
    )
    after = before[:0x100] + data + before[0x140:]
    assert wired.memory.tobytes() == after
    assert said == [
        [Frame(7, frames.OKAY, 2, 0x1234, np.array([frames.VERSION, MEMORY_BYTES], np.uint32).tobytes())],
        [Frame(8, frames.OKAY, 0, 0x100)],
        [Frame(9, frames.OKAY, 64, 0xF0, after[0xF0:0x1F0])],
        [Frame(10, frames.OKAY, 0, 0x18)],
        [Frame(11, frames.OKAY, 4, 0x14, b"\5\5\5\5\xdb\xc0\0\1\1\2\3\4\x08\x08\x08\x08")],
    ]


def test_a_repeated_write_is_answered_and_not_done_again():
    wired = Wired()
    write, read = octets(8, frames.WRITE_REGISTERS, 0x0C, b"\1\0\0\0"), octets(9, frames.READ_REGISTERS, 0x0C, count=1)
    said = wired.exchange(SYNC, write, write, read, read, octets(8, frames.WRITE_REGISTERS, 0x0C, b"\2\0\0\0"))
    done = Frame(8, frames.OKAY, 0, 0x0C)
    found = Frame(9, frames.OKAY, 1, 0x0C, b"\1\0\0\0")
    assert said[1:] == [[done], [done], [found], [found], [Frame(8, frames.ORDER, 0, 0x0C)]]
    assert wired.writes == [("registers", 0x0C, 1)]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (octets(8, frames.WRITE_MEMORY, MEMORY_BYTES - 4, b"12345678"), frames.REFUSED),
        (octets(8, frames.WRITE_MEMORY, 2, b"1234"), frames.REFUSED),
        (octets(8, frames.WRITE_MEMORY, 0xFFFFFFFC, b"12345678"), frames.REFUSED),
        (octets(8, frames.WRITE_REGISTERS, 252, b"12345678"), frames.REFUSED),
        (octets(8, frames.WRITE_REGISTERS, 0, b"1234", count=2), frames.REFUSED),
        (octets(8, frames.READ_MEMORY, 0, count=0), frames.REFUSED),
        (octets(8, frames.READ_MEMORY, 0, count=65), frames.REFUSED),
        (octets(8, 5, 0, count=1), frames.REFUSED),
        (octets(9, frames.WRITE_MEMORY, 0, b"1234"), frames.ORDER),
        (octets(6, frames.WRITE_MEMORY, 0, b"1234"), frames.ORDER),
    ],
)
def test_what_may_not_be_done_is_refused(request_, status):
    wired = Wired()
    _, (answer,), _ = wired.exchange(SYNC, request_, octets(8, frames.READ_REGISTERS, 0, count=1))
    assert (answer.kind, wired.writes) == (status, [])
    assert wired.answers[-1].kind == frames.OKAY, "the session goes on"


def test_nothing_is_done_before_a_session():
    wired = Wired()
    write = octets(0, frames.WRITE_MEMORY, 0, b"1234")
    assert wired.exchange(write) == [[Frame(0, frames.NO_SESSION, 0, 0)]]
    assert wired.writes == []


def test_damaged_frames_are_told_and_not_done():
    write = octets(8, frames.WRITE_MEMORY, 0x40, b"1234")
    rng = np.random.default_rng(3)
    damaged = []
    for at in range(1, len(write) - 1):
        flipped = bytes([*write[:at], write[at] ^ int(rng.integers(1, 256)), *write[at + 1 :]])
        damaged += [flipped, write[:at] + write[at + 1 :], write[:at] + write[at : at + 1] + write[at:]]
    damaged += [write[:-1] + bytes(300) + write[-1:], write[:-1] + b"\xdb\0" + write[-1:]]
    wired = Wired()
    said = wired.exchange(SYNC, *damaged, write)
    for answers in said[1:-1]:
        assert answers
        assert {(a.kind, a.sequence) for a in answers} == {(frames.DAMAGED, 0)}
    assert said[-1] == [Frame(8, frames.OKAY, 0, 0x40)]
    assert len(wired.writes) == 1


def test_what_comes_while_a_request_is_carried_out_is_dropped():
    """The end of it, too, if its beginning was: it is no damaged frame."""
    wired = Wired()
    write = octets(8, frames.WRITE_MEMORY, 0, b"1234")
    late = octets(9, frames.WRITE_MEMORY, 8, bytes(256))
    said = wired.exchange(SYNC, write + late, octets(9, frames.READ_MEMORY, 0, count=1))
    assert said[1:] == [[Frame(8, frames.OKAY, 0, 0)], [Frame(9, frames.OKAY, 1, 0, b"1234")]]
    assert len(wired.writes) == 1


def test_a_line_that_is_too_fast_is_refused():
    with pytest.raises(ConfigurationError, match=r"^divisor must be 4 to 65536, not 3$"):
        Receiver(divisor=3)
