"""Block RAM behind an AXI4 port, which a host reaches beside the accelerator."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ...quant.graph.errors import ConfigurationError
from ..engine.axi import ADDRESS_BITS, axi4
from ..engine.memory_attributes import COLLISIONS_NEVER_COUNT
from ..isa.ranges import check_range
from ..isa.register_map import PAGE_BITS
from .words import words

OKAY, DECODE_ERROR = 0b00, 0b11
DEPTH = 16
"""Bursts that wait each way."""


class BlockMemory(wiring.Component):
    """An AXI4 slave for one master: one ID, incrementing bursts of whole beats inside a page, as ours makes them.

    Reads: the first beat is valid LATENCY cycles after its address, then one a cycle, and bursts that wait follow each
    other without a gap.  Writes: a beat a cycle; the response comes WRITE_LATENCY cycles after the last.  What lies
    behind ``size`` answers with DECERR, and is not written.  The host's accesses take what cycles the master leaves.

    Parameters: bus_bytes : int, 4 to 64, a power of two;  size : int, bytes, a multiple of 4,096
    Members:    bus : In(axi4);  host : In(words()), addresses below ``size``
    """

    LATENCY = 4
    WRITE_LATENCY = 2

    def __init__(self, *, bus_bytes: int, size: int) -> None:
        check_range("memory size in pages", size >> PAGE_BITS, 1, 1 << 20)
        if size % (1 << PAGE_BITS):
            raise ConfigurationError(f"memory size must be a multiple of {1 << PAGE_BITS} bytes, not {size}")
        self._bus_bytes, self._size = bus_bytes, size
        super().__init__({"bus": In(axi4(bus_bytes)), "host": In(words())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = self._size // self._bus_bytes
        m.submodules.storage = storage = Memory(
            shape=8 * self._bus_bytes, depth=depth, init=[], attrs=COLLISIONS_NEVER_COUNT
        )
        reader, writer = storage.read_port(), storage.write_port(granularity=8)
        request, host = self.host.request, self.host
        m.d.sync += host.done.eq(0)
        lane_bits = ceil_log2(self._bus_bytes)
        line = request.payload.address[lane_bits : lane_bits + len(reader.addr)]
        word = request.payload.address[2:lane_bits]
        host_reads, host_writes = self._take_turns(m)
        self._reads(m, reader, line, word, host_reads)
        self._writes(m, writer, line, word, host_writes)
        return m

    def _take_turns(self, m: Module) -> tuple[Signal, Signal]:
        """The host's access waits in its request until nothing of it is under way."""
        request = self.host.request
        reading, writing, away = Signal(name="host_reads"), Signal(name="host_writes"), Signal()
        idle = request.valid & ~away & ~self.host.done
        m.d.comb += [
            reading.eq(idle & ~request.payload.write),
            writing.eq(idle & request.payload.write),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += away.eq(1)
        with m.If(self.host.done):
            m.d.sync += away.eq(0)
        return reading, writing

    def _queue(self, m: Module, name: str, bus: object, prefix: str) -> tuple[Signal, Signal, Signal, Signal, Signal]:
        """The burst that runs: its beat's line, whether it is the last, is outside, and there is one; and its step."""
        lane_bits = ceil_log2(self._bus_bytes)
        layout = data.StructLayout({"page": ADDRESS_BITS - PAGE_BITS, "line": PAGE_BITS - lane_bits, "len": 8})
        m.submodules[name] = queue = SyncFIFO(width=layout.size, depth=DEPTH)
        address, length = getattr(bus, f"{prefix}addr"), getattr(bus, f"{prefix}len")
        asked = data.View(layout, queue.w_data)
        m.d.comb += [
            asked.page.eq(address[PAGE_BITS:]),
            asked.line.eq(address[lane_bits:PAGE_BITS]),
            asked.len.eq(length),
            queue.w_en.eq(getattr(bus, f"{prefix}valid")),
            getattr(bus, f"{prefix}ready").eq(queue.w_rdy),
        ]
        next_ = data.View(layout, queue.r_data)
        pages = self._size >> PAGE_BITS
        line = Signal(range(self._size // self._bus_bytes), name=f"{name}_line")
        left = Signal(8, name=f"{name}_left")
        last, outside, busy, step = (Signal(name=f"{name}_{what}") for what in ("last", "outside", "busy", "step"))
        m.d.comb += [last.eq(left == 0), queue.r_en.eq(~busy | (step & last))]
        with m.If(step):
            m.d.sync += [line.eq(line + 1), left.eq(left - 1)]
        with m.If(queue.r_en):
            m.d.sync += [
                busy.eq(queue.r_rdy),
                line.eq(Cat(next_.line, next_.page)),
                left.eq(next_.len),
                outside.eq(next_.page >= pages),
            ]
        return line, last, outside, busy, step

    def _reads(self, m: Module, reader: ReadPort, host_line: Value, host_word: Value, host_reads: Signal) -> None:
        bus, host = self.bus.read, self.host
        line, last, outside, busy, step = self._queue(m, "reads", bus, "ar")
        moves = Signal()  # nothing waits at the port
        m.d.comb += [moves.eq(~bus.rvalid | bus.rready), step.eq(busy & moves)]
        beat, beat_last, beat_outside, for_host = Signal(), Signal(), Signal(), Signal()
        chosen = Signal.like(host_word) if len(host_word) else None
        host_turn = host_reads & ~busy & moves
        m.d.comb += [reader.en.eq(moves), reader.addr.eq(Mux(busy, line, host_line))]
        with m.If(moves):
            m.d.sync += [
                beat.eq(busy),
                beat_last.eq(last),
                beat_outside.eq(outside),
                for_host.eq(host_turn),
                bus.rvalid.eq(beat),
                bus.rlast.eq(beat_last),
                bus.rresp.eq(Mux(beat_outside, DECODE_ERROR, OKAY)),
                bus.rdata.eq(reader.data),
            ]
            with m.If(for_host):
                found = reader.data if chosen is None else reader.data.word_select(chosen, 32)
                m.d.sync += [host.done.eq(1), host.answer.eq(found)]
        with m.If(host_turn):
            m.d.comb += host.request.ready.eq(1)
            if chosen is not None:
                m.d.sync += chosen.eq(host_word)

    def _writes(self, m: Module, writer: WritePort, host_line: Value, host_word: Value, host_writes: Signal) -> None:
        bus, host = self.bus.write, self.host
        line, last, outside, busy, step = self._queue(m, "writes", bus, "aw")
        answers = Signal(range(DEPTH + 1))  # that wait for the master
        ends = Signal()
        ended, ended_outside = Signal(), Signal()
        m.submodules.codes = codes = SyncFIFO(width=2, depth=DEPTH)
        m.d.comb += [
            bus.wready.eq(busy & (answers != DEPTH)),
            step.eq(bus.wvalid & bus.wready),
            ends.eq(step & last),
            codes.w_en.eq(ended),
            codes.w_data.eq(Mux(ended_outside, DECODE_ERROR, OKAY)),
            bus.bvalid.eq(codes.r_rdy),
            bus.bresp.eq(codes.r_data),
            codes.r_en.eq(bus.bready),
        ]
        m.d.sync += [
            ended.eq(ends),
            ended_outside.eq(outside),
            answers.eq(answers + ends - (bus.bvalid & bus.bready)),
        ]
        host_turn = host_writes & ~step
        lanes = self._bus_bytes // 4
        with m.If(host_turn):
            m.d.comb += [
                host.request.ready.eq(1),
                writer.addr.eq(host_line),
                writer.data.eq(Cat(*([host.request.payload.data] * lanes))),
                writer.en.word_select(host_word, 4).eq(0b1111) if lanes > 1 else writer.en.eq(0b1111),
            ]
            m.d.sync += host.done.eq(1)
        with m.Else():
            m.d.comb += [
                writer.addr.eq(line),
                writer.data.eq(bus.wdata),
                writer.en.eq(Mux(step & ~outside, bus.wstrb, 0)),
            ]
