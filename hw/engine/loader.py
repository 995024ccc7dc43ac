"""LOAD: spans of DRAM into activation memory, wherever they start on either side."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.program import TRANSFER
from .activations import ActivationMemory, write_layout
from .delay import delayed
from .dma import BURST, Bursts, beat_layout


class Loader(wiring.Component):
    """Asks for an instruction's spans as soon as its tokens are there, and places the beats as they arrive.

    Members: instructions : In(stream), TRANSFER;  tokens, take, give, give_to : as the sequencer's
             requests : Out(stream), BURST;  beats : In(stream)
             write : Out, see write_layout, ``valid`` while a beat waits;  write_ready : In
             idle, waiting : Out
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "instructions": In(stream.Signature(TRANSFER)),
                "tokens": In(1),
                "take": Out(1),
                "give": Out(1),
                "give_to": Out(4),
                "requests": Out(stream.Signature(BURST)),
                "beats": In(stream.Signature(beat_layout(p))),
                "write": Out(write_layout(p)),
                "write_ready": In(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1})),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        bus_bits = ceil_log2(p.bus_bytes)
        element_bits = ceil_log2(p.element_bytes)

        def beats_of(dram, size):
            """Bus beats that hold ``size`` bytes from ``dram`` on."""
            return (dram[:bus_bits] + size + (p.bus_bytes - 1)) >> bus_bits

        # asking: one span after the other into bursts
        m.submodules.bursts = bursts = Bursts(p)
        m.submodules.expected = expected = SyncFIFOBuffered(width=TRANSFER.size, depth=2)
        wiring.connect(m, bursts.bursts, wiring.flipped(self.requests))
        i = Signal(TRANSFER, reset_less=True)
        asking = Signal()
        m.d.comb += [
            bursts.spans.valid.eq(asking),
            bursts.spans.payload.address.eq(i.dram),
            bursts.spans.payload.beats.eq(beats_of(i.dram, i.bytes)),
        ]
        with m.If(asking & bursts.spans.ready):
            m.d.sync += [i.dram.eq(i.dram + i.dram_step), i.rows.eq(i.rows - 1)]
            with m.If(i.rows == 0):
                m.d.sync += asking.eq(0)
        start = ~asking & self.instructions.valid & expected.w_rdy
        m.d.comb += [
            self.instructions.ready.eq(~asking & expected.w_rdy & self.tokens),
            self.waiting.tokens.eq(start & ~self.tokens),
            self.take.eq(start & self.tokens),
            expected.w_data.eq(self.instructions.payload.as_value()),
            expected.w_en.eq(self.take),
        ]
        with m.If(self.take):
            m.d.sync += [i.eq(self.instructions.payload), asking.eq(1)]

        # placing: the same spans again, beat by beat
        e = Signal(TRANSFER, reset_less=True)
        placing = Signal()
        first = Signal()
        left = Signal(24, reset_less=True)
        chip = Signal(24, reset_less=True)
        skip = e.dram[element_bits:bus_bits] if bus_bits > element_bits else 0
        tail = ((e.dram[:bus_bits] + e.bytes - 1)[:bus_bits] >> element_bits) + 1
        moved = Signal()
        span_done = Signal()
        done = Signal()
        last = left == 1

        def span(dram, size, address):
            skipped = dram[element_bits:bus_bits]
            return [left.eq(beats_of(dram, size)), chip.eq(address - skipped), first.eq(1)]

        m.d.comb += [
            self.write.valid.eq(placing & self.beats.valid),
            self.write.address.eq(chip),
            self.write.low.eq(Mux(first, skip, 0)),
            self.write.high.eq(Mux(last, tail, p.bus_elements)),
            self.write.data.as_value().eq(self.beats.payload.data),
            self.beats.ready.eq(placing & self.write_ready),
            moved.eq(self.write.valid & self.write_ready),
            span_done.eq(moved & last),
            done.eq(span_done & (e.rows == 0)),
        ]
        with m.If(moved):
            m.d.sync += [left.eq(left - 1), chip.eq(chip + p.bus_elements), first.eq(0)]
        with m.If(span_done):
            dram, address = e.dram + e.dram_step, e.chip + e.chip_step
            m.d.sync += [e.dram.eq(dram), e.chip.eq(address), e.rows.eq(e.rows - 1), *span(dram, e.bytes, address)]
        with m.If(done):
            m.d.sync += placing.eq(0)
        following = TRANSFER(expected.r_data)
        m.d.comb += expected.r_en.eq(~placing | done)
        with m.If(expected.r_rdy & expected.r_en):
            m.d.sync += [e.eq(following), placing.eq(1), *span(following.dram, following.bytes, following.chip)]

        committed = ActivationMemory.WRITE_LATENCY
        m.d.comb += [
            self.give.eq(delayed(m, done, committed, name="done", init=0)),
            self.give_to.eq(delayed(m, e.post, committed, name="post")),
            self.idle.eq(~asking & ~placing & ~expected.r_rdy & ~bursts.bursts.valid),
        ]
        return m
