"""Dependency tokens between units: a counting semaphore for each ordered pair (Chen et al. 2018, VTA)."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import TOKEN_BITS, UNITS


class Tokens(wiring.Component):
    """Unit u may start when every unit in its ``wait`` mask has given it a token that it has not taken yet.

    Members, for each unit u: wait_u : In, mask;  ready_u : Out;  take_u : In, pulse;  give_u : In, pulse;
             give_to_u : In, mask;  left : Out, some token has not been taken
             clear : In, forget them all
    At most 2**WIDTH - 1 tokens may be pending between two units; the planner checks that.
    """

    WIDTH = TOKEN_BITS

    def __init__(self):
        units = range(len(UNITS))
        super().__init__(
            {
                **{f"wait_{UNITS[u]}": In(len(UNITS)) for u in units},
                **{f"ready_{UNITS[u]}": Out(1) for u in units},
                **{f"take_{UNITS[u]}": In(1) for u in units},
                **{f"give_{UNITS[u]}": In(1) for u in units},
                **{f"give_to_{UNITS[u]}": In(len(UNITS)) for u in units},
                "clear": In(1),
                "left": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counts = []
        for u, unit in enumerate(UNITS):
            wait = getattr(self, f"wait_{unit}")
            there = []
            for f, giver in enumerate(UNITS):
                if f == u:
                    continue
                count = Signal(self.WIDTH, name=f"{giver}_to_{unit}")
                given = getattr(self, f"give_{giver}") & getattr(self, f"give_to_{giver}")[u]
                m.d.sync += count.eq(count + given - (getattr(self, f"take_{unit}") & wait[f]))
                with m.If(self.clear):
                    m.d.sync += count.eq(0)
                counts.append(count)
                there.append(~wait[f] | (count != 0))
            m.d.comb += getattr(self, f"ready_{unit}").eq(Cat(*there).all())
        m.d.comb += self.left.eq(Cat(*counts).any())
        return m
