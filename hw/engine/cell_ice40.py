"""Lattice iCE40 UltraPlus: SB_MAC16, two products of 8 bits or one of 16.

It is named, not inferred: yosys's ``synth_ice40 -dsp`` gets chained sums wrong.
"""

from amaranth import C, Cat, ClockSignal, Instance, Module, Shape, Signal, Value

from ..isa.sharing import HALF, Sharing
from .cell import Cell, add, single, wide
from .cell_shared import shared

MODEL = "SB_MAC16.v"


def _multiply(m: Module, name: str, a: Value, b: Value, *, halves: bool) -> Value:
    """``a * b``, signed, 3 cycles later; with ``halves`` that of the upper and of the lower 8 bits, 2 cycles later."""
    product = Signal(32, name=f"product_{name}")
    m.submodules[f"multiplier_{name}"] = Instance(
        "SB_MAC16",
        **{f"p_{parameter}": C(1, 1) for parameter in ("A_REG", "B_REG", "A_SIGNED", "B_SIGNED")},
        p_TOP_8x8_MULT_REG=C(1, 1),
        p_BOT_8x8_MULT_REG=C(1, 1),
        p_PIPELINE_16x16_MULT_REG1=C(1, 1),
        p_PIPELINE_16x16_MULT_REG2=C(1, 1),
        p_TOPOUTPUT_SELECT=C(2 if halves else 3, 2),
        p_BOTOUTPUT_SELECT=C(2 if halves else 3, 2),
        p_MODE_8x8=C(halves, 1),
        i_CLK=ClockSignal(),
        i_CE=C(1, 1),
        i_A=a,
        i_B=b,
        i_C=C(0, 16),
        i_D=C(0, 16),
        **{f"i_{port}": C(0, 1) for port in UNUSED},
        o_O=product,
    )
    return product


UNUSED = (
    "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT",
    "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN",
)  # fmt: skip


def _whole(m: Module, name: str, a: Value, b: Value) -> Value:
    return _multiply(m, name, wide(a, 2 * HALF), wide(b, 2 * HALF), halves=False)


def _two(m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape) -> list[Value]:
    x = wide(pixel, HALF)
    both = Cat(*(wide(weight, HALF) for weight in weights), C(0, HALF * (2 - len(weights))))
    product = _multiply(m, name, Cat(x, x), both, halves=True)
    names = (name, f"{name}_high")
    return [
        add(m, names[n], product[2 * HALF * n :][: len(pixel) + len(weight)].as_signed(), above[n], sum_shape)
        for n, weight in enumerate(weights)
    ]


REGISTERS = 3
"""Of a SB_MAC16 that is one multiplier, one behind the other: inputs, two of the pipeline."""

ONE = Cell(latency=REGISTERS + 1, multiply_add=single(_whole), model=MODEL)
TWO = Cell(latency=3, multiply_add=_two, columns=2, model=MODEL)
"""For operands of at most 8 bits."""


def shared_by(sharing: Sharing) -> Cell:
    """One SB_MAC16 for several columns: its halves for two, or one multiplier."""
    return shared(sharing, _whole, REGISTERS, ONE) if sharing.distance else TWO
