"""LOAD: spans of DRAM into activation memory, wherever they start on either side."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import BUS_BYTES
from ..isa.program import TRANSFER
from ..isa.ranges import check_choice, check_range
from .activations import ActivationMemory
from .countdown import Countdown
from .delay import delayed
from .dma import BURST, Bursts, beat_layout
from .instruction_queue import InstructionQueue
from .memory_format import MemoryFormat
from .register_slice import RegisterSlice
from .tokens import TOKEN_PORT


class Loader(wiring.Component):
    """Asks for an instruction's spans as soon as its tokens are there, and places the beats as they arrive.

    A beat is written LATENCY cycles after it has arrived: a register to be placed from, one to be written from.

    Parameters: bus_bytes : int, bytes a beat, at most what one write places;  memory : MemoryFormat
    Members:    instructions : In(stream), TRANSFER;  tokens : Out(TOKEN_PORT)
                requests : Out(stream), BURST;  beats : In(stream), of spans that were asked for
                write : Out, see MemoryFormat.write_layout, ``valid`` while a beat waits;  write_ready : In
                idle, waiting : Out
    """

    LATENCY = 2 * RegisterSlice.LATENCY

    def __init__(self, *, bus_bytes: int, memory: MemoryFormat) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("elements of a beat", 8 * bus_bytes // memory.element_bits, 1, memory.port_elements)
        self._bus_bytes, self._memory = bus_bytes, memory
        super().__init__(
            {
                "instructions": In(stream.Signature(TRANSFER)),
                "tokens": Out(TOKEN_PORT),
                "requests": Out(stream.Signature(BURST)),
                "beats": In(stream.Signature(beat_layout(bus_bytes))),
                "write": Out(memory.write_layout),
                "write_ready": In(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.expected = expected = InstructionQueue(shape=self._spans_layout(), depth=2)
        asking, placing = self._ask(m, expected.incoming), self._place(m, expected.outgoing)
        m.d.comb += self.idle.eq(~asking & expected.empty & ~placing)
        return m

    def _ask(self, m: Module, expected: stream.Interface) -> Value:
        """One span after the other into bursts.  Returns whether there are any."""
        tokens, incoming, span_bits = self.tokens, self.instructions.payload, self._memory.span_bits
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes, span_bits=span_bits)
        wiring.connect(m, bursts.bursts, wiring.flipped(self.requests))
        spans = Countdown(len(incoming.rows), name="asked")
        i = Signal(TRANSFER, reset_less=True)
        asking = Signal()
        m.d.comb += [
            bursts.spans.valid.eq(asking),
            bursts.spans.payload.address.eq(i.dram),
            bursts.spans.payload.bytes.eq(i.bytes),
        ]
        with m.If(asking & bursts.spans.ready):
            spans.step(m)
            m.d.sync += [i.dram.eq(i.dram + i.dram_step), asking.eq(~spans.last)]
        start = ~asking & self.instructions.valid & expected.ready
        m.d.comb += [
            self.instructions.ready.eq(~asking & expected.ready & tokens.ready),
            self.waiting.tokens.eq(start & ~tokens.ready),
            tokens.waits.eq(self.instructions.valid),
            tokens.wait.eq(incoming.wait),
            tokens.take.eq(start & tokens.ready),
            expected.valid.eq(tokens.take),
            *(expected.payload[name].eq(incoming[name]) for name in self._spans_layout().members),
        ]
        with m.If(tokens.take):
            spans.load(m, incoming.rows)
            m.d.sync += [i.eq(incoming), asking.eq(1)]
        return asking | ~bursts.idle

    def _spans_layout(self) -> data.StructLayout:
        """What placing needs of an instruction: of places in DRAM only those inside a beat."""
        inside, address = ceil_log2(self._bus_bytes), self._memory.address_bits
        widths = {"bytes": inside, "dram": inside, "dram_step": inside, "chip": address, "chip_step": address}
        return data.StructLayout({name: TRANSFER[name].width for name in ("post", "rows")} | widths)

    def _place(self, m: Module, expected: stream.Interface) -> Value:
        """The same spans again, beat by beat.  Returns whether any are left."""
        write, tokens = self.write, self.tokens
        element_bits = ceil_log2(self._memory.element_bits // 8)  # of a byte address inside an element
        bus_elements = 8 * self._bus_bytes // self._memory.element_bits
        spans = Countdown(len(expected.payload.rows), name="placed")
        e = Signal(self._spans_layout(), reset_less=True)
        placing, first, taken, moves = Signal(), Signal(init=1), Signal(), Signal()

        # between two slices: whether the memory takes a beat reaches nothing here in the same cycle, and what is placed
        # here no other user of the bus
        m.submodules.arrived = arrived = RegisterSlice(shape=self.beats.payload.shape())
        wiring.connect(m, wiring.flipped(self.beats), arrived.incoming)
        beats = arrived.outgoing
        tail = (e.dram + e.bytes)[: len(e.dram)] >> element_bits  # the last beat's last element
        skip = e.dram >> element_bits
        last = beats.payload.last
        layout = {"write": self._memory.write_layout, "complete": 1, "post": e.post.shape()}
        m.submodules.ahead = ahead = RegisterSlice(shape=data.StructLayout(layout))
        placed, leaving = ahead.incoming.payload, ahead.outgoing
        address = Signal.like(write.address, reset_less=True)  # of the beat before
        m.d.comb += [
            beats.ready.eq(placing & ahead.incoming.ready),
            taken.eq(beats.valid & beats.ready),
            ahead.incoming.valid.eq(taken),
            placed.write.address.eq(Mux(first, e.chip - skip, address + bus_elements)),
            placed.write.low.eq(Mux(first, skip, 0)),
            placed.write.high.eq(Mux(last, tail + 1, bus_elements)),
            placed.write.data.as_value().eq(beats.payload.data),
            placed.complete.eq(last & spans.last),
            placed.post.eq(e.post),
            write.eq(leaving.payload.write),
            write.valid.eq(leaving.valid),
            leaving.ready.eq(self.write_ready),
        ]
        with m.If(taken):
            m.d.sync += [address.eq(placed.write.address), first.eq(last)]

        # to the next span; behind an instruction's last, and where there is none, to whatever the queue shows
        ended = ~placing | spans.last
        m.d.comb += [moves.eq(~placing | (taken & last)), expected.ready.eq(moves & ended)]
        with m.If(moves):
            with m.If(ended):
                spans.load(m, expected.payload.rows)
                m.d.sync += [e.eq(expected.payload), placing.eq(expected.valid)]
            with m.Else():
                spans.step(m)
                m.d.sync += [e.dram.eq(e.dram + e.dram_step), e.chip.eq(e.chip + e.chip_step)]

        committed = ActivationMemory.WRITE_LATENCY
        finished = Signal(committed + 1)  # now, a cycle ago, and so on
        m.d.comb += finished[0].eq(leaving.valid & leaving.ready & leaving.payload.complete)
        m.d.sync += finished[1:].eq(finished)
        m.d.comb += [
            tokens.give.eq(finished[-1]),
            tokens.give_to.eq(delayed(m, leaving.payload.post, committed, name="post")),
        ]
        return placing | leaving.valid | finished[1:].any()  # no token is to come behind a run's end
