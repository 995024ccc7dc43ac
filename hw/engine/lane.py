"""A lane of the vector unit: a value a cycle, times another, or normalization's factor; requantization; the tables."""

from dataclasses import dataclass
from itertools import zip_longest

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import FACTOR_BITS, SHIFT_MOST
from ..isa.program import (
    CHANNEL,
    TABLE_ENTRIES,
    TABLE_FRACTION,
    Combine,
)
from ..isa.ranges import check_choice, check_power_of_two, check_range
from .cell import Multiply, multiplied
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT
from .requantize import MANTISSA, Requantize, format_layout

INDEX = 12
"""Bits of the index that normalization's two tables share."""

MANTISSA_BITS = 9
"""Of the index; the others are its exponent."""

LOOKUP = 3
"""Cycles from an index to the sum of both tables: read, register, add."""

PRODUCT = 2
"""Cycles before requantization in which a value is multiplied: another map's less its zero point, product."""

ROUNDING = 2
"""Cycles from that sum to an activation: round, clamp."""


@dataclass(frozen=True, kw_only=True)
class LaneConfiguration:
    """What one lane can do.

    sum_bits, activation_bits : of what enters and of what leaves
    total_bits : of a sum with its bias
    shifts : the least and the greatest of a channel's scale, see program.CHANNEL
    element_bits : of a stored activation, 8 or 16
    multiplier : False for scales that are powers of two;  multiply : else, as a Cell has it
    tables : lookup tables stand behind the requantizer
    extrema : the tables' entries may be compared instead of added
    products : a value may be multiplied by another map's before it is requantized
    affine : a value may be multiplied by its channel's factor before it is requantized
    table_entries : entries that lie side by side in a table's memory, and are written at once, a power of two
    normalization : most channels that a local response normalization sums over, 0 to 16; 0 leaves it out
    """

    sum_bits: int
    activation_bits: int
    element_bits: int
    total_bits: int = 32
    shifts: tuple[int, int] = (0, SHIFT_MOST)
    multiplier: bool = True
    multiply: Multiply = multiplied
    tables: bool = False
    extrema: bool = False
    products: bool = False
    affine: bool = False
    table_entries: int = 1
    normalization: int = 0

    def __post_init__(self) -> None:
        check_range("sum bits", self.sum_bits, 8, 32)
        check_choice("element bits", self.element_bits, (8, 16))
        check_range("activation bits", self.activation_bits, 2, self.element_bits)
        check_range("normalization", self.normalization, 0, 16)
        check_power_of_two("table entries", self.table_entries, 1, TABLE_ENTRIES // 2)
        if self.tables and self.element_bits > 8:
            raise ConfigurationError(f"tables need elements of 8 bits, not {self.element_bits}")
        if self.normalization and not (self.tables and self.multiplier):
            raise ConfigurationError("normalization needs tables and the multiplier")

        if self.extrema and not self.tables:
            raise ConfigurationError("extrema need tables")
        if self.products and self.element_bits > 8:
            raise ConfigurationError(f"products need elements of 8 bits, not {self.element_bits}")
        if self.affine and self.element_bits > 8:
            raise ConfigurationError(f"affine channels need elements of 8 bits, not {self.element_bits}")

    @property
    def squares_latency(self) -> int:
        """Cycles from a lane's neighbours to normalization's index."""
        return 3 + ceil_log2(self.normalization) if self.normalization else 0

    @property
    def factor_latency(self) -> int:
        """Cycles before requantization, in which normalization looks up its factor."""
        return self.squares_latency + LOOKUP if self.normalization else 0

    @property
    def multiplies(self) -> bool:
        """Values may be multiplied before they are requantized."""
        return self.products or self.affine

    @property
    def before(self) -> int:
        """Cycles from a lane's sum to its requantization."""
        return max(self.factor_latency, PRODUCT if self.multiplies else 0)

    @property
    def latency(self) -> int:
        """Cycles from a lane's sum to its activation."""
        return self.before + Requantize.LATENCY + (LOOKUP + ROUNDING if self.tables else 0)

    @property
    def settings_layout(self) -> data.StructLayout:
        """What stays the same for all values of an instruction."""
        element = signed(self.element_bits)
        return data.StructLayout(
            {
                "format": format_layout(self.element_bits),
                "final_low": element,
                "final_high": element,
                "combine": 3,
                "normalize": 1,
                **({"operand_zero": element} if self.products else {}),
            }
        )

    @property
    def table_write_layout(self) -> data.StructLayout:
        """``table_entries`` neighbouring entries of table A (``b`` 0) or B."""
        entries = self.table_entries
        return data.StructLayout(
            {
                "valid": 1,
                "b": 1,
                "row": range(max(2, TABLE_ENTRIES // 2 // entries)),
                "entries": data.ArrayLayout(signed(32), entries),
            }
        )


class Lane(wiring.Component):
    """``sum`` and its channel's scale in, an activation out, ``configuration.latency`` cycles later, one a cycle.

    Without tables that is ``Requantize``.  With them, its activation and ``operand`` are looked up as ``combine`` says:
    ``clamp(rne(A[activation] + B[operand]), final_low, final_high)``, indices being the stored bytes as unsigned.
    With ``combine`` MULTIPLY it is the requantized product of ``sum`` and ``operand - operand_zero``, with AFFINE of
    ``sum`` and ``factor``.
    With ``normalize``, the mantissa of the scale is instead ``A[i >> 4] + B[(i >> 8) << 4 | (i & 15)]`` for
    ``i = index``, which follows the sum by ``squares_latency`` cycles: bipartite tables (Das Sarma and Matula 1995).
    No flow control: whoever sends knows that the result is taken.

    Parameters: configuration : LaneConfiguration
    Members:    sum : In, signed;  channel : In, program.CHANNEL;  operand, index : In;  factor : In, if ``affine``
                settings : In, see settings_layout, constant;  table : In, see table_write_layout
                activation : Out;  raw_sum : Out, ``sum + bias``, signed 32, with the same latency
    """

    def __init__(self, *, configuration: LaneConfiguration) -> None:
        self._configuration = c = configuration
        super().__init__(
            {
                "sum": In(signed(c.sum_bits)),
                "channel": In(CHANNEL),
                "operand": In(8),
                "index": In(INDEX),
                **({"factor": In(signed(FACTOR_BITS))} if c.affine else {}),
                "settings": In(c.settings_layout),
                "table": In(c.table_write_layout),
                "activation": Out(signed(c.element_bits)),
                "raw_sum": Out(signed(32)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        c = self._configuration
        m = Module()
        m.submodules.requantize = requantize = Requantize(
            sum_bits=c.sum_bits,
            total_bits=c.total_bits,
            shifts=c.shifts,
            activation_bits=c.activation_bits,
            element_bits=c.element_bits,
            multiply=c.multiply if c.multiplier else None,
            odd_ties=c.products,
        )
        before = c.before
        channel = CHANNEL(delayed(m, self.channel.as_value(), before, name="channel"))
        settings = self.settings
        if c.products:
            multiplies = settings.combine == Combine.MULTIPLY
            m.d.comb += requantize.odd_ties.eq(multiplies & settings.format.zero_point[0])
        m.d.comb += [
            requantize.sum.eq(self._multiplied(m) if c.multiplies else delayed(m, self.sum, before, name="sum")),
            requantize.channel.eq(channel),
            requantize.format.eq(settings.format),
        ]
        if not c.tables:
            m.d.comb += [self.activation.eq(requantize.activation), self.raw_sum.eq(requantize.raw_sum)]
            return m

        operand = delayed(m, self.operand, before + Requantize.LATENCY, name="operand")
        index_a, index_b = requantize.activation.as_unsigned()[:8], operand
        if c.normalization:
            index = self.index
            index_a = Mux(settings.normalize, index[4:], index_a)
            index_b = Mux(settings.normalize, (index[8:] << 4) | index[:4], index_b)
        a, b = self._lookup(m, index_a, "a"), self._lookup(m, index_b, "b")
        total = Signal(signed(33), reset_less=True)
        chosen = a + Mux(settings.normalize | (settings.combine == Combine.ADD), b, 0)
        if c.extrema:
            extreme = (settings.combine == Combine.MAXIMUM) | (settings.combine == Combine.MINIMUM)
            other = (a < b) ^ (settings.combine == Combine.MINIMUM)
            chosen = Mux(extreme, Mux(other, b, a), chosen)
        m.d.sync += total.eq(chosen)
        if c.normalization:
            with m.If(settings.normalize):
                m.d.comb += requantize.channel.mantissa.eq(total[:MANTISSA])

        # round half to even at the binary point, clamp
        half = (1 << (TABLE_FRACTION - 1)) - 1 + total[TABLE_FRACTION]
        rounded = Signal(signed(34 - TABLE_FRACTION), reset_less=True)
        m.d.sync += rounded.eq((total + half) >> TABLE_FRACTION)
        clamped = Mux(rounded < settings.final_low, settings.final_low, rounded)
        clamped = Mux(rounded > settings.final_high, settings.final_high, clamped)
        final = Signal(signed(c.element_bits), reset_less=True)
        passed = delayed(m, requantize.activation, LOOKUP + ROUNDING - 1, name="passed")
        tabled = (settings.combine != Combine.NONE) & (settings.combine != Combine.MULTIPLY)
        if c.affine:
            tabled = tabled & (settings.combine != Combine.AFFINE)
        m.d.sync += final.eq(Mux(tabled, clamped, passed))
        m.d.comb += [
            self.activation.eq(final),
            self.raw_sum.eq(delayed(m, requantize.raw_sum, LOOKUP + ROUNDING, name="raw")),
        ]
        return m

    def _multiplied(self, m: Module) -> Value:
        """The sum, or its product with the operand or its channel's factor, when requantization takes it."""
        c = self._configuration
        settings = self.settings
        multiplies = Const(0)
        value = delayed(m, self.sum, c.before - PRODUCT + 1, name="sum")
        factor = Signal(signed(c.element_bits + 1), reset_less=True)
        product = Signal(signed(c.sum_bits), name="product", reset_less=True)
        if c.products:
            multiplies = settings.combine == Combine.MULTIPLY
            operand = delayed(m, self.operand, c.before - PRODUCT, name="factor")
            m.d.sync += factor.eq(operand.as_signed() - settings.operand_zero)
        if c.affine:
            affine = settings.combine == Combine.AFFINE
            multiplies = multiplies | affine
            own = delayed(m, self.factor, c.before - PRODUCT, name="own_factor")
            with m.If(affine):
                m.d.sync += factor.eq(own)
        m.d.sync += [
            product.eq(Mux(multiplies, value[: c.element_bits + 1].as_signed() * factor, value)),
        ]
        return product

    def _lookup(self, m: Module, index: Value, name: str) -> Value:
        """The entry of one table, two cycles later."""
        entries = self._configuration.table_entries
        m.submodules[f"table_{name}"] = memory = Memory(
            shape=data.ArrayLayout(signed(32), entries),
            depth=TABLE_ENTRIES // 2 // entries,
            init=[],
            attrs=COLLISIONS_NEVER_COUNT,
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
        return delayed(m, reader.data[chosen], 1, name=f"entry_{name}")


class Squares(wiring.Component):
    """Normalization's index for each lane, ``squares_latency`` cycles later.

    It is ``t = (sum of size squares) >> drop``, 16 bits, as a float: below 512 itself, above that 3 bits of exponent
    ``e = bits(t) - 9`` and the 9 bits behind the leading one.

    Parameters: lanes : int;  normalization : int, most squares in a sum, 1 to 16
    Members:    values : In, (lanes + normalization - 1,) signed 9: lane l sums over ``values[l : l + size]``
                size : In, less one;  drop : In, bits;  index : Out, (lanes,) of INDEX bits
    """

    def __init__(self, *, lanes: int, normalization: int) -> None:
        check_range("lanes", lanes, 1, 128)
        check_range("normalization", normalization, 1, 16)
        self._lanes, self._normalization = lanes, normalization
        super().__init__(
            {
                "values": In(data.ArrayLayout(signed(9), lanes + normalization - 1)),
                "size": In(4),
                "drop": In(5),
                "index": Out(data.ArrayLayout(INDEX, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        squares = []
        for number, value in enumerate(self.values):
            square = Signal(16, name=f"square_{number}", reset_less=True)
            m.d.sync += square.eq(value * value)
            squares.append(square)
        for lane in range(self._lanes):
            terms: list[Value] = [Mux(self.size >= j, squares[lane + j], 0) for j in range(self._normalization)]
            level = 0
            while len(terms) > 1:  # a tree, a register behind each addition
                level += 1
                paired = zip_longest(terms[::2], terms[1::2], fillvalue=Const(0))
                terms = [delayed(m, a + b, 1, name=f"total_{lane}_{level}_{n}") for n, (a, b) in enumerate(paired)]
            total = terms[0]
            kept = Signal(16, name=f"kept_{lane}", reset_less=True)
            index = Signal(INDEX, name=f"index_{lane}", reset_less=True)
            m.d.sync += [kept.eq(total >> self.drop), index.eq(kept)]
            for exponent in range(1, 1 << INDEX - MANTISSA_BITS):
                with m.If(kept[MANTISSA_BITS - 1 + exponent]):
                    m.d.sync += index.eq(Cat(kept[exponent - 1 :][:MANTISSA_BITS], Const(exponent, 3)))
            m.d.comb += self.index[lane].eq(index)
        return m
