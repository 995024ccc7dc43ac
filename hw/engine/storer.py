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
    Bursts are made ready ahead, up to those of SPANS spans: so spans follow each other as bursts of one do.
    An instruction's first are made ready while its tokens are on their way; only what they read waits for them.
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
    SPANS = 4
    """Spans whose beats are not yet being read, at most.  From a place that gets free to the burst of the span that
    takes it pass Bursts.LATENCY + Guard.LATENCY + 1 cycles, in which two or three bursts of one beat are read."""

    def __init__(self, *, bus_bytes: int, memory: MemoryFormat, attributes: Attributes = STANDARD) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        self._bus_bytes, self._span_bits = bus_bytes, memory.span_bits
        piece_bits = memory.address_bits - ceil_log2(bus_bytes * 8 // memory.element_bits)
        self._span = _span_layout(piece_bits, ceil_log2(bus_bytes))
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
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes, span_bits=self._span_bits)
        guarded = self._guarded(m, bursts)

        i = Signal(TRANSFER, reset_less=True)
        active, spans_left, all_read = Signal(), Signal(), Signal()  # spans_left: to be cut into bursts
        held = Signal()  # it has taken its tokens
        bursting = Signal()  # a burst's address has been handed over, its beats are being read
        beats = Countdown(ceil_log2(BURST_BEATS), name="beats")
        final, opens = Signal(), Signal(init=1)  # the burst in work ends its span, the next one begins one
        span, span_first = Signal(self._span, reset_less=True), Signal()  # the one in work; its piece goes on
        room = Credits(self.FIFO, init=self.FIFO, name="room")
        unanswered = Credits(self.OUTSTANDING, init=0, name="unanswered")

        ahead = self._ahead(m, i, active, spans_left, bursts)

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
        m.d.comb += ahead.ready.eq(handing & opens)  # a span is there before its burst is
        with m.If(~bursting):
            beats.load(m, burst.length)
            m.d.sync += final.eq(burst.final)
            with m.If(opens):
                m.d.sync += [span.eq(ahead.payload), span_first.eq(1)]
        with m.If(handing):
            m.d.sync += [bus.awvalid.eq(1), bursting.eq(1), opens.eq(burst.final)]
        reading = Signal()
        m.d.comb += [
            self.read_address.eq(span.piece << (len(self.read_address) - len(span.piece))),
            self.read_valid.eq(bursting & room.some & ~self.closed),
            reading.eq(bursting & room.some & (self.read_ready | self.closed)),
        ]
        span_last = final & beats.last
        with m.If(reading):
            beats.step(m)
            m.d.sync += [span.piece.eq(span.piece + 1), span_first.eq(0)]
            with m.If(beats.last):
                m.d.sync += bursting.eq(0)
            with m.If(span_last):
                m.d.sync += all_read.eq(span.end)
        self._send(m, reading, self._strobe(span, span_first, span_last), beats.last)
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
            m.d.sync += [i.eq(self.instructions.payload), active.eq(1), spans_left.eq(1)]
        return m

    def _ahead(self, m: Module, i: data.View, active: Value, left: Signal, bursts: Bursts) -> stream.Interface:
        """Hands the spans of ``i`` to ``bursts`` while some are ``left``; of each, what is to be read, in order."""
        m.submodules.ahead = ahead = CountedFifo(shape=self._span, depth=self.SPANS)
        places = Credits(self.SPANS, init=self.SPANS, name="places")
        rows = Countdown(TRANSFER["rows"].width, name="spans")
        following, put = Signal(), ahead.incoming.payload
        m.d.comb += [
            bursts.spans.valid.eq(active & left & places.some),
            bursts.spans.payload.address.eq(i.dram),
            bursts.spans.payload.bytes.eq(i.bytes),
            following.eq(bursts.spans.valid & bursts.spans.ready),
            ahead.incoming.valid.eq(following),
            put.piece.eq(i.chip >> (len(self.read_address) - len(put.piece))),
            put.skip.eq(i.dram),
            put.tail.eq(i.dram + i.bytes),
            put.end.eq(rows.last),
        ]
        with m.If(following):
            rows.step(m)
            m.d.sync += [
                left.eq(~rows.last),
                i.dram.eq(i.dram + i.dram_step),  # what memory answers moves no address
                i.chip.eq(i.chip + i.chip_step),
            ]
        with m.If(self.instructions.valid & self.instructions.ready):
            rows.load(m, self.instructions.payload.rows)
        places.change(m, ahead.outgoing.valid & ahead.outgoing.ready, following)
        return ahead.outgoing

    def _guarded(self, m: Module, bursts: Bursts) -> stream.Interface:
        """The bursts that may go out."""
        m.submodules.guard = guard = Guard()
        wiring.connect(m, bursts.bursts, guard.bursts)
        m.d.comb += [guard.window.eq(self.window), guard.closed.eq(self.closed), self.outside.eq(guard.outside)]
        return guard.passed

    def _strobe(self, span: data.View, span_first: Value, span_last: Value) -> Value:
        """All bytes of a beat but those before the span's first and after its last."""
        every = (1 << self._bus_bytes) - 1
        before = Mux(span_first, every << span.skip, every)[: self._bus_bytes]
        return before & Mux(span_last, every >> ~span.tail, every)

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


def _span_layout(piece_bits: int, bus_bits: int) -> data.StructLayout:
    """The piece of a beat's size that is to be read first, bytes of the first beat before the span, the last byte of
    its last beat, and whether the instruction ends with it.
    """
    return data.StructLayout({"piece": piece_bits, "skip": bus_bits, "tail": bus_bits, "end": 1})
