"""Lattice ECP5: MULT18X18D with all its registers, for one column or for two that share it.

Two products in one: the pixel x is one operand, ``(a << k) + b`` the other, the result ``(a * x << k) + b * x``.  With
k = 18 - weight bits the operand has its 18 bits as long as no weight is the lowest of its width.  Then ``b * x`` has
weight + activation bits - 1; those from k on overlap ``a * x``, whose low bits are therefore computed again, in a few
LUTs beside the multiplier, and subtracted.
"""

from amaranth import C, Cat, ClockSignal, Instance, Module, Shape, Signal, Value

from .cell import Cell, add, single, wide
from .delay import delayed

OPERAND, PRODUCT = 18, 36
REGISTERS = 3
"""Of a MULT18X18D, one behind the other: inputs, pipeline, output."""

MODEL = "MULT18X18D.v"


def _signed(m: Module, name: str, a: Value, b: Value, *, pipeline: bool = True) -> Value:
    """``a * b``, signed, REGISTERS cycles later, one less without the pipeline register."""
    product = Signal(PRODUCT, name=f"product_{name}")
    operands = {port: Signal(OPERAND, name=f"{port.lower()}_{name}") for port in "AB"}
    m.d.comb += [operands["A"].eq(wide(a, OPERAND)), operands["B"].eq(wide(b, OPERAND))]
    m.submodules[f"multiplier_{name}"] = Instance(
        "MULT18X18D",
        **{f"p_REG_{register}_CLK": "CLK0" for register in ("INPUTA", "INPUTB", "OUTPUT")},
        p_REG_PIPELINE_CLK="CLK0" if pipeline else "NONE",
        p_GSR="DISABLED",
        **{f"i_{port}{n}": value[n] for port, value in operands.items() for n in range(OPERAND)},
        **{f"i_C{n}": C(0, 1) for n in range(OPERAND)},
        **{f"i_{port}": C(1, 1) for port in ("SIGNEDA", "SIGNEDB", "CE0")},
        **{f"i_{port}": C(0, 1) for port in ("SOURCEA", "SOURCEB", "RST0")},
        i_CLK0=ClockSignal(),
        **{f"o_P{n}": product[n] for n in range(PRODUCT)},
    )
    return product


def _unsigned(m: Module, name: str, a: Value, b: Value) -> Value:
    """``a * b`` of factors below the operands' sign, MULTIPLYING cycles later."""
    assert max(len(a), len(b)) < OPERAND
    return _signed(m, name, Cat(a, C(0, 1)), Cat(b, C(0, 1)), pipeline=False)[: len(a) + len(b)]


def _two(
    m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
) -> list[Signal]:
    b, a = weights if len(weights) == 2 else (weights[0], C(0, weights[0].shape()))
    shift, bits = OPERAND - len(b), len(b) + len(pixel) - 1
    overlap = max(0, bits - shift)
    product = _signed(m, name, pixel, (a << shift) + b)
    columns = [a[: overlap - n] & pixel[n].replicate(overlap - n) for n in range(overlap)]
    again = sum((column << n for n, column in enumerate(columns)), C(0, 1))[:overlap]
    again = delayed(m, again, REGISTERS, name=f"again_{name}")
    lower, upper = product[: min(bits, shift)], product[shift : shift + bits].as_signed()
    bx = delayed(m, Cat(lower, (upper[:overlap] - again)[:overlap]).as_signed(), 1, name=f"low_{name}")
    upper = delayed(m, upper, 1, name=f"upper_{name}")
    ax = (upper - (bx >> shift))[:bits].as_signed()
    products = [delayed(m, bx, 1, name=f"bx_{name}"), delayed(m, ax, 1, name=f"ax_{name}")]
    names = (name, f"{name}_high")
    return [add(m, n, p, s, sum_shape) for n, p, s in zip(names, products, above, strict=False)]


ONE = Cell(latency=REGISTERS + 1, multiply_add=single(_signed), multiply=_unsigned, model=MODEL)
TWO = Cell(latency=REGISTERS + 3, multiply_add=_two, columns=2, multiply=_unsigned, model=MODEL)
"""For weights above the lowest of their width, at most 9 bits, and 2 * weight bits + activation bits of at most 25."""
