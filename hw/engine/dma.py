"""AXI4 reads shared by three users: bursts in, beats out, in order."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import BURST_BEATS, BUS_BYTES
from ..isa.program import STREAM
from ..isa.ranges import check_choice, check_range
from .axi import axi4_read
from .countdown import Countdown
from .register_slice import RegisterSlice

BURST = data.StructLayout({"address": 32, "length": ceil_log2(BURST_BEATS), "final": 1})
"""One AXI burst: byte address, beats less one, and whether its span ends with it."""

SPAN = data.StructLayout({"address": 32, "bytes": 32})
"""Consecutive bytes: the address of the first, and how many, at least one."""


def beat_layout(bus_bytes: int) -> data.StructLayout:
    """A beat that was read, and whether its span ends with it."""
    return data.StructLayout({"data": 8 * bus_bytes, "last": 1})


class Bursts(wiring.Component):
    """Cuts spans into bursts of at most BURST_BEATS beats that never cross a multiple of as many (so never 4 KiB).

    The first burst of a span follows it by LATENCY cycles; then one burst a cycle.

    Parameters: bus_bytes : int, bytes a beat
    Members:    spans : In(stream), SPAN;  bursts : Out(stream), BURST: the beats that a span's bytes lie in
                idle : Out, no span in work
    """

    LATENCY = 2

    def __init__(self, *, bus_bytes: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        self._shift = ceil_log2(bus_bytes)
        super().__init__({"spans": In(stream.Signature(SPAN)), "bursts": Out(stream.Signature(BURST)), "idle": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        in_block = ceil_log2(BURST_BEATS)
        span, burst = self.spans.payload, self.bursts.payload

        # first, where the span ends, in beats from its block's first
        waiting, begins, blocks = Signal(), Signal(), Countdown(32 - self._shift - in_block, name="blocks")
        start = Signal(32 - self._shift, reset_less=True)
        end = Signal(32 - self._shift, reset_less=True)
        m.d.comb += self.spans.ready.eq(~waiting | begins)
        with m.If(self.spans.valid & self.spans.ready):
            offset = span.address[: self._shift + in_block]
            m.d.sync += [
                waiting.eq(1),
                start.eq(span.address >> self._shift),
                end.eq((offset + span.bytes - 1)[:32] >> self._shift),
            ]
        with m.Elif(begins):
            m.d.sync += waiting.eq(0)

        # then block by block: only the first begins inside, only the last ends inside
        busy = Signal()
        block = Signal(32 - self._shift - in_block, reset_less=True)
        lead = Signal(in_block, reset_less=True)
        tail = Signal(in_block, reset_less=True)
        m.d.comb += [
            self.bursts.valid.eq(busy),
            burst.address.eq(Cat(Const(0, self._shift), lead, block)),
            burst.length.eq(Mux(blocks.last, tail, BURST_BEATS - 1) - lead),
            burst.final.eq(blocks.last),
            begins.eq(waiting & (~busy | (self.bursts.ready & blocks.last))),
            self.idle.eq(~waiting & ~busy),
        ]
        with m.If(begins):
            blocks.load(m, end[in_block:])
            m.d.sync += [busy.eq(1), lead.eq(start), block.eq(start >> in_block), tail.eq(end)]
        with m.Elif(busy & self.bursts.ready):
            blocks.step(m)
            m.d.sync += [busy.eq(~blocks.last), lead.eq(0), block.eq(block + 1)]
        return m


class ReadMaster(wiring.Component):
    """AXI4 read channels for several users, bursts round robin, data in the order of the bursts.

    A user asks only for what it can take soon: a beat that nobody takes would hold up those behind it.

    Parameters: bus_bytes : int, bytes a beat;  users : int, 2 to 8
    Members:    requests : In(stream) of BURST, one a user;  beats : Out(stream), one a user, last of a final burst
                base : In, added to every address;  bus : Out(axi4_read);  error : Out, pulse
    """

    OUTSTANDING = 16
    """Bursts that have been asked for and have not arrived, at most."""

    def __init__(self, *, bus_bytes: int, users: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("users", users, 2, 8)
        self._bus_bytes, self._users = bus_bytes, users
        super().__init__(
            {
                "requests": In(stream.Signature(BURST)).array(users),
                "beats": Out(stream.Signature(beat_layout(bus_bytes))).array(users),
                "base": In(32),
                "bus": Out(axi4_read(bus_bytes)),
                "error": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        users = range(self._users)
        requests, beats, bus = self.requests, self.beats, self.bus
        tag = data.StructLayout({"user": ceil_log2(self._users), "final": 1})
        m.submodules.tags = tags = SyncFIFOBuffered(width=tag.size, depth=self.OUTSTANDING)
        issued, returning = tag(tags.w_data), tag(tags.r_data)

        # round robin: the user after the last one served goes first
        last = Signal(range(self._users))
        chosen = Signal(range(self._users))
        with m.Switch(last):
            for n in users:
                with m.Case(n):
                    for distance in reversed(range(1, self._users + 1)):
                        candidate = (n + distance) % self._users
                        with m.If(requests[candidate].valid):
                            m.d.comb += chosen.eq(candidate)

        free = Signal()
        m.d.comb += free.eq((~bus.arvalid | bus.arready) & tags.w_rdy)
        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        for n, request in enumerate(requests):
            with m.If(chosen == n):
                m.d.comb += [request.ready.eq(free), issued.user.eq(n), issued.final.eq(request.payload.final)]
                with m.If(request.valid & free):
                    m.d.comb += tags.w_en.eq(1)
                    m.d.sync += [
                        bus.arvalid.eq(1),
                        bus.araddr.eq(request.payload.address + self.base),
                        bus.arlen.eq(request.payload.length),
                        last.eq(n),
                    ]

        # the bus ends at registers: no path from its valid to its ready, none from its data into the engine
        answer = data.StructLayout({"data": 8 * self._bus_bytes, "resp": 2, "last": 1})
        m.submodules.answers = slice_ = RegisterSlice(shape=answer)
        arriving = slice_.outgoing
        m.d.comb += [
            slice_.incoming.valid.eq(bus.rvalid),
            slice_.incoming.payload.data.eq(bus.rdata),
            slice_.incoming.payload.resp.eq(bus.rresp),
            slice_.incoming.payload.last.eq(bus.rlast),
            bus.rready.eq(slice_.incoming.ready),
        ]
        for n, beat in enumerate(beats):
            mine = tags.r_rdy & (returning.user == n)
            m.d.comb += [
                beat.valid.eq(arriving.valid & mine),
                beat.payload.data.eq(arriving.payload.data),
                beat.payload.last.eq(arriving.payload.last & returning.final),
            ]
            with m.If(mine):
                m.d.comb += arriving.ready.eq(beat.ready)
        taken = arriving.valid & arriving.ready
        m.d.comb += [
            tags.r_en.eq(taken & arriving.payload.last),
            self.error.eq(taken & arriving.payload.resp[1]),
        ]
        return m


class WeightStream(wiring.Component):
    """Fetches the array's weights ahead of it, as far as its FIFO has room for whole bursts.

    Parameters: bus_bytes : int, bytes a beat;  fifo_beats : int, at least two of the longest bursts
    Members:    instructions : In(stream), program.STREAM;  requests : Out(stream), BURST;  arriving : In(stream), beats
                beats : Out(stream), data and last of each instruction's stream;  idle : Out
    """

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
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes)
        depth = self._fifo_beats
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=beat_layout(self._bus_bytes).size, depth=depth)
        room = Signal(range(depth + 1), init=depth)  # neither filled nor promised to a burst
        enough = Signal(init=1)  # judged a cycle late, so not right after a burst
        burst = bursts.bursts
        asked = self.requests.valid & self.requests.ready
        left = self.beats.valid & self.beats.ready
        m.d.comb += [
            bursts.spans.valid.eq(self.instructions.valid),
            bursts.spans.payload.address.eq(self.instructions.payload.dram),
            bursts.spans.payload.bytes.eq(self.instructions.payload.beats << ceil_log2(self._bus_bytes)),
            self.instructions.ready.eq(bursts.spans.ready),
            self.requests.payload.eq(burst.payload),
            self.requests.valid.eq(burst.valid & enough),
            burst.ready.eq(self.requests.ready & enough),
            fifo.w_data.eq(Cat(self.arriving.payload.as_value())),
            fifo.w_en.eq(self.arriving.valid),
            self.arriving.ready.eq(fifo.w_rdy),
            self.beats.payload.as_value().eq(fifo.r_data),
            self.beats.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.beats.ready),
            self.idle.eq((room == depth) & bursts.idle),
        ]
        m.d.sync += [
            room.eq(room - Mux(asked, burst.payload.length + 1, 0) + left),
            enough.eq((room >= BURST_BEATS) & ~asked),
        ]
        return m
