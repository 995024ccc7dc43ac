"""Multiply and add: what the array takes from an FPGA family, and the cell that suits every one."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth import C, Cat, Module, Shape, Signal, Value

from .delay import delayed

FOLDER = Path(__file__).parent
"""Where the models are."""

MultiplyAdd = Callable[[Module, str, Value, list[Value], list[Value], Shape], list[Value]]
"""``(m, name, pixel, weights, above, sum_shape) -> below``: one weight and one sum from above and below a column."""

Prepare = Callable[[Module, str, list[Value]], list[Value]]
"""``(m, name, weights) -> prepared``: of neighbouring columns, as they come, what ``multiply_add`` takes, as wide."""


def as_they_are(m: Module, name: str, weights: list[Value]) -> list[Value]:
    return weights


Finish = Callable[[Module, str, list[Value], Shape], list[Value]]
"""``(m, name, below, sum_shape) -> sums``: of a column's last row, FINISHING cycles later."""

FINISHING = 1


Multiply = Callable[[Module, str, Value, Value], Value]
"""``(m, name, a, b) -> product`` of unsigned factors that any family's multiplier takes, MULTIPLYING cycles later."""

MULTIPLYING = 2
"""A register before the multiplier and one behind it."""


def multiplied(m: Module, name: str, a: Value, b: Value) -> Value:
    """In plain Verilog."""
    a, b = delayed(m, a, 1, name=f"{name}_a"), delayed(m, b, 1, name=f"{name}_b")
    return delayed(m, a * b, 1, name=name)


@dataclass(frozen=True)
class Cell:
    """``below[c] = above[c] + pixel * weights[c]`` for the neighbouring columns that share a multiplier.

    latency : cycles from pixel and weights to ``below``; ``above`` is taken one cycle before it
    columns : that share it; ``multiply_add`` takes fewer weights too, at the array's edge
    prepare : makes what ``multiply_add`` takes of weights, once for all rows
    finish : makes sums of what leaves the last row; None if that is sums
    multiply : a multiplier of its own, as the requantizers need
    model : file beside this one, Verilog of the block that both name, to simulate; None if they name none
    """

    latency: int
    multiply_add: MultiplyAdd
    columns: int = 1
    prepare: Prepare = as_they_are
    finish: Finish | None = None
    multiply: Multiply = multiplied
    model: str | None = None

    @property
    def finishing(self) -> int:
        """Cycles from the last row to its sums."""
        return FINISHING if self.finish else 0


def add(m: Module, name: str, product: Value, above: Value, sum_shape: Shape, carry: Value | None = None) -> Signal:
    """The register behind a cell's adder, of two or of two and a ``carry`` bit."""
    below = Signal(sum_shape, name=f"sum_{name}", reset_less=True)
    if carry is None:
        m.d.sync += below.eq(above + product)
    else:  # one bit below both, so that it is the adder's own
        m.d.sync += below.eq((Cat(C(1, 1), above).as_signed() + Cat(carry, product).as_signed()) >> 1)
    return below


def wide(value: Value, width: int) -> Value:
    """The lowest ``width`` bits of ``value``, signed."""
    return Cat(value, value[-1].replicate(width - len(value))) if len(value) < width else value[:width]


def single(multiply: Callable[[Module, str, Value, Value], Value]) -> MultiplyAdd:
    """The cell of one column around a multiplier block: ``multiply`` gives the product of a name's pixel and weight."""

    def multiply_add(
        m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
    ) -> list[Value]:
        (weight,) = weights
        product = multiply(m, name, pixel, weight)[: len(pixel) + len(weight)]
        return [add(m, name, product.as_signed(), above[0], sum_shape)]

    return multiply_add


def _portable(
    m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
) -> list[Value]:
    (weight,) = weights
    product = Signal((pixel * weight).shape(), name=f"product_{name}", reset_less=True)
    m.d.sync += product.eq(pixel * weight)
    return [add(m, name, product, above[0], sum_shape)]


PORTABLE = Cell(latency=2, multiply_add=_portable)
"""Plain Verilog, a register behind the multiplier and one behind the adder: every synthesizer infers its own."""
