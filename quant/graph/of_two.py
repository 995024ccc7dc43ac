"""Layers of two maps, value by value: sum and difference, the larger and the smaller, and the product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SumOperator = Literal["Add", "Sub"]
ExtremeOperator = Literal["Max", "Min"]


@dataclass(frozen=True)
class Add:
    """Elementwise sum of two maps of one shape, or the first less the second if ``operator`` is Sub: at most 8 bits.

    ONNX Runtime's QLinearAdd, with ``r_a = fl32(s_a / s_y)``, ``r_b = fl32(s_b / s_y)`` and every multiply-add rounded
    once to float32:

        offset = fl32(zp_y - fl32(r_a * zp_a + fl32(r_b * zp_b)))
        y = clamp(rne(fl32(r_a * a + fl32(r_b * b + offset))))

    A difference has no such kernel; ONNX Runtime computes it in float32:

        y = clamp(rne(fl32(fl32(fl32(s_a * (a - zp_a)) - fl32(s_b * (b - zp_b))) / s_y)) + zp_y)
    """

    name: str
    inputs: tuple[str, str]
    output: str
    operator: SumOperator = "Add"


@dataclass(frozen=True)
class Extremum:
    """The larger of two maps of one shape at each place, or the smaller if ``operator`` is Min: at most 8 bits.

    ``y = max(q(a), q(b))`` with ``q(x) = clamp(rne(fl32(fl32(s_x * (x - zp_x)) / s_y)) + zp_y)``, as a Concat moves it:
    rounding keeps the order, so this is what ONNX Runtime computes of the reals.
    """

    name: str
    inputs: tuple[str, str]
    output: str
    operator: ExtremeOperator = "Max"


@dataclass(frozen=True)
class Multiply:
    """Elementwise product of two maps of one shape, or of which one has a single row and column: at most 8 bits.

    ONNX Runtime's QLinearMul, with ``r = fl32(fl32(s_a * s_b) / s_y)``:

        y = clamp(rne(fl32(fl32((a - zp_a) * (b - zp_b) * r) + zp_y)))
    """

    name: str
    inputs: tuple[str, str]
    output: str

    operator = "Mul"
