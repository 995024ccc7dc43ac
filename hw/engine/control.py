"""Begins runs, ends them, and breaks them off."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.register_map import STALLS, Cause
from .guard import WINDOW

FAILURES = data.StructLayout({"fetch": 1, "cause": Cause, "read": 1, "write": 1, "range": 1})
"""What can go wrong in a cycle: fetch fails with ``cause``; memory answers with an error; an access lies outside."""


class Control(wiring.Component):
    """A run ends when fetch says so.  At its first error, or when the host resets the engine, it is broken off:
    no more bursts begin (``closed``), those in flight end (``quiet``), then ``cleared`` resets all units.

    The window is latched at the start.  ``busy`` covers the breaking off, however long memory takes.

    Members: start, clear, reset : In, pulses from the host, start only while not busy
             base, pages, watchdog : In, of the registers;  waits : In, a bit for each of STALLS
             finished : In, pulse, with tokens_left : In;  failures : In, FAILURES;  progress : In, something moves
             window : Out, WINDOW;  closed : Out, seen a cycle later at most;  quiet : In;  cleared : Out, one cycle
             busy, done, error, cause : Out
             waits_shown : Out, ``waits``, or from an error to the next start what they were then
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "clear": In(1),
                "reset": In(1),
                "base": In(WINDOW["base"].width),
                "pages": In(WINDOW["pages"].width),
                "watchdog": In(32),
                "waits": In(len(STALLS)),
                "finished": In(1),
                "tokens_left": In(1),
                "failures": In(FAILURES),
                "progress": In(1),
                "window": Out(WINDOW),
                "closed": Out(1),
                "quiet": In(1),
                "cleared": Out(1),
                "busy": Out(1),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(Cause),
                "waits_shown": Out(len(STALLS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        window = self.window
        low = window.pages.shape().width
        end = Signal(low + 1)  # behind the last address only if the bits above are all ones
        m.d.comb += end.eq(window.base[:low] + window.pages)
        m.d.sync += window.wraps.eq(window.base[low:].all() & end[-1] & end[:-1].any())

        failing, why = Signal(), Signal(Cause)
        m.d.sync += failing.eq(self._failure(m, why) & self.busy)
        waits = Signal(len(STALLS), reset_less=True)

        def fail(cause: object) -> list:
            return [self.error.eq(1), self.cause.eq(cause)]

        def close() -> None:
            m.d.sync += self.closed.eq(1)  # a register: it stands before all that reaches the bus
            m.next = "close"

        forget = [self.done.eq(0), self.error.eq(0), self.cause.eq(Cause.NONE)]
        forgetting = Signal()  # the host has asked for the end
        closed = Signal()  # a cycle later, as those see it that it closes
        with m.FSM() as fsm:
            with m.State("ready"):
                m.d.sync += forgetting.eq(self.reset)
                with m.If(self.clear):
                    m.d.sync += forget
                with m.If(self.reset):
                    close()
                with m.Elif(self.start):
                    m.d.sync += [window.base.eq(self.base), window.pages.eq(self.pages), waits.eq(0), *forget]
                    m.next = "run"
            with m.State("run"):
                m.d.sync += waits.eq(self.waits)  # until it ends: how it ends moves none of them
                with m.If(self.reset):
                    m.d.sync += forgetting.eq(1)
                    close()
                with m.Elif(failing):
                    m.d.sync += fail(why)
                    close()
                with m.Elif(self.finished & self.tokens_left):
                    m.d.sync += fail(Cause.TOKEN)
                    close()
                with m.Elif(self.finished):
                    m.d.sync += self.done.eq(1)
                    m.next = "ready"
            with m.State("close"):
                with m.If(failing & (why == Cause.WATCHDOG) & ~self.error):
                    m.d.sync += [*fail(why), waits.eq(self.waits)]
                with m.If(self.reset):
                    m.d.sync += forgetting.eq(1)
                with m.If(self.quiet & closed):
                    m.d.sync += self.cleared.eq(1)
                    m.next = "clear"
            with m.State("clear"):
                m.d.sync += [self.cleared.eq(0), self.closed.eq(0)]
                with m.If(forgetting | self.reset):
                    m.d.sync += [waits.eq(0), *forget]
                m.next = "ready"
        m.d.sync += closed.eq(self.closed)
        m.d.comb += [
            self.busy.eq(~fsm.ongoing("ready")),
            self.waits_shown.eq(Mux(fsm.ongoing("run"), self.waits, waits)),
        ]
        return m

    def _failure(self, m: Module, why: Signal) -> Signal:
        """Whether something went wrong in this cycle; ``why`` a cycle later."""
        failures, found = self.failures, Signal()
        watching, moved, left = Signal(), Signal(), Signal(33)
        m.d.sync += [watching.eq(self.watchdog != 0), moved.eq(self.progress)]
        with m.If(~self.busy | moved):
            m.d.sync += left.eq(self.watchdog)
        with m.Else():
            m.d.sync += left.eq(left - 1)
        m.d.comb += found.eq(1)
        with m.If(failures.fetch):
            m.d.sync += why.eq(failures.cause)
        with m.Elif(failures.range):
            m.d.sync += why.eq(Cause.RANGE)
        with m.Elif(failures.read):
            m.d.sync += why.eq(Cause.READ)
        with m.Elif(failures.write):
            m.d.sync += why.eq(Cause.WRITE)
        with m.Elif(watching & left[-1]):
            m.d.sync += why.eq(Cause.WATCHDOG)
        with m.Else():
            m.d.comb += found.eq(0)
        return found
