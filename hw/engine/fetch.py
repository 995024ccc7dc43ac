"""Fetches the program and hands each instruction to its unit's queue, in order."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.parameters import BUS_BYTES, INSTRUCTION_BYTES
from ..isa.program import (
    BEGIN,
    LAYOUTS,
    PASSES,
    PREFETCH,
    STAMP,
    Operation,
    instruction_bits,
    vector_bits,
)
from ..isa.ranges import check_choice, check_range
from ..isa.register_map import Cause
from .check import Check
from .credits import Credits
from .dma import BURST, beat_layout
from .instruction_queue import InstructionQueue
from .shift_fifo import ShiftFifo

VERDICT = data.StructLayout({"right": 1, "unread": 1})
"""Of an instruction: it came as it was written; a beat of it came with an error."""
PORTS = {
    "load": (Operation.LOAD,),
    "weights": (Operation.WEIGHTS,),
    "array": (Operation.ARRAY,),
    "vector": (Operation.VECTOR, Operation.SETUP),
    "store": (Operation.STORE,),
}
"""Whose instructions each unit takes."""


class Fetch(wiring.Component):
    """Reads the memory image's stamp and then 64-byte instructions ahead of their dispatch, and stops at END.

    None is dispatched whose check is wrong or that came with an error, and none behind BEGIN unless BEGIN names this
    accelerator and the image.  After ``failed`` nothing happens until reset.
    Dispatch waits for a full queue; so a program must not need a later instruction to finish an earlier one
    (the planner emits an array instruction right behind the vector instruction that drains it).
    Up to PREFETCH instructions behind END are read and dropped: the program's memory must hold them.

    Parameters: bus_bytes : int, bytes a beat;  fingerprint : int, 32 bits, of the programs that may run
                packed : bool, ARRAYs say how many rows of weights a word carries;  sliding : bool, SETUPs whether
                totals slide
    Members:    start : In, pulse;  program : In, byte address, 64-byte aligned, with start
                requests : Out(stream), BURST;  beats : In(stream);  beat_error : In, the beat came with an error
                load, weights, array, store : Out(stream) of their layouts;  vector : Out(stream), vector_bits, of two
                units_idle : In;  done : Out, pulse;  failed : Out, pulse;  cause : Out, with failed
    """

    PREFETCH = PREFETCH

    def __init__(self, *, bus_bytes: int, fingerprint: int, packed: bool = False, sliding: bool = False) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("fingerprint", fingerprint, 0, (1 << 32) - 1)
        self._bus_bytes, self._fingerprint = bus_bytes, fingerprint
        # an instruction, and a bit for whose it is: none if it is Fetch's own, or nobody's
        self._sorted = data.StructLayout({"word": instruction_bits(packed), "port": len(PORTS)})
        super().__init__(
            {
                "start": In(1),
                "program": In(32),
                "requests": Out(stream.Signature(BURST)),
                "beats": In(stream.Signature(beat_layout(bus_bytes))),
                "beat_error": In(1),
                "load": Out(stream.Signature(LAYOUTS[Operation.LOAD])),
                "weights": Out(stream.Signature(LAYOUTS[Operation.WEIGHTS])),
                "array": Out(stream.Signature(LAYOUTS[Operation.ARRAY] if packed else PASSES)),
                "vector": Out(stream.Signature(vector_bits(sliding))),
                "store": Out(stream.Signature(LAYOUTS[Operation.STORE])),
                "units_idle": In(1),
                "done": Out(1),
                "failed": Out(1),
                "cause": Out(Cause),
            }
        )

    @staticmethod
    def latency(bus_bytes: int) -> int:
        """Cycles from an instruction's last beat to its dispatch: the check and the verdict's FIFO, or the queue."""
        return max(Check.latency(bus_bytes) + ShiftFifo.LATENCY, Fetch.PREFETCH)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = Check(bus_bytes=self._bus_bytes)
        m.submodules.queue = queue = InstructionQueue(shape=self._sorted, depth=self.PREFETCH - 1)
        # a verdict comes when its instruction has passed the queue
        m.submodules.verdicts = verdicts = ShiftFifo(shape=VERDICT, depth=self.PREFETCH)
        fetching, asked, used = Signal(), Signal(), Signal()
        room = Credits(self.PREFETCH, init=self.PREFETCH, name="room")
        room.change(m, used, asked)
        # the next instruction comes a cycle after this one is gone, and so may its verdict: a unit's answer is far away
        m.d.sync += verdicts.outgoing.ready.eq(used)
        m.d.comb += queue.outgoing.ready.eq(used)
        self._ask(m, fetching & room.some, asked)
        # beats gather in the place before the queue's first
        taken, whole = Signal(), Signal()
        gathered = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        m.d.comb += [
            # room was asked for, but an instruction takes a cycle to make its place free
            self.beats.ready.eq(~whole | queue.incoming.ready),
            taken.eq(self.beats.valid & self.beats.ready),
            queue.incoming.payload.word.eq(gathered),
            queue.incoming.payload.port.eq(Cat(gathered[:8].matches(*takes) for takes in PORTS.values())),
            queue.incoming.valid.eq(whole),
        ]
        with m.If(self.beats.ready):
            m.d.sync += whole.eq(self.beats.valid & self.beats.payload.last)
        with m.If(taken):
            m.d.sync += gathered.eq(Cat(gathered, self.beats.payload.data)[8 * self._bus_bytes :])

        # checks: the stamp is a chain of its own
        stamped = Signal()
        with m.If(self.start):
            m.d.sync += stamped.eq(0)
        with m.Elif(taken & self.beats.payload.last):
            m.d.sync += stamped.eq(1)
        m.d.comb += [
            check.valid.eq(taken),
            check.data.eq(self.beats.payload.data),
            check.last.eq(self.beats.payload.last),
            check.error.eq(self.beat_error),
            check.restart.eq(~stamped),
            check.begin.eq(self.start),
            verdicts.incoming.payload.right.eq(~check.damaged & ~check.unread),
            verdicts.incoming.payload.unread.eq(check.unread),
            verdicts.incoming.valid.eq(check.judged),
        ]
        there, verdict = verdicts.outgoing.valid & queue.outgoing.valid, verdicts.outgoing.payload
        self._dispatch(m, queue.outgoing.payload, there, verdict, used, fetching, room.full)
        return m

    def _ask(self, m: Module, wanted: Value, asked: Value) -> None:
        """Bursts of an instruction each: the stamp at 0, then the program."""
        address = Signal(32, reset_less=True)
        program = Signal(32, reset_less=True)
        first = Signal()
        m.d.comb += [
            self.requests.valid.eq(wanted),
            self.requests.payload.address.eq(address),
            self.requests.payload.length.eq(INSTRUCTION_BYTES // self._bus_bytes - 1),
            self.requests.payload.final.eq(1),
            asked.eq(self.requests.valid & self.requests.ready),
        ]
        with m.If(asked):
            m.d.sync += [address.eq(Mux(first, program, address + INSTRUCTION_BYTES)), first.eq(0)]
        with m.If(self.start):
            m.d.sync += [address.eq(0), first.eq(1), program.eq(self.program)]

    def _dispatch(
        self, m: Module, first: data.View, there: Value, verdict: data.View, used: Value, fetching: Value, empty: Value
    ) -> None:
        """One instruction after the other to its unit; ``used`` when it may go."""
        word = first.word
        operation = word[:8]
        right = verdict.right
        running = Signal()  # instructions go to their units
        dropping = Signal()  # they are Fetch's own
        # whose it is was sorted out on its way here: its unit's answer is all that is left to wait for
        goes = there & right & running
        ready = Signal(len(PORTS))
        for n, name in enumerate(PORTS):
            port = getattr(self, name)
            payload = Value.cast(port.payload)
            m.d.comb += [
                payload.eq(word[: len(payload)]),
                port.valid.eq(goes & first.port[n]),
                ready[n].eq(first.port[n] & port.ready),
            ]
        m.d.comb += used.eq((goes & ready.any()) | (there & dropping))
        image = Signal(32, reset_less=True)
        foreign, other_image = Signal(), Signal()  # of whatever is there; looked at a cycle after BEGIN was
        begin = BEGIN(word[: BEGIN.size])
        m.d.sync += [foreign.eq(begin.fingerprint != self._fingerprint), other_image.eq(begin.image != image)]

        def fail(cause: int) -> None:
            m.d.sync += [self.failed.eq(1), self.cause.eq(cause)]
            m.next = "failed"

        def refuse(cause: int) -> None:
            with m.If(verdict.unread):
                fail(Cause.READ)
            with m.Else():
                fail(cause)

        with m.FSM():
            with m.State("idle"), m.If(self.start):
                m.d.sync += [fetching.eq(1), dropping.eq(1)]
                m.next = "stamp"
            with m.State("stamp"), m.If(there):
                with m.If(right & (operation == Operation.IMAGE)):
                    m.d.sync += image.eq(STAMP(word[: STAMP.size]).image)
                    m.next = "begin"
                with m.Else():
                    refuse(Cause.IMAGE)
            with m.State("begin"), m.If(there):
                with m.If(~right):
                    refuse(Cause.CHECK)
                with m.Elif(operation == Operation.BEGIN):
                    m.d.sync += dropping.eq(0)
                    m.next = "begun"
                with m.Else():
                    fail(Cause.OPERATION)
            with m.State("begun"):
                with m.If(foreign):
                    fail(Cause.FINGERPRINT)
                with m.Elif(other_image):
                    fail(Cause.IMAGE)
                with m.Else():
                    m.d.sync += running.eq(1)
                    m.next = "run"
            with m.State("run"), m.If(there):
                with m.If(~right):
                    m.d.sync += running.eq(0)
                    refuse(Cause.CHECK)
                with m.Elif(~first.port.any()):
                    m.d.sync += running.eq(0)
                    with m.If(operation == Operation.END):
                        m.d.sync += dropping.eq(1)
                        m.next = "drop"
                    with m.Else():
                        fail(Cause.OPERATION)
            with m.State("drop"):
                m.d.sync += fetching.eq(0)
                with m.If(~fetching & empty & self.units_idle):
                    m.d.comb += self.done.eq(1)
                    m.next = "idle"
            with m.State("failed"):
                m.d.sync += [fetching.eq(0), self.failed.eq(0)]
