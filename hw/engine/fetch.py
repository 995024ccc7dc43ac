"""Fetches the program and hands each instruction to its unit's queue, in order."""

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..isa.parameters import BUS_BYTES, INSTRUCTION_BYTES
from ..isa.program import (
    BEGIN,
    BITS,
    LAYOUTS,
    PREFETCH,
    VECTOR_BITS,
    Operation,
)
from ..isa.ranges import check_choice, check_range
from ..isa.register_map import Cause
from .dma import BURST, beat_layout


class Fetch(wiring.Component):
    """Reads 64-byte instructions ahead of their dispatch, and stops at END.

    Dispatch waits for a full queue; so a program must not need a later instruction to finish an earlier one
    (the planner emits an array instruction right behind the vector instruction that drains it).
    Up to PREFETCH instructions behind END are read and dropped: the program's memory must hold them.

    Parameters: bus_bytes : int, bytes a beat;  fingerprint : int, 32 bits, of the programs that may run
    Members:    start : In, pulse;  program : In, byte address, 64-byte aligned
                requests : Out(stream), BURST;  beats : In(stream)
                load, weights, array, store : Out(stream) of their layouts;  vector : Out(stream), VECTOR_BITS, of two
                units_idle : In;  busy : Out;  done : Out, pulse;  failed : Out, pulse;  cause : Out, with failed
    """

    PREFETCH = PREFETCH

    def __init__(self, *, bus_bytes: int, fingerprint: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("fingerprint", fingerprint, 0, (1 << 32) - 1)
        self._bus_bytes, self._fingerprint = bus_bytes, fingerprint
        super().__init__(
            {
                "start": In(1),
                "program": In(32),
                "requests": Out(stream.Signature(BURST)),
                "beats": In(stream.Signature(beat_layout(bus_bytes))),
                "load": Out(stream.Signature(LAYOUTS[Operation.LOAD])),
                "weights": Out(stream.Signature(LAYOUTS[Operation.WEIGHTS])),
                "array": Out(stream.Signature(LAYOUTS[Operation.ARRAY])),
                "vector": Out(stream.Signature(VECTOR_BITS)),
                "store": Out(stream.Signature(LAYOUTS[Operation.STORE])),
                "units_idle": In(1),
                "busy": Out(1),
                "done": Out(1),
                "failed": Out(1),
                "cause": Out(Cause),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats = INSTRUCTION_BYTES // self._bus_bytes

        # ahead: ask while there is room, gather beats into instructions
        fetching = Signal()
        address = Signal(32, reset_less=True)
        room = Signal(range(self.PREFETCH + 1), init=self.PREFETCH)
        m.submodules.queue = queue = SyncFIFOBuffered(width=BITS, depth=self.PREFETCH)
        asked, used = Signal(), Signal()
        m.d.comb += [
            self.requests.valid.eq(fetching & (room != 0)),
            self.requests.payload.address.eq(address),
            self.requests.payload.length.eq(beats - 1),
            self.requests.payload.final.eq(1),
            asked.eq(self.requests.valid & self.requests.ready),
            self.beats.ready.eq(1),
        ]
        m.d.sync += room.eq(room - asked + used)
        with m.If(asked):
            m.d.sync += address.eq(address + INSTRUCTION_BYTES)
        word = self.beats.payload.data
        if beats > 1:
            gathered = Signal(8 * (INSTRUCTION_BYTES - self._bus_bytes), reset_less=True)
            with m.If(self.beats.valid):
                m.d.sync += gathered.eq(Cat(gathered, word)[len(word) :])
            word = Cat(gathered, word)
        m.d.comb += [queue.w_data.eq(word), queue.w_en.eq(self.beats.valid & self.beats.payload.last)]

        # dispatch
        operation = queue.r_data[:8]
        queues = {
            Operation.LOAD: self.load,
            Operation.WEIGHTS: self.weights,
            Operation.ARRAY: self.array,
            Operation.VECTOR: self.vector,
            Operation.SETUP: self.vector,
            Operation.STORE: self.store,
        }
        for port in (self.load, self.weights, self.array, self.vector, self.store):
            payload = Value.cast(port.payload)
            m.d.comb += payload.eq(queue.r_data[: len(payload)])
        with m.FSM() as fsm:
            with m.State("idle"), m.If(self.start):
                m.d.sync += [fetching.eq(1), address.eq(self.program)]
                m.next = "run"
            with m.State("run"), m.If(queue.r_rdy), m.Switch(operation):
                for code, port in queues.items():
                    with m.Case(code):
                        m.d.comb += [port.valid.eq(1), used.eq(port.ready)]
                with m.Case(Operation.BEGIN):
                    m.d.comb += used.eq(1)
                    with m.If(BEGIN(queue.r_data[: BEGIN.size]).fingerprint != self._fingerprint):
                        m.d.comb += [self.failed.eq(1), self.cause.eq(Cause.FINGERPRINT)]
                        m.next = "drop"
                with m.Case(Operation.END):
                    m.next = "drop"
                with m.Default():
                    m.d.comb += [self.failed.eq(1), self.cause.eq(Cause.OPERATION)]
                    m.next = "drop"
            with m.State("drop"):
                m.d.sync += fetching.eq(0)
                m.d.comb += used.eq(queue.r_rdy)
                with m.If(~fetching & (room == self.PREFETCH) & self.units_idle):
                    m.d.comb += self.done.eq(1)
                    m.next = "idle"
        m.d.comb += [queue.r_en.eq(used), self.busy.eq(~fsm.ongoing("idle"))]
        return m
