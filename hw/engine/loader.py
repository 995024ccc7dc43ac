"""LOAD: spans of DRAM into activation memory, wherever they start on either side."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import BUS_BYTES
from ..isa.program import TRANSFER
from ..isa.ranges import check_choice, check_range
from .activations import ActivationMemory
from .countdown import Countdown
from .delay import delayed
from .dma import BURST, Bursts, beat_layout
from .memory_format import MemoryFormat
from .tokens import TOKEN_PORT


class Loader(wiring.Component):
    """Asks for an instruction's spans as soon as its tokens are there, and places the beats as they arrive.

    Parameters: bus_bytes : int, bytes a beat, at most what one write places;  memory : MemoryFormat
    Members:    instructions : In(stream), TRANSFER;  tokens : Out(TOKEN_PORT)
                requests : Out(stream), BURST;  beats : In(stream)
                write : Out, see MemoryFormat.write_layout, ``valid`` while a beat waits;  write_ready : In
                idle, waiting : Out
    """

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
        tokens = self.tokens
        bus_bits = ceil_log2(self._bus_bytes)
        element_bits = ceil_log2(self._memory.element_bits // 8)  # of a byte address inside an element
        bus_elements = 8 * self._bus_bytes // self._memory.element_bits

        spans = {n: Countdown(TRANSFER["rows"].width, name=n) for n in ("asked", "placed")}

        # asking: one span after the other into bursts
        m.submodules.bursts = bursts = Bursts(bus_bytes=self._bus_bytes)
        m.submodules.expected = expected = SyncFIFOBuffered(width=TRANSFER.size, depth=2)
        wiring.connect(m, bursts.bursts, wiring.flipped(self.requests))
        i = Signal(TRANSFER, reset_less=True)
        asking = Signal()
        m.d.comb += [
            bursts.spans.valid.eq(asking),
            bursts.spans.payload.address.eq(i.dram),
            bursts.spans.payload.bytes.eq(i.bytes),
        ]
        with m.If(asking & bursts.spans.ready):
            spans["asked"].step(m)
            m.d.sync += [i.dram.eq(i.dram + i.dram_step), asking.eq(~spans["asked"].last)]
        start = ~asking & self.instructions.valid & expected.w_rdy
        m.d.comb += [
            self.instructions.ready.eq(~asking & expected.w_rdy & tokens.ready),
            self.waiting.tokens.eq(start & ~tokens.ready),
            tokens.waits.eq(self.instructions.valid),
            tokens.wait.eq(self.instructions.payload.wait),
            tokens.take.eq(start & tokens.ready),
            expected.w_data.eq(self.instructions.payload.as_value()),
            expected.w_en.eq(tokens.take),
        ]
        with m.If(tokens.take):
            spans["asked"].load(m, self.instructions.payload.rows)
            m.d.sync += [i.eq(self.instructions.payload), asking.eq(1)]

        # placing: the same spans again, beat by beat
        e = Signal(TRANSFER, reset_less=True)
        placing = Signal()
        first = Signal()
        beats = Countdown(24, name="beats")
        chip = Signal(self._memory.address_bits, reset_less=True)
        skip = e.dram[element_bits:bus_bits] if bus_bits > element_bits else 0
        tail = ((e.dram[:bus_bits] + e.bytes - 1)[:bus_bits] >> element_bits) + 1
        moved = Signal()
        span_done = Signal()
        done = Signal()

        def begin_span(dram, size, address):
            beats.load(m, (dram[:bus_bits] + size - 1)[:25] >> bus_bits)
            m.d.sync += [chip.eq(address - dram[element_bits:bus_bits]), first.eq(1)]

        m.d.comb += [
            self.write.valid.eq(placing & self.beats.valid),
            self.write.address.eq(chip),
            self.write.low.eq(Mux(first, skip, 0)),
            self.write.high.eq(Mux(beats.last, tail, bus_elements)),
            self.write.data.as_value().eq(self.beats.payload.data),
            self.beats.ready.eq(placing & self.write_ready),
            moved.eq(self.write.valid & self.write_ready),
            span_done.eq(moved & beats.last),
            done.eq(span_done & spans["placed"].last),
        ]
        with m.If(moved):
            beats.step(m)
            m.d.sync += [chip.eq(chip + bus_elements), first.eq(0)]
        with m.If(span_done):
            dram, address = e.dram + e.dram_step, e.chip + e.chip_step
            begin_span(dram, e.bytes, address)
            spans["placed"].step(m)
            m.d.sync += [e.dram.eq(dram), e.chip.eq(address)]
        with m.If(done):
            m.d.sync += placing.eq(0)
        following = TRANSFER(expected.r_data)
        m.d.comb += expected.r_en.eq(~placing | done)
        with m.If(expected.r_rdy & expected.r_en):
            begin_span(following.dram, following.bytes, following.chip)
            spans["placed"].load(m, following.rows)
            m.d.sync += [e.eq(following), placing.eq(1)]

        committed = ActivationMemory.WRITE_LATENCY
        m.d.comb += [
            tokens.give.eq(delayed(m, done, committed, name="done", init=0)),
            tokens.give_to.eq(delayed(m, e.post, committed, name="post")),
            self.idle.eq(~asking & ~placing & ~expected.r_rdy & bursts.idle),
        ]
        return m
