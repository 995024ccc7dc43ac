"""Block RAM behind an AXI4 port, which a host reaches beside the accelerator."""

from dataclasses import dataclass
from itertools import pairwise

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from ...quant.graph.errors import ConfigurationError
from ..engine.axi import axi4
from ..isa.ranges import check_range
from ..isa.register_map import PAGE_BITS
from .banks import Banks
from .words import words

OKAY, DECODE_ERROR = 0b00, 0b11
DEPTH = 16
"""Bursts that wait each way, beats that were read, and responses: a power of two."""


@dataclass(frozen=True)
class _Burst:
    """The one that runs, if ``busy``, by its beat: ``step`` takes the next.  free : none runs, and none begins"""

    line: Signal
    last: Signal
    outside: Signal
    busy: Signal
    step: Signal
    free: Signal


class BlockMemory(wiring.Component):
    """An AXI4 slave for one master: one ID, incrementing bursts of whole beats inside a page, as ours makes them.

    Reads: the first beat is valid LATENCY cycles after its address, then one a cycle, and bursts that wait follow each
    other without a gap.  A beat is read where there is room for its answer, so that RAM waits for nobody.  Writes: a
    beat a cycle; the response comes WRITE_LATENCY cycles after the last, and reads from then on find them.  What lies
    behind ``size`` answers with DECERR, and is not written.  The host's accesses take what cycles the master leaves.

    Parameters: bus_bytes : int, 4 to 64, a power of two;  size : int, bytes, a multiple of 4,096
    Members:    bus : In(axi4);  host : In(words()), addresses below ``size``
    """

    LATENCY = 3 + Banks.LATENCY
    """Into the queue of bursts, out of it, and out of that of answers."""
    WRITE_LATENCY = 2

    def __init__(self, *, bus_bytes: int, size: int) -> None:
        check_range("memory size in pages", size >> PAGE_BITS, 1, 1 << 20)
        if size % (1 << PAGE_BITS):
            raise ConfigurationError(f"memory size must be a multiple of {1 << PAGE_BITS} bytes, not {size}")
        self._bus_bytes, self._size = bus_bytes, size
        self._banks = Banks(line_bytes=bus_bytes, depth=size // bus_bytes)
        super().__init__({"bus": In(axi4(bus_bytes)), "host": In(words())})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.banks = self._banks
        m.d.sync += self.host.done.eq(0)
        host_reads, host_writes = self._take_turns(m)
        self._reads(m, host_reads)
        self._writes(m, host_writes)
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

    def _host_line(self) -> Value:
        return self.host.request.payload.address[ceil_log2(self._bus_bytes) :]

    def _queue(self, m: Module, name: str, bus: object, prefix: str) -> _Burst:
        lane_bits = ceil_log2(self._bus_bytes)
        line = Signal.like(self._banks.line, name=f"{name}_line")
        layout = data.StructLayout({"line": line.shape(), "len": 8, "outside": 1})
        m.submodules[name] = queue = SyncFIFO(width=layout.size, depth=DEPTH)
        address, length = getattr(bus, f"{prefix}addr"), getattr(bus, f"{prefix}len")
        asked = data.View(layout, queue.w_data)
        m.d.comb += [
            asked.line.eq(address[lane_bits:]),
            asked.len.eq(length),
            asked.outside.eq(address[PAGE_BITS:] >= self._size >> PAGE_BITS),
            queue.w_en.eq(getattr(bus, f"{prefix}valid")),
            getattr(bus, f"{prefix}ready").eq(queue.w_rdy),
        ]
        next_ = data.View(layout, queue.r_data)
        left = Signal(8, name=f"{name}_left")
        last, outside, busy, step, free = (
            Signal(name=f"{name}_{what}") for what in ("last", "outside", "busy", "step", "free")
        )
        m.d.comb += [queue.r_en.eq(~busy | (step & last)), free.eq(~busy & ~queue.r_rdy)]
        with m.If(step):
            m.d.sync += [line.eq(line + 1), left.eq(left - 1), last.eq(left == 1)]
        with m.If(queue.r_en):
            m.d.sync += [
                busy.eq(queue.r_rdy),
                line.eq(next_.line),
                left.eq(next_.len),
                last.eq(next_.len == 0),
                outside.eq(next_.outside),
            ]
        return _Burst(line, last, outside, busy, step, free)

    def _reads(self, m: Module, host_reads: Signal) -> None:
        bus, host, banks = self.bus.read, self.host, self._banks
        burst = self._queue(m, "reads", bus, "ar")
        beat = data.StructLayout({"data": banks.data.shape(), "last": 1, "outside": 1})
        m.submodules.answers = answers = SyncFIFO(width=beat.size, depth=DEPTH)
        promised = Signal(range(DEPTH + 1))  # beats that were read and have not left
        m.d.comb += [banks.line.eq(burst.line), burst.step.eq(burst.busy & ~_is_full(promised))]
        m.d.sync += promised.eq(promised + burst.step - (bus.rvalid & bus.rready))

        # beside the banks: a burst's beat, or the host's word, that comes out of them
        flags = data.StructLayout({"beat": 1, "last": 1, "outside": 1, "host": 1})
        ways = [Signal(flags, name=f"way_{number}") for number in range(banks.LATENCY + 1)]
        host_asked = Signal()
        m.d.comb += ways[0].eq(Cat(burst.step, burst.last, burst.outside, host_asked))
        m.d.sync += [after.eq(before) for before, after in pairwise(ways)]
        there = ways[-1]

        came, left = data.View(beat, answers.w_data), data.View(beat, answers.r_data)
        m.d.comb += [
            came.eq(Cat(banks.data, there.last, there.outside)),
            answers.w_en.eq(there.beat),
            answers.r_en.eq(bus.rready),
            bus.rvalid.eq(answers.r_rdy),
            bus.rdata.eq(left.data),
            bus.rlast.eq(left.last),
            bus.rresp.eq(Mux(left.outside, DECODE_ERROR, OKAY)),
        ]

        host_turn = host_reads & burst.free
        word = host.request.payload.address[2 : ceil_log2(self._bus_bytes)]
        m.d.sync += host_asked.eq(host_turn)
        with m.If(host_turn):
            m.d.comb += host.request.ready.eq(1)
            m.d.sync += burst.line.eq(self._host_line())
        chosen = Signal.like(word)
        with m.If(host.request.ready):
            m.d.sync += chosen.eq(word)
        with m.If(there.host):
            m.d.sync += [host.done.eq(1), host.answer.eq(banks.data.word_select(chosen, 32))]

    def _writes(self, m: Module, host_writes: Signal) -> None:
        bus, host, write = self.bus.write, self.host, self._banks.write
        burst = self._queue(m, "writes", bus, "aw")
        waiting = Signal(range(DEPTH + 1))  # responses, for the master
        ends = Signal()
        ended, ended_outside = Signal(), Signal()
        m.submodules.codes = codes = SyncFIFO(width=2, depth=DEPTH)
        m.d.comb += [
            bus.wready.eq(burst.busy & ~_is_full(waiting)),
            burst.step.eq(bus.wvalid & bus.wready),
            ends.eq(burst.step & burst.last),
            codes.w_en.eq(ended),
            codes.w_data.eq(Mux(ended_outside, DECODE_ERROR, OKAY)),
            bus.bvalid.eq(codes.r_rdy),
            bus.bresp.eq(codes.r_data),
            codes.r_en.eq(bus.bready),
        ]
        m.d.sync += [
            ended.eq(ends),
            ended_outside.eq(burst.outside),
            waiting.eq(waiting + ends - (bus.bvalid & bus.bready)),
        ]
        with m.If(host_writes & ~burst.busy):
            word = host.request.payload.address[2 : ceil_log2(self._bus_bytes)]
            m.d.comb += [
                host.request.ready.eq(1),
                write.line.eq(self._host_line()),
                write.data.eq(host.request.payload.data.replicate(self._bus_bytes // 4)),
                write.enable.eq(0b1111 << 4 * word),
            ]
            m.d.sync += host.done.eq(1)
        with m.Else():
            m.d.comb += [
                write.line.eq(burst.line),
                write.data.eq(bus.wdata),
                write.enable.eq(Mux(burst.step & ~burst.outside, bus.wstrb, 0)),
            ]


def _is_full(count: Signal) -> Value:
    """Whether ``count``, from 0 to DEPTH, is DEPTH, a power of two: its highest bit."""
    return count[-1]
