"""How often things happened in a run, in one memory."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT

WORD_BITS = 32
FORGETTING = 15
"""The turn behind a start, which is no word's: what has been counted and is in no word yet does not count."""


class Counters(wiring.Component):
    """A word for each event; they take turns, and in its own what was counted since the last one is added to it.

    So one adder and one memory do for all, and a turn is also when the host can see a word.  Words 0 and 1 count the
    cycles of a run, low and high half.  What is found counts every event that happened before it was wanted, but none
    of the cycle in which it is found.

    Parameters: words : int, 3 to 15
    Members:    busy : In, a run goes on;  clear : In, pulse, one begins;  both never in the same cycle
                events : In, a bit for each word, counted while busy (bits 0 and 1 do not count)
                wanted : In, a word;  reading : In, until ``found``
                found : Out, pulse, at most ``words`` + LATENCY cycles later;  value : Out, WORD_BITS, with it
    """

    LATENCY = 2
    """Cycles from a word's turn to its value."""

    def __init__(self, *, words: int) -> None:
        check_range("words", words, 3, FORGETTING)
        self._words = words
        super().__init__(
            {
                "busy": In(1),
                "clear": In(1),
                "events": In(words),
                "wanted": In(range(words)),
                "reading": In(1),
                "found": Out(1),
                "value": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=WORD_BITS, depth=FORGETTING + 1, init=[], attrs=COLLISIONS_NEVER_COUNT
        )
        reader, writer = memory.read_port(), memory.write_port()

        turn = Signal(range(FORGETTING + 1), init=FORGETTING)
        first = Signal()  # turn of each word in this run: what it holds is another's
        m.d.sync += turn.eq(turn + 1)
        with m.If(turn == self._words - 1):
            m.d.sync += [turn.eq(0), first.eq(0)]
        with m.If(turn == FORGETTING):
            m.d.sync += first.eq(1)
        with m.If(self.clear):
            m.d.sync += turn.eq(FORGETTING)

        # in its turn a word is read and what was counted is taken
        happened = Signal(self._words, reset_less=True)
        m.d.sync += happened.eq(Cat(Const(1), Const(0), self.events[2:]))
        with m.If(~self.busy):
            m.d.sync += happened.eq(0)
        taken = Signal(range(self._words + 1), reset_less=True)
        m.d.sync += taken.eq(0)
        for n in (0, *range(2, self._words)):
            counted = Signal.like(taken, name=f"counted_{n}")
            m.d.sync += counted.eq(counted + happened[n])
            with m.If(turn == FORGETTING):
                m.d.sync += counted.eq(happened[n])
            with m.If(turn == n):
                m.d.sync += [taken.eq(counted), counted.eq(happened[n])]
        m.d.comb += reader.addr.eq(turn)

        # one cycle later they are added; word 0 is, while word 1 has its turn, which carries into the next addition
        total = Signal(WORD_BITS + 1)
        carry = Signal()
        begins = delayed(m, first, 1, name="first")
        m.d.comb += total.eq((Cat(1, reader.data) + Cat(carry, taken))[1:])
        m.d.sync += [self.value.eq(total), carry.eq(total[-1] & (turn == 1))]
        with m.If(begins):
            m.d.sync += self.value.eq(taken)

        # and again one later written
        m.d.comb += [
            writer.addr.eq(delayed(m, turn, self.LATENCY, name="turn", init=FORGETTING)),
            writer.data.eq(self.value),
            writer.en.eq(1),
            self.found.eq(delayed(m, self.reading & (turn == self.wanted), self.LATENCY, name="found", init=0)),
        ]
        return m
