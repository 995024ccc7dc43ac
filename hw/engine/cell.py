"""Multiply and add: the one place that names an FPGA's multiplier.

A cell is a function ``(m, name, pixel, weight, above) -> below`` with a ``LATENCY``: pixel and weight are
taken LATENCY cycles before ``below`` is valid, ``above`` one cycle before it.  A vendor's cell instantiates its
DSP block in the same form, with a simulation model beside it.
"""

from amaranth import Module, Shape, Signal, Value

LATENCY = 2
"""Cycles from pixel and weight to ``below``: a register behind the multiplier, one behind the adder."""


def portable(m: Module, name: str, pixel: Value, weight: Value, above: Value, sum_shape: Shape) -> Signal:
    """``below = above + pixel * weight`` in plain Verilog; every synthesizer infers its own multiplier."""
    product = Signal((pixel * weight).shape(), name=f"product_{name}", reset_less=True)
    below = Signal(sum_shape, name=f"sum_{name}", reset_less=True)
    m.d.sync += [product.eq(pixel * weight), below.eq(above + product)]
    return below
