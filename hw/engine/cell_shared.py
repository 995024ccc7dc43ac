"""The cell of several columns around one multiplier: see ``isa.sharing`` for the arithmetic."""

from collections.abc import Callable, Sequence

from amaranth import C, Cat, Module, Shape, Signal, Value, signed

from ..isa.sharing import Sharing
from .cell import Cell, add, wide
from .delay import delayed

CORRECTING = 2
"""Cycles to take what overlaps off."""


def shared(
    sharing: Sharing, multiply: Callable[[Module, str, Value, Value], Value], registers: int, like: Cell
) -> Cell:
    """The cell of ``sharing`` around a block: ``multiply`` gives pixel * operand, ``registers`` cycles later.

    like : the block's cell of one column, whose ``multiply`` and ``model`` this has
    """

    def apart(
        m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
    ) -> list[Value]:
        bits, k = len(pixel) + len(weights[0]) - 1, sharing.distance
        product = multiply(m, name, pixel, operand(weights, k))
        carries = [None, *(product[k * n - 1] for n in range(1, len(weights)))]
        fields = [product[k * n :][:bits].as_signed() for n in range(len(weights))]
        each = zip(fields, above, carries, strict=True)
        return [add(m, _of(name, n), field, sum_, sum_shape, carry) for n, (field, sum_, carry) in enumerate(each)]

    def overlapping(
        m: Module, name: str, pixel: Value, weights: list[Value], above: list[Value], sum_shape: Shape
    ) -> list[Value]:
        bits, k, overlap = len(pixel) + len(weights[0]) - 1, sharing.distance, sharing.overlap
        product = multiply(m, name, pixel, operand(weights, k))
        # carried[n]: what the products below add to the field of the n-th
        carried: list[Value] = [C(0, overlap)]
        for n in range(1, len(weights)):
            weight = Signal(overlap, name=f"lent_{_of(name, n)}")
            m.d.comb += weight.eq(lent(weights[n], weights[n - 1], overlap))
            low = low_product(m, _of(name, n), weight, wide(pixel, overlap))
            again = delayed(m, low, registers, name=f"again_{_of(name, n)}")
            there = (product[k * n :][:overlap] - again)[:overlap]
            carried.append(delayed(m, there, 1, name=f"carried_{_of(name, n)}"))
        below: list[Value] = []
        for n, above_ in enumerate(above):
            last = n == len(weights) - 1
            field = delayed(m, product[k * n :][: bits if last else k], 1, name=f"field_{_of(name, n)}")
            exact = field if last else Cat(field, carried[n + 1])
            if n:
                exact = (exact.as_signed() - carried[n].as_signed())[:bits]
            exact = delayed(m, exact[:bits], 1, name=f"product_{_of(name, n)}_apart")
            below.append(add(m, _of(name, n), exact.as_signed(), above_, sum_shape))
        return below

    return Cell(
        latency=registers + 1 + (CORRECTING if sharing.overlap else 0),
        multiply_add=overlapping if sharing.overlap else apart,
        columns=sharing.columns,
        prepare=borrowed,
        multiply=like.multiply,
        model=like.model,
    )


def _of(name: str, column: int) -> str:
    """The name of a column's registers."""
    return f"{name}_{column}" if column else name


def borrowed(m: Module, name: str, weights: list[Value]) -> list[Value]:
    """Weights, none of them the lowest of its width, each one less where what is below it in an operand is negative."""
    parts: list[Value] = list(weights[:1])
    for n, weight in enumerate(weights[1:], 1):
        part = Signal(signed(len(weight)), name=f"part_{name}_{n}")
        m.d.comb += part.eq(weight - parts[-1][-1])
        parts.append(part)
    return parts


def operand(parts: Sequence[Value], distance: int) -> Value:
    """``weights[0] + (weights[1] << distance) + ...`` of ``borrowed(weights)``."""
    return Cat(*(wide(part, distance) for part in parts[:-1]), parts[-1])


def lent(part: Value, below: Value, bits: int) -> Value:
    """The lowest ``bits`` of a weight, of what ``borrowed`` makes of it and of the weight below it."""
    found: list[Value] = []
    carry: Value = below[-1]
    for bit in wide(part, bits):
        found.append(bit ^ carry)
        carry = carry & bit
    return Cat(*found)


def low_product(m: Module, name: str, a: Value, b: Value) -> Value:
    """The lower half of ``a * b``, both as wide, as logic: so few bits are no work for a carry chain."""
    columns: list[list[Value]] = [[a[n] & b[place - n] for n in range(place + 1)] for place in range(len(a))]
    for place, terms in enumerate(columns):
        while len(terms) > 1:
            x, y, *rest = terms
            z, *rest = rest or [C(0, 1)]
            low, high = (Signal(name=f"{what}_{name}_{place}_{len(terms)}") for what in ("low", "high"))
            m.d.comb += [low.eq(x ^ y ^ z), high.eq((x & y) | (x & z) | (y & z))]
            terms[:] = [*rest, low]
            if place + 1 < len(columns):
                columns[place + 1].append(high)
    return Cat(*(terms[0] for terms in columns))
