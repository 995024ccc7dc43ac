"""Xilinx, 7 series and UltraScale: a DSP48 that synthesis infers with all its registers.

Pixel and weight have registers of their own (AREG, BREG), the product one (MREG), the sum one (PREG); sums go down the
column on the cascade (PCOUT to PCIN).  ``use_dsp`` tells Vivado to take the adder in, whatever the widths.
"""

from amaranth import Module, Shape, Signal, Value

from .cell import Cell, add


def _multiply_add(
    m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
) -> list[Signal]:
    (weight,) = weights
    a = Signal(pixel.shape(), name=f"a_{name}", reset_less=True)
    b = Signal(weight.shape(), name=f"b_{name}", reset_less=True)
    product = Signal((pixel * weight).shape(), name=f"product_{name}", reset_less=True, attrs={"use_dsp": "yes"})
    m.d.sync += [a.eq(pixel), b.eq(weight), product.eq(a * b)]
    below = add(m, name, product, above[0], sum_shape)
    below.attrs["use_dsp"] = "yes"
    return [below]


DSP48 = Cell(latency=3, multiply_add=_multiply_add)
