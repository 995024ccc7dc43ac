"""Layers of two maps that are no sums: the larger or smaller of both, and their product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExtremeOperator = Literal["Max", "Min"]


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
