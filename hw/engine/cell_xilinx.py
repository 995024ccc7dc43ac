"""Xilinx, 7 series and UltraScale: a DSP48 that synthesis infers with all its registers.

Pixel and weight have registers of their own (AREG, BREG), the product one (MREG), the sum one (PREG); sums go down the
column on the cascade (PCOUT to PCIN).  ``use_dsp`` tells Vivado to take the adder in, whatever the widths.

Of columns that share a DSP48 the products stay in one number as long as their sums do not meet: then the cascade adds
them all, and they come apart below the last row.  Otherwise the DSP48 is a multiplier alone, and LUTs add.
"""

from amaranth import C, Cat, Module, Shape, Signal, Value, signed

from ..isa.sharing import Sharing
from .cell import Cell, add, wide
from .cell_shared import borrowed, operand, shared
from .delay import delayed

REGISTERS = 3
"""Of a DSP48 that multiplies alone: operands, product, output."""

DSP = {"use_dsp": "yes"}


def _multiplied(m: Module, name: str, pixel: Value, weight: Value) -> Signal:
    """The product, two cycles later."""
    a = Signal(pixel.shape(), name=f"a_{name}", reset_less=True)
    b = Signal(signed(len(weight)), name=f"b_{name}", reset_less=True)
    product = Signal((a * b).shape(), name=f"product_{name}", reset_less=True, attrs=DSP)
    m.d.sync += [a.eq(pixel), b.eq(weight), product.eq(a * b)]
    return product


def _multiply_add(
    m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
) -> list[Value]:
    (weight,) = weights
    below = add(m, name, _multiplied(m, name, pixel, weight), above[0], sum_shape)
    below.attrs.update(DSP)
    return [below]


DSP48 = Cell(latency=REGISTERS, multiply_add=_multiply_add)


def shared_by(sharing: Sharing) -> Cell:
    """One DSP48 for several columns."""
    return _summed(sharing.distance, sharing.columns) if sharing.summed else shared(sharing, _alone, REGISTERS, DSP48)


def _alone(m: Module, name: str, pixel: Value, weight: Value) -> Value:
    return delayed(m, _multiplied(m, name, pixel, weight), 1, name=f"output_{name}")


def _summed(distance: int, columns: int) -> Cell:
    """Each column's sums are ``distance`` bits of one number, less one where what lies below is negative."""

    def multiply_add(
        m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
    ) -> list[Value]:
        product = _multiplied(m, name, pixel, operand(weights, distance))
        together = Cat(*(wide(sum_, distance) for sum_ in above)).as_signed()
        below = add(m, name, product, together, signed(len(together)))
        below.attrs.update(DSP)
        return [below[n * distance :][:distance] for n in range(len(weights))]

    def finish(m: Module, name: str, below: list[Value], sum_shape: Shape) -> list[Value]:
        carries = [None, *(lower[-1] for lower in below[:-1])]
        each = zip(below, carries, strict=True)
        none = C(0, sum_shape)
        return [
            add(m, f"{name}_{n}_apart", sum_.as_signed(), none, sum_shape, carry)
            for n, (sum_, carry) in enumerate(each)
        ]

    return Cell(latency=REGISTERS, multiply_add=multiply_add, columns=columns, prepare=borrowed, finish=finish)
