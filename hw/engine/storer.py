"""STORE: spans of activation memory out to DRAM."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import BURST_BEATS, BUS_BYTES
from ..isa.program import TRANSFER
from ..isa.ranges import check_choice
from .activations import ActivationMemory
from .axi import STANDARD, Attributes, axi4_write
from .countdown import Countdown
from .counted_fifo import CountedFifo
from .credits import Credits
from .delay import delayed
from .dma import Bursts
from .guard import WINDOW, Guard
from .memory_format import MemoryFormat
from .tokens import TOKEN_PORT


class Storer(wiring.Component):
    """Reads spans line piece by line piece and writes them as AXI4 bursts; bytes outside a span are not strobed.

    A span must start at the same place in a bus beat on both sides (the planner sees to it), so no shifter is needed.
    An instruction's first burst is made ready while its tokens are on their way; only what it reads waits for them.
    It is complete, and gives its tokens, when memory has answered all its bursts.

    Parameters: bus_bytes : int, bytes a beat;  memory : MemoryFormat;  attributes : of every access
    Members:    instructions : In(stream), TRANSFER;  tokens : Out(TOKEN_PORT)
                read_address, read_valid : Out;  read_ready, read_data : In, of the activation memory
                window, closed : In, outside : Out, see Guard;  bus : Out(axi4_write);  error : Out, pulse
                quiet : Out, while closed: memory has answered everything;  idle, waiting : Out
    While ``closed`` a burst that has begun goes on to its end, with nothing strobed.
    """

    FIFO = 16
    """Beats between activation memory and bus."""
    OUTSTANDING = 32
    """Bursts that have been asked for and not been answered, at most."""

    def __init__(self, *, bus_bytes: int, memory: MemoryFormat, attributes: Attributes = STANDARD) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        self._bus_bytes, self._element_bytes, self._span_bits = bus_bytes, memory.element_bits // 8, memory.span_bits
        super().__init__(
            {
                "instructions": In(stream.Signature(TRANSFER)),
                "tokens": Out(TOKEN_PORT),
                "read_address": Out(memory.address_bits),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_data": In(8 * bus_bytes),
                "window": In(WINDOW),
                "closed": In(1),
                "outside": Out(1),
                "bus": Out(axi4_write(bus_bytes, attributes)),
                "error": Out(1),
                "quiet": Out(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus, tokens = self.bus, self.tokens
        bus_bits, element_bits = ceil_log2(self._bus_bytes), ceil_log2(self._element_bytes)
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes, span_bits=self._span_bits)
        guarded = self._guarded(m, bursts)

        i = Signal(TRANSFER, reset_less=True)
        active, spans_left, all_read = Signal(), Signal(), Signal()
        held = Signal()  # it has taken its tokens
        bursting = Signal()  # a burst's address has been handed over, its beats are being read
        spans = Countdown(TRANSFER["rows"].width, name="spans")
        beats = Countdown(ceil_log2(BURST_BEATS), name="beats")
        final, span_first, spans_end = Signal(), Signal(), Signal()  # spans_end: no span is left behind the one in work
        ends = Signal(_ends_layout(bus_bits), reset_less=True)  # where it begins and ends inside a beat
        piece = Signal(len(self.read_address) - bus_bits + element_bits, reset_less=True)  # of a beat's size
        room = Credits(self.FIFO, init=self.FIFO, name="room")
        unanswered = Credits(self.OUTSTANDING, init=0, name="unanswered")

        # spans into bursts
        m.d.comb += [
            bursts.spans.valid.eq(active & spans_left),
            bursts.spans.payload.address.eq(i.dram),
            bursts.spans.payload.bytes.eq(i.bytes),
        ]
        with m.If(bursts.spans.valid & bursts.spans.ready):
            spans.step(m)
            m.d.sync += [
                spans_left.eq(0),
                span_first.eq(1),
                spans_end.eq(spans.last),
                piece.eq(i.chip >> (bus_bits - element_bits)),
                ends.skip.eq(i.dram),
                ends.tail.eq(i.dram + i.bytes),
                i.dram.eq(i.dram + i.dram_step),  # what memory answers moves no address
                i.chip.eq(i.chip + i.chip_step),
            ]

        # each burst: its address, then its beats; while closed it goes no further than here
        burst = guarded.payload
        handing, may_read = Signal(), held | tokens.ready
        m.d.comb += [
            guarded.ready.eq(~bursting & ~bus.awvalid & ~unanswered.full & may_read),
            handing.eq(guarded.valid & guarded.ready & ~self.closed),
        ]
        with m.If(bus.awready):
            m.d.sync += bus.awvalid.eq(0)
        with m.If(~bus.awvalid):  # whether or not it is handed over: so nothing but a register moves these
            m.d.sync += [bus.awaddr.eq(burst.address), bus.awlen.eq(burst.length)]
        with m.If(~bursting):
            beats.load(m, burst.length)
            m.d.sync += final.eq(burst.final)
        with m.If(handing):
            m.d.sync += [bus.awvalid.eq(1), bursting.eq(1)]
        reading = Signal()
        m.d.comb += [
            self.read_address.eq(piece << (bus_bits - element_bits)),
            self.read_valid.eq(bursting & room.some & ~self.closed),
            reading.eq(bursting & room.some & (self.read_ready | self.closed)),
        ]
        span_last = final & beats.last
        with m.If(reading):
            beats.step(m)
            m.d.sync += [piece.eq(piece + 1), span_first.eq(0)]
            with m.If(beats.last):
                m.d.sync += bursting.eq(0)
            with m.If(span_last):
                m.d.sync += [spans_left.eq(~spans_end), all_read.eq(spans_end)]
        self._send(m, reading, self._strobe(ends, span_first, span_last), beats.last)
        room.change(m, bus.wvalid & bus.wready, reading)

        # answers, and the end of an instruction
        answered = bus.bvalid & bus.bready
        unanswered.change(m, handing, answered)
        m.d.comb += [bus.bready.eq(1), self.error.eq(answered & bus.bresp[1])]
        m.d.comb += [
            tokens.give.eq(all_read & ~unanswered.some),
            tokens.give_to.eq(i.post),
            self.instructions.ready.eq(~active),
            tokens.waits.eq(active & ~held),
            tokens.wait.eq(i.wait),
            tokens.take.eq(active & ~held & tokens.ready),
            self.waiting.tokens.eq(active & ~held & ~tokens.ready),
            self.idle.eq(~active),
            self.quiet.eq(~bursting & ~unanswered.some),
        ]
        with m.If(tokens.take):
            m.d.sync += held.eq(1)
        with m.If(tokens.give):
            m.d.sync += [active.eq(0), held.eq(0), all_read.eq(0)]
        with m.If(self.instructions.valid & self.instructions.ready):
            spans.load(m, self.instructions.payload.rows)
            m.d.sync += [i.eq(self.instructions.payload), active.eq(1), spans_left.eq(1)]
        return m

    def _guarded(self, m: Module, bursts: Bursts) -> stream.Interface:
        """The bursts that may go out."""
        m.submodules.guard = guard = Guard()
        wiring.connect(m, bursts.bursts, guard.bursts)
        m.d.comb += [guard.window.eq(self.window), guard.closed.eq(self.closed), self.outside.eq(guard.outside)]
        return guard.passed

    def _strobe(self, ends: data.View, span_first: Value, span_last: Value) -> Value:
        """All bytes of a beat but those before the span's first and after its last."""
        every = (1 << self._bus_bytes) - 1
        before = Mux(span_first, every << ends.skip, every)[: self._bus_bytes]
        return before & Mux(span_last, every >> ~ends.tail, every)

    def _send(self, m: Module, reading: Value, strobe: Value, last: Value) -> None:
        """Beats that are being read to the bus, through a FIFO; none is strobed that is read while closed."""
        flags = data.StructLayout({"strobe": self._bus_bytes, "last": 1})
        entry = data.StructLayout({"data": 8 * self._bus_bytes, "flags": flags})
        m.submodules.fifo = fifo = CountedFifo(shape=entry, depth=self.FIFO)
        mark = Signal(flags, reset_less=True)
        m.d.sync += [mark.strobe.eq(strobe), mark.last.eq(last)]
        with m.If(self.closed):
            m.d.sync += mark.strobe.eq(0)
        latency = ActivationMemory.READ_LATENCY
        put, out = fifo.incoming.payload, fifo.outgoing.payload
        m.d.comb += [
            fifo.incoming.valid.eq(delayed(m, reading, latency, name="reading", init=0)),
            put.data.eq(self.read_data),
            put.flags.eq(flags(delayed(m, mark.as_value(), latency - 1, name="mark"))),
            self.bus.wvalid.eq(fifo.outgoing.valid),
            self.bus.wdata.eq(out.data),
            self.bus.wstrb.eq(out.flags.strobe),
            self.bus.wlast.eq(out.flags.last),
            fifo.outgoing.ready.eq(self.bus.wready),
        ]


def _ends_layout(bus_bits: int) -> data.StructLayout:
    """Bytes of the first beat before a span, and the last byte of its last beat."""
    return data.StructLayout({"skip": bus_bits, "tail": bus_bits})
