"""Rescale sums to activations exactly as ONNX Runtime's QLinearConv does in float32."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.parameters import SHIFT_MOST
from ..isa.program import CHANNEL, SHIFT_BASE
from ..isa.ranges import check_range
from .cell import MULTIPLYING, Multiply
from .delay import delayed

MANTISSA = 24
"""Significant bits of a float32."""

FACTOR = 16
"""Bits of a factor that every family's multiplier takes; the others are multiplied apart."""

FRACTION = MANTISSA + 1
"""Fraction bits kept before rounding: the finest tie window is 2**-25."""


def format_layout(element_bits: int) -> data.StructLayout:
    """Zero point and clamp of the target feature map, as the engine stores it."""
    return data.StructLayout({n: signed(element_bits) for n in ("zero_point", "low", "high")})


class Requantize(wiring.Component):
    """``clamp(rne(fl32(fl32(sum + bias) * scale)) + zero_point, low, high)``, one value a cycle.

    fl32 rounds to 24 significant bits, rne to an integer, both half to even; ``scale = mantissa * 2**-(shift +
    SHIFT_BASE)`` is the float32 itself.  Two roundings in a row differ from one only near a tie: a value v with
    ``2**k <= |v| < 2**(k+1)`` lies on a grid of 2**(k-23) after fl32, so it becomes exactly half-way when it was
    within half a grid step of it, and then goes to even.  So the hardware rounds once and widens the tie to that
    window; no normalization, no second adder (docs/architecture.md has the proof).  Magnitudes of
    2**activation_bits and more saturate whatever they are.

    With ``odd_ties`` a tie makes the sum with the zero point even, not the integer that the zero point is added to.

    Latency LATENCY cycles, no flow control: whoever sends knows that the result is taken.
    ``raw`` passes ``sum + bias`` through, as ``raw_sum``, with the same latency.

    Parameters: sum_bits, activation_bits : int;  element_bits : int, of a stored activation
                total_bits : int, of sum + bias;  shifts : (int, int), the least and the greatest that a channel has
                multiply : as a Cell has it, or None for scales that are powers of two
                odd_ties : whether the member of this name is there: In, 1 where the zero point is odd and matters
    Members:    sum : In, signed;  channel : In, see program.CHANNEL;  format : In, see format_layout
                activation : Out, signed element_bits;  raw_sum : Out, signed 32
    Source:     ONNX QuantizeLinear-21; IEEE 754-2019, 4.3.1
    """

    LATENCY = 13

    def __init__(
        self,
        *,
        sum_bits: int,
        total_bits: int,
        shifts: tuple[int, int],
        activation_bits: int,
        element_bits: int,
        multiply: Multiply | None,
        odd_ties: bool = False,
    ) -> None:
        check_range("sum bits", sum_bits, 8, 32)
        check_range("total bits", total_bits, 8, 32)
        check_range("lowest shift", shifts[0], 0, SHIFT_MOST)
        check_range("highest shift", shifts[1], shifts[0], SHIFT_MOST)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("element bits", element_bits, activation_bits, 16)
        self._activation_bits, self._element_bits, self._multiply = activation_bits, element_bits, multiply
        self._total_bits, self._shifts, self._odd_ties = total_bits, shifts, odd_ties
        super().__init__(
            {
                "sum": In(signed(sum_bits)),
                "channel": In(CHANNEL),
                "format": In(format_layout(element_bits)),
                "activation": Out(signed(element_bits)),
                "raw_sum": Out(signed(32)),
                **({"odd_ties": In(1)} if odd_ties else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()

        def register(value, name, shape=None):
            r = Signal(value.shape() if shape is None else shape, name=name, reset_less=True)
            m.d.sync += r.eq(value)
            return r

        # 1: the bias.  2: sign and magnitude
        total = self._total_bits
        biased = register(self.sum + self.channel.bias.as_signed(), "biased", signed(total))
        magnitude = register(Mux(biased < 0, -biased, biased), "magnitude", total)

        # 3, 4: fl32 of the sum: past 24 bits, drop ``extra`` bits, half to even
        extra_bits = max(0, total - MANTISSA)
        kept = Signal(min(MANTISSA, total), reset_less=True)
        up = Signal(reset_less=True)
        extra = Signal(range(extra_bits + 1), reset_less=True)
        m.d.sync += [kept.eq(magnitude), up.eq(0), extra.eq(0)]
        for e in range(1, extra_bits + 1):
            with m.If(magnitude[MANTISSA + e - 1]):
                half, below, odd = magnitude[e - 1], magnitude[: e - 1].any() if e > 1 else 0, magnitude[e]
                m.d.sync += [kept.eq(magnitude >> e), up.eq(half & (below | odd)), extra.eq(e)]
        significand = kept + up if extra_bits else kept
        extra = register(extra, "extra")

        # 5, 6, 7: times the scale's mantissa, a power of two's having only the leading bit.  Four products, each of
        # what a multiplier takes; the two in the middle; all
        channel = CHANNEL(delayed(m, self.channel.as_value(), 3, name="channel"))
        if self._multiply:
            low, high = significand[:FACTOR], significand[FACTOR:]
            first, second = channel.mantissa[:FACTOR], channel.mantissa[FACTOR:]
            outer = [self._multiply(m, "product_low", low, first), self._multiply(m, "product_high", high, second)]
            inner = [self._multiply(m, "product_1", low, second), self._multiply(m, "product_2", high, first)]
            outer = delayed(m, Cat(outer), 1, name="product_outer")
            product = register(outer + (register(inner[0] + inner[1], "product_inner") << FACTOR), "product")
            product = product[: len(significand) + MANTISSA]
        else:
            product = delayed(m, significand << (MANTISSA - 1), MULTIPLYING + 2, name="product")
        shift = delayed(m, channel.shift, 1, name="shift_4")
        least, greatest = self._shifts
        most = greatest - least + extra_bits
        shift = delayed(m, shift - least + (extra_bits - extra), 3, name="shift")[: max(1, most.bit_length())]

        # 8, 9: align to FRACTION fraction bits; what falls off stays known as ``sticky``, what the shifts that are left
        # cannot bring down to the activation's bits as ``huge``
        below = FRACTION - SHIFT_BASE + extra_bits - least
        value = Cat(Const(0, max(0, below)), product[max(0, -below) :])
        sticky = product[: max(0, -below)].any() if below < 0 else Const(0)
        huge, width = Const(0), self._activation_bits
        middle = most.bit_length() // 2
        for stage, bits in ((8, range(middle, most.bit_length())), (9, range(middle))):
            for bit in reversed(bits):
                step = 1 << bit
                sticky = sticky | (shift[bit] & (value[:step] != 0))
                value = Mux(shift[bit], value[step:] if step < len(value) else Const(0), value)
                reach = FRACTION + width + step - 1
                value, huge = value[:reach], huge | value[reach:].any()
            value, sticky = register(value, f"aligned_{stage}"), register(sticky, f"sticky_{stage}")
            huge = register(huge, f"huge_{stage}")
            if stage == 8:
                shift = register(shift, "shift_8")

        # 10, 11: round half to even, where "half" is as wide as fl32's grid.  With a window of 2**n, ``from_half`` lies
        # within it if the bits from n on are all alike; or it is 2**n itself
        fraction, whole = value[:FRACTION], value[FRACTION:]
        from_half = Cat(fraction[:-1], ~fraction[-1])  # less a half, two's complement
        if self._multiply:
            highest = [whole[b] & ~whole[b + 1 : width].any() for b in range(width)]
            window = register(Cat(~whole[:width].any(), *highest), "window")
            near = register(Cat(_within(from_half, n, sticky) for n in range(width + 1)), "near")
            tie = (window & near).any()
        else:
            tie = register((from_half == 0) & ~sticky, "near")
        above = register(fraction[-1], "above")
        huge = register(huge | whole[width:].any(), "huge_10")
        whole = register(whole[:width], "whole")
        odd = delayed(m, self.odd_ties, 10, name="odd") if self._odd_ties else 0
        rounded = register(whole + Mux(tie, whole[0] ^ odd, above), "rounded")
        huge = register(huge, "huge_11")

        # 12, 13: sign and zero point; clamp
        negative = delayed(m, biased < 0, 10, name="negative")
        form = format_layout(self._element_bits)(delayed(m, self.format.as_value(), 11, name="format"))
        moved = register(Mux(negative, form.zero_point - rounded, form.zero_point + rounded), "moved")
        under = register(huge & negative, "under")
        over = register(huge & ~negative, "over")
        bounds = format_layout(self._element_bits)(delayed(m, form.as_value(), 1, name="bounds"))
        low, high = bounds.low, bounds.high
        clamped = Mux(under | (~over & (moved < low)), low, Mux(over | (moved > high), high, moved))
        m.d.comb += [
            self.activation.eq(register(clamped, "clamped", signed(self._element_bits))),
            self.raw_sum.eq(delayed(m, biased, self.LATENCY - 1, name="raw")),
        ]
        return m


def _within(from_half: Value, exponent: int, sticky: Value) -> Value:
    """``-2**exponent <= from_half <= 2**exponent`` ; where ``sticky``, it is a little more than it says."""
    above, below = from_half[exponent:], from_half[:exponent]
    at_end = (above == 1) & ~below.any() & ~sticky
    return above.all() | ~above.any() | at_end
