"""Pipeline registers without a reset: a value as it was some cycles ago."""

from amaranth import Module, Shape, Signal, Value


def delayed(m: Module, value: Value, cycles: int, *, name: str, init: int | None = None) -> Value:
    """``value`` after ``cycles`` cycles, through that many registers called ``name``.

    The registers have no reset; give ``init`` for control bits, which then reset to it.
    """
    for stage in range(cycles):
        register = Signal(
            Shape.cast(value.shape()), name=f"{name}_{stage + 1}", reset_less=init is None, init=init or 0
        )
        m.d.sync += register.eq(value)
        value = register
    return value
