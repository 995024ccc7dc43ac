"""The accumulators: where the partial sums of one channel tile's output positions meet."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.parameters import ACCUMULATOR_HAZARD
from ..isa.ranges import check_range
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT


def control_layout(depth: int) -> data.StructLayout:
    """What travels with each vector of pixels: does it count, where to, and is it the sum's first part.

    depth : vectors in each half of the accumulators
    """
    return data.StructLayout({"valid": 1, "first": 1, "half": 1, "address": range(depth)})


class Accumulators(wiring.Component):
    """Two halves of ``depth`` vectors of C sums: the array fills one while the other drains.

    Filling: ``control`` precedes ``sums[0]`` by ``LEAD`` cycles, and column c follows c cycles later, as the array
    gives them.  An address may be written again ``HAZARD`` cycles later at the earliest.
    Draining: ``drained`` follows ``drain_address`` by DRAIN_LATENCY cycles, all columns at once.  Neither side stalls;
    the sequencers exchange the halves by tokens, so that they never touch the same one.  What a memory gives is
    registered before anything looks at it: a block RAM takes most of a cycle.

    Parameters: columns : int, C;  depth : int, vectors a half;  sum_bits : int
    Members:    control : In, see control_layout;  sums : In, (C,) signed, skewed
                drain_half, drain_address : In;  drained : Out, (C,) signed
    """

    LEAD = 2
    HAZARD = ACCUMULATOR_HAZARD
    SETTLE = 4
    """Cycles from a column's control to its sum being readable."""
    DRAIN_LATENCY = 2

    def __init__(self, *, columns: int, depth: int, sum_bits: int) -> None:
        check_range("columns", columns, 1, 128)
        check_range("accumulator depth", depth, 4, 1 << 24)
        check_range("sum bits", sum_bits, 8, 32)
        self._columns, self._depth, self._sum = columns, depth, signed(sum_bits)
        super().__init__(
            {
                "control": In(control_layout(depth)),
                "sums": In(data.ArrayLayout(self._sum, columns)),
                "drain_half": In(1),
                "drain_address": In(range(depth)),
                "drained": Out(data.ArrayLayout(self._sum, columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        control_of = control_layout(self._depth)
        m = Module()
        control = self.control
        drain_half = delayed(m, self.drain_half, self.DRAIN_LATENCY, name="drain_half")
        for c in range(self._columns):
            if c:
                control = control_of(delayed(m, control.as_value(), 1, name=f"control_{c}", init=0))
            read = control_of(delayed(m, control.as_value(), 2, name=f"read_{c}", init=0))
            write = control_of(delayed(m, read.as_value(), 1, name=f"write_{c}", init=0))
            stored, total = [], Signal(self._sum, name=f"total_{c}", reset_less=True)
            for half in range(2):
                m.submodules[f"sums_{c}_{half}"] = memory = Memory(
                    shape=self._sum, depth=self._depth, init=[], attrs=COLLISIONS_NEVER_COUNT
                )
                reader, writer = memory.read_port(), memory.write_port()
                m.d.comb += [
                    reader.addr.eq(Mux(control.valid & (control.half == half), control.address, self.drain_address)),
                    writer.addr.eq(write.address),
                    writer.data.eq(total),
                    writer.en.eq(write.valid & (write.half == half)),
                ]
                stored.append(delayed(m, reader.data, 1, name=f"stored_{c}_{half}"))
            m.d.sync += total.eq(self.sums[c] + Mux(read.first, 0, Mux(read.half, stored[1], stored[0])))
            m.d.comb += self.drained[c].eq(Mux(drain_half, stored[1], stored[0]))
        return m
