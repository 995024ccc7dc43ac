"""From spans of memory to bursts, and the weights' way in."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import BURST_BEATS, BUS_BYTES
from ..isa.program import STREAM
from ..isa.ranges import check_choice, check_range
from .counted_fifo import CountedFifo
from .delay import delayed
from .register_slice import RegisterSlice

BURST = data.StructLayout({"address": 32, "length": ceil_log2(BURST_BEATS), "final": 1})
"""One AXI burst: byte address, beats less one, and whether its span ends with it."""


def span_layout(span_bits: int) -> data.StructLayout:
    """Consecutive bytes: the address of the first, and how many, less one."""
    return data.StructLayout({"address": 32, "bytes": span_bits})


def beat_layout(bus_bytes: int) -> data.StructLayout:
    """A beat that was read, and whether its span ends with it."""
    return data.StructLayout({"data": 8 * bus_bytes, "last": 1})


class Bursts(wiring.Component):
    """Cuts spans into bursts of at most BURST_BEATS beats that never cross a multiple of as many (so never 4 KiB).

    The first burst of a span follows it by LATENCY cycles; then one burst a cycle.

    Parameters: bus_bytes : int, bytes a beat;  span_bits : int, of a span's bytes less one
    Members:    spans : In(stream), span_layout;  bursts : Out(stream), BURST: the beats that a span's bytes lie in
                idle : Out, no span in work
    """

    LATENCY = 2 + RegisterSlice.LATENCY

    def __init__(self, *, bus_bytes: int, span_bits: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("span bits", span_bits, 1, 32)
        self._shift, self._span_bits = ceil_log2(bus_bytes), span_bits
        super().__init__(
            {
                "spans": In(stream.Signature(span_layout(span_bits))),
                "bursts": Out(stream.Signature(BURST)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        in_block = ceil_log2(BURST_BEATS)
        end_bits = min(32, max(self._span_bits, self._shift + in_block) + 1)  # that tell a span's blocks apart
        span = self.spans.payload

        # first, where the span begins and ends, in beats
        waiting, begins = Signal(), Signal()
        start = Signal(32 - self._shift, reset_less=True)
        end = Signal(end_bits - self._shift, reset_less=True)
        first = start[in_block:]
        m.d.comb += self.spans.ready.eq(~waiting | begins)
        with m.If(self.spans.valid & self.spans.ready):
            m.d.sync += [
                waiting.eq(1),
                start.eq(span.address >> self._shift),
                end.eq((span.address[:end_bits] + span.bytes)[:end_bits] >> self._shift),
            ]
        with m.Elif(begins):
            m.d.sync += waiting.eq(0)

        # then block by block: only the first begins inside, only the last ends inside
        m.submodules.ahead = ahead = RegisterSlice(shape=BURST)  # many ask the bus: what it answers moves no block here
        wiring.connect(m, ahead.outgoing, wiring.flipped(self.bursts))
        busy, last = Signal(), Signal(reset_less=True)
        block = Signal(32 - self._shift - in_block, reset_less=True)
        following = Signal.like(block, reset_less=True)  # block + 1: to add and to compare are two cycles' work
        final = Signal(len(end) - in_block, reset_less=True)  # the last one's number, as far as that tells
        lead = Signal(in_block, reset_less=True)
        tail = Signal(in_block, reset_less=True)
        burst, goes_on, moves = ahead.incoming.payload, Signal(), Signal()
        m.d.comb += [
            ahead.incoming.valid.eq(busy),
            burst.address.eq(Cat(Const(0, self._shift), lead, block)),
            burst.length.eq(Mux(last, tail, BURST_BEATS - 1) - lead),
            burst.final.eq(last),
            goes_on.eq(busy & ~last),
            moves.eq(~busy | ahead.incoming.ready),
            begins.eq(waiting & ~goes_on & moves),
            self.idle.eq(~waiting & ~busy & ~self.bursts.valid),
        ]
        with m.If(moves):
            m.d.sync += [
                busy.eq(waiting | goes_on),
                lead.eq(Mux(goes_on, 0, start)),
                block.eq(Mux(goes_on, following, first)),
                following.eq(Mux(goes_on, following, first) + 1),
                last.eq(Mux(goes_on, following[: len(final)] == final, first[: len(final)] == end[in_block:])),
            ]
            with m.If(~goes_on):
                m.d.sync += [tail.eq(end), final.eq(end >> in_block)]
        return m


class WeightStream(wiring.Component):
    """Fetches the array's weights ahead of it, as far as its FIFO has room for whole bursts.

    A beat leaves LATENCY cycles after it has arrived, at the earliest; bursts are asked for EVERY cycles apart.

    Parameters: bus_bytes : int, bytes a beat;  fifo_beats : int, at least two of the longest bursts
    Members:    instructions : In(stream), program.STREAM;  requests : Out(stream), BURST
                arriving : In(stream), beats, always taken
                beats : Out(stream), data and last of each instruction's stream;  idle : Out
    """

    LATENCY = CountedFifo.LATENCY + 1 + RegisterSlice.LATENCY
    EVERY = 3

    def __init__(self, *, bus_bytes: int, fifo_beats: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("FIFO beats", fifo_beats, 2 * BURST_BEATS, 1 << 24)
        self._bus_bytes, self._fifo_beats = bus_bytes, fifo_beats
        super().__init__(
            {
                "instructions": In(stream.Signature(STREAM)),
                "requests": Out(stream.Signature(BURST)),
                "arriving": In(stream.Signature(beat_layout(bus_bytes))),
                "beats": Out(stream.Signature(beat_layout(bus_bytes))),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes, span_bits=32)
        depth = self._fifo_beats
        m.submodules.fifo = fifo = CountedFifo(shape=beat_layout(self._bus_bytes), depth=depth)
        room = Signal(range(depth + 1), init=depth)  # neither filled nor promised to a burst
        enough = Signal(init=1)  # judged two cycles late, so not right after a burst
        burst = bursts.bursts
        asked = self.requests.valid & self.requests.ready
        left = self.beats.valid & self.beats.ready
        # a block RAM takes most of a cycle: what leaves it goes to one register and nowhere else
        m.submodules.ahead = ahead = RegisterSlice(shape=beat_layout(self._bus_bytes))
        read, there, moves = Signal(beat_layout(self._bus_bytes), reset_less=True), Signal(), Signal()
        with m.If(moves):
            m.d.sync += [read.eq(fifo.outgoing.payload), there.eq(fifo.outgoing.valid)]
        m.d.comb += [
            moves.eq(~there | ahead.incoming.ready),
            fifo.outgoing.ready.eq(moves),
            ahead.incoming.payload.eq(read),
            ahead.incoming.valid.eq(there),
        ]
        wiring.connect(m, ahead.outgoing, wiring.flipped(self.beats))
        m.d.comb += [
            bursts.spans.valid.eq(self.instructions.valid),
            bursts.spans.payload.address.eq(self.instructions.payload.dram),
            bursts.spans.payload.bytes.eq(Cat(Const(-1, ceil_log2(self._bus_bytes)), self.instructions.payload.beats)),
            self.instructions.ready.eq(bursts.spans.ready),
            self.requests.payload.eq(burst.payload),
            self.requests.valid.eq(burst.valid & enough),
            burst.ready.eq(self.requests.ready & enough),
            fifo.incoming.valid.eq(self.arriving.valid),
            fifo.incoming.payload.eq(self.arriving.payload),
            self.arriving.ready.eq(1),
        ]
        # less the beats of the burst before, ~length, and one more for a beat that leaves: the carry into the sum
        length = delayed(m, burst.payload.length, 1, name="length")
        promises = delayed(m, asked, 1, name="promises", init=0)
        promised = Cat(~length & promises.replicate(len(length)), promises.replicate(len(room) - len(length)))
        m.d.comb += self.idle.eq((room == depth) & ~promises & bursts.idle)
        m.d.sync += [
            room.eq((Cat(1, room) + Cat(left, promised))[1:]),
            enough.eq((room >= BURST_BEATS) & ~asked & ~promises),
        ]
        return m
