"""Gowin GW1N and GW2A: MULT9X9 or MULT18X18 with all their registers, which synthesis would not infer."""

from amaranth import C, ClockSignal, Instance, Module, Signal, Value

from ..isa.sharing import Sharing
from .cell import Cell, single, wide
from .cell_shared import shared

NARROW = 9
"""Bits of the operands of MULT9X9, two of which take the place of a MULT18X18."""

REGISTERS = 3
"""Of a multiplier, one behind the other: inputs, pipeline, output."""


def _multiply(m: Module, name: str, a: Value, b: Value) -> Value:
    """``a * b``, signed, REGISTERS cycles later."""
    width = _width(a, b)
    product = Signal(2 * width, name=f"product_{name}")
    m.submodules[f"multiplier_{name}"] = Instance(
        f"MULT{width}X{width}",
        **{f"p_{parameter}": C(1, 1) for parameter in ("AREG", "BREG", "PIPE_REG", "OUT_REG")},
        p_ASIGN_REG=C(0, 1),
        p_BSIGN_REG=C(0, 1),
        p_SOA_REG=C(0, 1),
        p_MULT_RESET_MODE="SYNC",
        i_CLK=ClockSignal(),
        **{f"i_{port}": C(1, 1) for port in ("CE", "ASIGN", "BSIGN")},
        **{f"i_{port}": C(0, 1) for port in ("RESET", "ASEL", "BSEL")},
        i_SIA=C(0, width),
        i_SIB=C(0, width),
        i_A=wide(a, width),
        i_B=wide(b, width),
        o_DOUT=product,
    )
    return product


def _width(a: Value, b: Value) -> int:
    return NARROW if max(len(a), len(b)) <= NARROW else 2 * NARROW


MULT = Cell(latency=REGISTERS + 1, multiply_add=single(_multiply), model="MULT.v")


def shared_by(sharing: Sharing) -> Cell:
    """One multiplier for several columns."""
    return shared(sharing, _multiply, REGISTERS, MULT)
