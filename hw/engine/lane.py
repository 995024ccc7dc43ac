"""A lane of the vector unit: one value a cycle through normalization's factor, requantization and the tables."""

from amaranth import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.program import (
    CHANNEL,
    TABLE_ENTRIES,
    TABLE_FRACTION,
    Combine,
)
from .delay import delayed
from .requantize import MANTISSA, Requantize, format_layout

INDEX = 12
"""Bits of the index that normalization's two tables share."""

MANTISSA_BITS = 9
"""Of the index; the others are its exponent."""

LOOKUP = 2
"""Cycles from an index to the sum of both tables."""


def squares_latency(parameters):
    """Cycles from a lane's neighbours to normalization's index."""
    return 4 if parameters.normalization else 0


def factor_latency(parameters):
    """Cycles before requantization, in which normalization looks up its factor."""
    return squares_latency(parameters) + LOOKUP if parameters.normalization else 0


def lane_latency(parameters):
    """Cycles from a lane's sum to its activation."""
    return factor_latency(parameters) + Requantize.LATENCY + (LOOKUP + 1 if parameters.tables else 0)


def lane_settings(parameters):
    """What stays the same for all values of an instruction."""
    element = signed(8 * parameters.element_bytes)
    return data.StructLayout(
        {"format": format_layout(parameters), "final_low": element, "final_high": element, "combine": 2, "normalize": 1}
    )


def table_write_layout(parameters):
    """``table_entries`` neighbouring entries of table A (``b`` 0) or B."""
    entries = parameters.table_entries
    return data.StructLayout(
        {
            "valid": 1,
            "b": 1,
            "row": range(max(2, TABLE_ENTRIES // 2 // entries)),
            "entries": data.ArrayLayout(signed(32), entries),
        }
    )


class Lane(wiring.Component):
    """``sum`` and its channel's scale in, an activation out, ``lane_latency`` cycles later, one a cycle.

    Without tables that is ``Requantize``.  With them, its activation and ``operand`` are looked up as ``combine`` says:
    ``clamp(rne(A[activation] + B[operand]), final_low, final_high)``, indices being the stored bytes as unsigned.
    With ``normalize``, the mantissa of the scale is instead ``A[i >> 4] + B[(i >> 8) << 4 | (i & 15)]`` for
    ``i = index``, which follows the sum by ``squares_latency`` cycles: bipartite tables (Das Sarma and Matula 1995).
    No flow control: whoever sends knows that the result is taken.

    Members: sum : In, signed;  channel : In, program.CHANNEL;  operand, index : In;  settings : In, constant
             table : In, see table_write_layout
             activation : Out;  raw_sum : Out, ``sum + bias``, signed 32, with the same latency
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "sum": In(signed(p.sum_bits)),
                "channel": In(CHANNEL),
                "operand": In(8),
                "index": In(INDEX),
                "settings": In(lane_settings(p)),
                "table": In(table_write_layout(p)),
                "activation": Out(signed(8 * p.element_bytes)),
                "raw_sum": Out(signed(32)),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        m.submodules.requantize = requantize = Requantize(p)
        before = factor_latency(p)
        channel = CHANNEL(delayed(m, self.channel.as_value(), before, name="channel"))
        settings = self.settings
        m.d.comb += [
            requantize.sum.eq(delayed(m, self.sum, before, name="sum")),
            requantize.channel.eq(channel),
            requantize.format.eq(settings.format),
        ]
        if not p.tables:
            m.d.comb += [self.activation.eq(requantize.activation), self.raw_sum.eq(requantize.raw_sum)]
            return m

        operand = delayed(m, self.operand, before + Requantize.LATENCY, name="operand")
        index_a, index_b = requantize.activation.as_unsigned()[:8], operand
        if p.normalization:
            index = self.index
            index_a = Mux(settings.normalize, index[4:], index_a)
            index_b = Mux(settings.normalize, (index[8:] << 4) | index[:4], index_b)
        a, b = self._lookup(m, index_a, "a"), self._lookup(m, index_b, "b")
        total = Signal(signed(33), reset_less=True)
        m.d.sync += total.eq(a + Mux(settings.normalize | (settings.combine == Combine.ADD), b, 0))
        if p.normalization:
            with m.If(settings.normalize):
                m.d.comb += requantize.channel.mantissa.eq(total[:MANTISSA])

        # round half to even at the binary point, clamp
        half = (1 << (TABLE_FRACTION - 1)) - 1 + total[TABLE_FRACTION]
        rounded = (total + half) >> TABLE_FRACTION
        clamped = Mux(rounded < settings.final_low, settings.final_low, rounded)
        clamped = Mux(rounded > settings.final_high, settings.final_high, clamped)
        final = Signal(signed(8 * p.element_bytes), reset_less=True)
        passed = delayed(m, requantize.activation, LOOKUP, name="passed")
        m.d.sync += final.eq(Mux(settings.combine == Combine.NONE, passed, clamped))
        m.d.comb += [
            self.activation.eq(final),
            self.raw_sum.eq(delayed(m, requantize.raw_sum, LOOKUP + 1, name="raw")),
        ]
        return m

    def _lookup(self, m, index, name):
        """The entry of one table, a cycle later."""
        entries = self._parameters.table_entries
        m.submodules[f"table_{name}"] = memory = Memory(
            shape=data.ArrayLayout(signed(32), entries), depth=TABLE_ENTRIES // 2 // entries, init=[]
        )
        writer, reader = memory.write_port(), memory.read_port()
        which = entries.bit_length() - 1
        m.d.comb += [
            writer.addr.eq(self.table.row),
            writer.data.eq(self.table.entries),
            writer.en.eq(self.table.valid & (self.table.b == (name == "b"))),
            reader.addr.eq(index >> which),
        ]
        chosen = delayed(m, index[:which], 1, name=f"which_{name}") if which else 0
        return reader.data[chosen]


class Squares(wiring.Component):
    """Normalization's index for each lane, ``squares_latency`` cycles later.

    It is ``t = (sum of size squares) >> drop``, 16 bits, as a float: below 512 itself, above that 3 bits of exponent
    ``e = bits(t) - 9`` and the 9 bits behind the leading one.

    Members: values : In, (lanes + normalization - 1,) signed: lane l sums over ``values[l : l + size]``
             size : In, less one;  drop : In, bits;  index : Out, (lanes,) of INDEX bits
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        self._element = signed(8 * p.element_bytes + 1)
        super().__init__(
            {
                "values": In(data.ArrayLayout(self._element, p.lanes + p.normalization - 1)),
                "size": In(4),
                "drop": In(5),
                "index": Out(data.ArrayLayout(INDEX, p.lanes)),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        squares = []
        for number, value in enumerate(self.values):
            square = Signal(16, name=f"square_{number}", reset_less=True)
            m.d.sync += square.eq(value * value)
            squares.append(square)
        for lane in range(p.lanes):
            terms = [Mux(self.size >= j, squares[lane + j], 0) for j in range(p.normalization)]
            total = Signal(20, name=f"total_{lane}", reset_less=True)
            kept = Signal(16, name=f"kept_{lane}", reset_less=True)
            index = Signal(INDEX, name=f"index_{lane}", reset_less=True)
            m.d.sync += [total.eq(sum(terms)), kept.eq(total >> self.drop), index.eq(kept)]
            for exponent in range(1, 1 << INDEX - MANTISSA_BITS):
                with m.If(kept[MANTISSA_BITS - 1 + exponent]):
                    m.d.sync += index.eq(Cat(kept[exponent - 1 :][:MANTISSA_BITS], Const(exponent, 3)))
            m.d.comb += self.index[lane].eq(index)
        return m
