"""Lattice ECP5: MULT18X18D with all its registers, for one column or for several that share it."""

from amaranth import C, Cat, ClockSignal, Instance, Module, Signal, Value

from ..isa.sharing import Sharing
from .cell import Cell, single, wide
from .cell_shared import shared

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


ONE = Cell(latency=REGISTERS + 1, multiply_add=single(_signed), multiply=_unsigned, model=MODEL)


def shared_by(sharing: Sharing) -> Cell:
    """One multiplier for several columns."""
    return shared(sharing, _signed, REGISTERS, ONE)
