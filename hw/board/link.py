"""The serial link: requests in frames, each carried out once and answered.  docs/boards.md has the frames."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import enum, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range
from .framing import ITEM
from .words import words

VERSION = 0x4C594E31
"""What SYNC answers first: LYN1, the link's form."""
DATA_WORDS = 64
"""In a frame at most."""
HEADER_WORDS, CHECK_WORDS = 2, 1
REGISTER_BYTES = 256


class Command(enum.Enum, shape=8):
    """What a request wants."""

    SYNC = 0
    READ_REGISTERS = 1
    WRITE_REGISTERS = 2
    READ_MEMORY = 3
    WRITE_MEMORY = 4


class Status(enum.Enum, shape=8):
    """What an answer says."""

    OKAY = 0
    DAMAGED = 1
    NO_SESSION = 2
    ORDER = 3
    REFUSED = 4


class Link(wiring.Component):
    """Takes a frame whole, checks it, does what it says, and answers; what comes meanwhile is dropped.

    A frame: sequence, command or status, count of words (2 octets), address (4), ``count`` words of data, CRC-32 (4),
    all little endian.  The CRC is that of ISO/IEC 13239 (HDLC), zlib and Ethernet.

    Parameters: memory_bytes : int, what lies behind ``memory``
    Members:    content, ended, broken : In, as from Deframer;  items : Out(stream), as to Framer
                registers, memory : Out(words());  busy : Out, a request is carried out or answered
    """

    def __init__(self, *, memory_bytes: int) -> None:
        check_range("memory bytes", memory_bytes, 4, (1 << 32) - 1)
        self._memory_bytes = memory_bytes
        super().__init__(
            {
                "content": In(stream.Signature(8, always_ready=True)),
                "ended": In(1),
                "broken": In(1),
                "items": Out(stream.Signature(ITEM)),
                "registers": Out(words()),
                "memory": Out(words()),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        longest = HEADER_WORDS + DATA_WORDS + CHECK_WORDS
        m.submodules.buffer = buffer = Memory(shape=32, depth=128, init=[])
        self._reader, self._writer = buffer.read_port(), buffer.write_port(granularity=8)
        m.submodules.crc = self._crc = CRC32_ISO_HDLC(data_width=8).create()
        self._position = Signal(range(4 * longest + 2))  # octets of the frame that comes
        self._frame_words = Signal(range(longest + 1))
        self._place = Signal(7)  # of the buffer
        self._sequence, self._last, self._session = Signal(8), Signal(8), Signal()
        self._command, self._status = Signal(Command), Signal(Status)
        self._count, self._answered, self._left = Signal(16), Signal(16), Signal(16)
        self._address, self._reached = Signal(32), Signal(32)
        self._inside = Signal()
        self._wrong, self._skips = Signal(), Signal()
        self._at = Signal(32)  # the access that is carried out
        m.d.comb += self._reader.addr.eq(self._place)
        self._take(m, ~self.busy, 4 * longest)
        on_memory, writes = self._route(m)
        with m.FSM() as fsm:
            self._end_of_frame(m)
            self._understand(m)
            self._carry_out(m, on_memory, writes)
            self._answer(m)
        m.d.comb += self.busy.eq(~fsm.ongoing("RECEIVE"))
        return m

    def _take(self, m: Module, receiving: Value, longest: int) -> None:
        """A frame into the buffer.  ``wrong`` : it is damaged;  ``skips`` : its beginning was dropped."""
        position, crc, wrong, skips = self._position, self._crc, self._wrong, self._skips
        taken = receiving & ~skips & self.content.valid
        with m.If(self.ended):
            m.d.sync += skips.eq(0)
        with m.Elif(~receiving & (self.content.valid | self.broken)):
            m.d.sync += skips.eq(1)
        with m.If(taken):
            m.d.comb += [
                self._writer.addr.eq(position[2:]),
                self._writer.data.eq(Cat(*([self.content.payload] * 4))),
                self._writer.en.bit_select(position[:2], 1).eq(position != longest),
                crc.valid.eq(1),
                crc.data.eq(self.content.payload),
            ]
            with m.If(position == longest):
                m.d.sync += wrong.eq(1)
            with m.Else():
                m.d.sync += position.eq(position + 1)
        with m.If(receiving & ~skips & self.broken):
            m.d.sync += wrong.eq(1)

    def _end_of_frame(self, m: Module) -> None:
        """Whether there is one, and it is whole."""
        position, crc, wrong, skips = self._position, self._crc, self._wrong, self._skips
        shortest = 4 * (HEADER_WORDS + CHECK_WORDS)
        with m.State("RECEIVE"), m.If(self.ended):
            m.d.comb += crc.start.eq(1)
            m.d.sync += [position.eq(0), wrong.eq(0), self._place.eq(0)]
            with m.If(~skips & ~wrong & crc.match_detected & (position[:2] == 0) & (position >= shortest)):
                m.d.sync += self._frame_words.eq(position[2:])
                m.next = "HEADER"
            with m.Elif(~skips & (wrong | (position != 0))):  # delimiters alone are no frame
                m.d.sync += [
                    self._status.eq(Status.DAMAGED),
                    Cat(self._sequence, self._answered, self._address).eq(0),
                ]
                m.next = "OPEN"

    def _understand(self, m: Module) -> None:
        """The header's fields, and whether they may be done: what was done before is not done again."""
        sequence, command, count, address = self._sequence, self._command, self._count, self._address
        read = self._reader.data
        with m.State("HEADER"):
            m.d.sync += self._place.eq(1)
            m.next = "SEQUENCE"
        with m.State("SEQUENCE"):
            m.d.sync += [sequence.eq(read[:8]), Value.cast(command).eq(read[8:16]), count.eq(read[16:])]
            m.next = "ADDRESS"
        with m.State("ADDRESS"):
            m.d.sync += [address.eq(read), self._place.eq(HEADER_WORDS), self._answered.eq(0), self._left.eq(count)]
            m.next = "REACH"
        on_registers = (command == Command.READ_REGISTERS) | (command == Command.WRITE_REGISTERS)
        writes = (command == Command.WRITE_REGISTERS) | (command == Command.WRITE_MEMORY)
        reads = (command == Command.READ_REGISTERS) | (command == Command.READ_MEMORY)
        with m.State("REACH"):
            m.d.sync += self._reached.eq(address + (count << 2))
            m.next = "LIMIT"
        with m.State("LIMIT"):
            m.d.sync += self._inside.eq(
                (address[:2] == 0)
                & (count != 0)
                & (count <= DATA_WORDS)
                & (self._reached >= address)
                & (self._reached <= Mux(on_registers, REGISTER_BYTES, self._memory_bytes))
                & (self._frame_words == HEADER_WORDS + CHECK_WORDS + Mux(writes, count, 0))
            )
            m.next = "JUDGE"
        again = sequence == self._last
        with m.State("JUDGE"):
            m.d.sync += [self._status.eq(Status.OKAY), self._at.eq(address)]
            m.next = "OPEN"
            with m.If((command == Command.SYNC) & (self._frame_words == HEADER_WORDS + CHECK_WORDS)):
                m.d.sync += [self._session.eq(1), self._last.eq(sequence)]
                m.next = "SYNC VERSION"
            with m.Elif(~self._session):
                m.d.sync += self._status.eq(Status.NO_SESSION)
            with m.Elif(~(reads | writes) | ~self._inside):
                m.d.sync += self._status.eq(Status.REFUSED)
            with m.Elif(again & writes):
                pass  # its answer was lost
            with m.Elif(again | (sequence == (self._last + 1)[:8])):
                m.d.sync += [self._last.eq(sequence), self._answered.eq(Mux(reads, count, 0))]
                m.next = "FETCH"
            with m.Else():
                m.d.sync += self._status.eq(Status.ORDER)
        for state, after, value in (
            ("SYNC VERSION", "SYNC BYTES", VERSION),
            ("SYNC BYTES", "OPEN", self._memory_bytes),
        ):
            with m.State(state):
                m.d.comb += [
                    self._writer.addr.eq(self._place),
                    self._writer.data.eq(value),
                    self._writer.en.eq(0b1111),
                ]
                m.d.sync += [self._place.eq(self._place + 1), self._answered.eq(2)]
                m.next = after

    def _route(self, m: Module) -> tuple[Signal, Value]:
        """What both ports are asked; whether it is memory's, and whether it writes."""
        on_memory = Signal()
        writes = (self._command == Command.WRITE_REGISTERS) | (self._command == Command.WRITE_MEMORY)
        m.d.comb += on_memory.eq((self._command == Command.READ_MEMORY) | (self._command == Command.WRITE_MEMORY))
        for port in (self.memory, self.registers):
            m.d.comb += [
                port.request.payload.address.eq(self._at),
                port.request.payload.write.eq(writes),
                port.request.payload.data.eq(self._reader.data),
            ]
        return on_memory, writes

    def _carry_out(self, m: Module, on_memory: Signal, writes: Value) -> None:
        """``count`` accesses, one after another, from the buffer or into it."""
        ready = Mux(on_memory, self.memory.request.ready, self.registers.request.ready)
        done = Mux(on_memory, self.memory.done, self.registers.done)
        with m.State("FETCH"):  # the buffer is read
            m.next = "ASK"
        with m.State("ASK"):
            m.d.comb += [
                self.memory.request.valid.eq(on_memory),
                self.registers.request.valid.eq(~on_memory),
            ]
            with m.If(ready):
                m.next = "AWAIT"
        with m.State("AWAIT"), m.If(done):
            m.d.comb += [
                self._writer.addr.eq(self._place),
                self._writer.data.eq(Mux(on_memory, self.memory.answer, self.registers.answer)),
                self._writer.en.eq(Mux(writes, 0, 0b1111)),
            ]
            m.d.sync += [
                self._at.eq(self._at + 4),
                self._place.eq(self._place + 1),
                self._left.eq(self._left - 1),
            ]
            m.next = "FETCH"
            with m.If(self._left == 1):
                m.next = "OPEN"

    def _answer(self, m: Module) -> None:
        """The answer: header, what the buffer holds, CRC."""
        items, crc = self.items, self._crc
        word, lane = Signal(32), Signal(2)
        part = Signal(2)
        header, address, content, check = range(4)
        with m.State("OPEN"):
            m.d.comb += [items.valid.eq(1), items.payload.delimiter.eq(1), crc.start.eq(1)]
            m.d.sync += [
                word.eq(Cat(self._sequence, self._status, self._answered)),
                self._left.eq(self._answered),
                self._place.eq(HEADER_WORDS),
                part.eq(header),
            ]
            with m.If(items.ready):
                m.next = "SEND"
        with m.State("SEND"):
            m.d.comb += [items.valid.eq(1), items.payload.octet.eq(word[:8]), crc.data.eq(word[:8])]
            with m.If(items.ready):
                m.d.comb += crc.valid.eq(part != check)
                m.d.sync += [word.eq(word >> 8), lane.eq(lane + 1)]
                with m.If(lane == 3):
                    m.next = "NEXT"
        with m.State("NEXT"):
            m.next = "SEND"
            with m.If(part == header):
                m.d.sync += [word.eq(self._address), part.eq(address)]
            with m.Elif(part == check):
                m.next = "CLOSE"
            with m.Elif(self._left != 0):
                m.d.sync += [
                    word.eq(self._reader.data),
                    part.eq(content),
                    self._place.eq(self._place + 1),
                    self._left.eq(self._left - 1),
                ]
            with m.Else():
                m.d.sync += [word.eq(crc.crc), part.eq(check)]
        with m.State("CLOSE"):
            m.d.comb += [items.valid.eq(1), items.payload.delimiter.eq(1), crc.start.eq(1)]
            with m.If(items.ready):
                m.next = "RECEIVE"
