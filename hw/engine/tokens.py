"""Dependency tokens between units: a counting semaphore for each ordered pair (Chen et al. 2018, VTA)."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import TOKEN_BITS, UNITS

TOKEN_PORT = wiring.Signature(
    {
        "waits": Out(1),
        "wait": Out(len(UNITS)),
        "ready": In(1),
        "take": Out(1),
        "give": Out(1),
        "give_to": Out(len(UNITS)),
    }
)
"""Between a unit and its counters, seen from the unit; masks have a bit for each of UNITS.

waits : an instruction is at the head of its queue;  wait : the units whose tokens it needs
ready : it has them, since the cycle before at the latest;  take : pulse, it begins
give : pulse, each unit in give_to gets one
"""


class Tokens(wiring.Component):
    """An instruction gets its tokens once every unit in its ``wait`` mask has given its unit one, and may then begin.

    It has them a cycle before it begins at the earliest: ``ready`` is a register, because much hangs on a beginning.

    Members: units : In(TOKEN_PORT), one for each of UNITS
             left : Out, some token had not been taken in the cycle before;  clear : In, forget them all
    At most 2**WIDTH - 1 tokens may be pending between two units; the planner checks that.
    """

    WIDTH = TOKEN_BITS

    def __init__(self) -> None:
        super().__init__({"units": In(TOKEN_PORT).array(len(UNITS)), "clear": In(1), "left": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pending = []
        for u, unit in enumerate(self.units):
            there = []
            taken = Signal(name=f"taken_{UNITS[u]}")
            for g, giver in enumerate(self.units):
                if g == u:
                    continue
                count = Signal(self.WIDTH, name=f"{UNITS[g]}_to_{UNITS[u]}")
                some = Signal(name=f"some_{UNITS[g]}_to_{UNITS[u]}")  # count != 0, as a register
                given = giver.give & giver.give_to[u]
                spent = taken & unit.wait[g]
                with m.If(given ^ spent):
                    change = Cat(1, spent.replicate(self.WIDTH - 1)).as_signed()  # 1, or -1
                    m.d.sync += [count.eq(count + change), some.eq(given | (count != 1))]
                with m.If(self.clear):
                    m.d.sync += [count.eq(0), some.eq(0)]
                pending.append(some)
                there.append(~unit.wait[g] | some)
            m.d.comb += taken.eq(unit.waits & Cat(*there).all() & ~unit.ready)
            with m.If(taken):
                m.d.sync += unit.ready.eq(1)
            with m.If(unit.take | self.clear):
                m.d.sync += unit.ready.eq(0)
        m.d.sync += self.left.eq(Cat(*pending).any())
        return m
