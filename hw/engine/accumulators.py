"""The accumulators: where the partial sums of one channel tile's output positions meet."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .delay import delayed


def control_layout(parameters):
    """What travels with each vector of pixels: does it count, where to, and is it the sum's first part."""
    return data.StructLayout(
        {"valid": 1, "first": 1, "half": 1, "address": range(max(2, parameters.accumulator_depth))}
    )


class Accumulators(wiring.Component):
    """Two halves of ``accumulator_depth`` vectors of C sums: the array fills one while the other drains.

    Filling: ``control`` precedes ``sums[0]`` by ``LEAD`` cycles, and column c follows c cycles later, as the array
    gives them.  An address may be written again ``HAZARD`` cycles later at the earliest.
    Draining: ``drained`` follows ``drain_address`` by one cycle, all columns at once.  Neither side stalls; the
    sequencers exchange the halves by tokens, so that they never touch the same one.

    Members: control : In, see control_layout; sums : In, (C,) signed, skewed
             drain_half, drain_address : In; drained : Out, (C,) signed
    """

    LEAD = 1
    HAZARD = 3
    SETTLE = 3
    """Cycles from a column's control to its sum being readable."""

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "control": In(control_layout(p)),
                "sums": In(data.ArrayLayout(signed(p.sum_bits), p.columns)),
                "drain_half": In(1),
                "drain_address": In(range(max(2, p.accumulator_depth))),
                "drained": Out(data.ArrayLayout(signed(p.sum_bits), p.columns)),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        control = self.control
        drain_half = delayed(m, self.drain_half, 1, name="drain_half")
        for c in range(p.columns):
            if c:
                control = control_layout(p)(delayed(m, control.as_value(), 1, name=f"control_{c}", init=0))
            read = control_layout(p)(delayed(m, control.as_value(), 1, name=f"read_{c}", init=0))
            write = control_layout(p)(delayed(m, read.as_value(), 1, name=f"write_{c}", init=0))
            stored, total = [], Signal(signed(p.sum_bits), name=f"total_{c}", reset_less=True)
            for half in range(2):
                m.submodules[f"sums_{c}_{half}"] = memory = Memory(
                    shape=signed(p.sum_bits), depth=p.accumulator_depth, init=[]
                )
                reader, writer = memory.read_port(), memory.write_port()
                m.d.comb += [
                    reader.addr.eq(Mux(control.valid & (control.half == half), control.address, self.drain_address)),
                    writer.addr.eq(write.address),
                    writer.data.eq(total),
                    writer.en.eq(write.valid & (write.half == half)),
                ]
                stored.append(reader.data)
            m.d.sync += total.eq(self.sums[c] + Mux(read.first, 0, Mux(read.half, stored[1], stored[0])))
            m.d.comb += self.drained[c].eq(Mux(drain_half, stored[1], stored[0]))
        return m
