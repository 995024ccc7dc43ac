"""Counts of places and of answers that say a cycle ahead whether there are any."""

from amaranth import Cat, Module, Signal, Value

from ..isa.ranges import check_power_of_two


class Credits:
    """A count that goes up and down by one; ``some`` is a register, so that no zero test stands in a path behind it.

    Parameters: most : int, a power of two, the count stays in 0 .. most;  init : int;  name : str, of the registers
    """

    def __init__(self, most: int, *, init: int, name: str) -> None:
        check_power_of_two("most credits", most, 1, 1 << 16)
        self._count = Signal(range(most + 1), name=name, init=init)
        self.some = Signal(name=f"some_{name}", init=init != 0)

    @property
    def full(self) -> Value:
        """The count is ``most``."""
        return self._count[-1]

    def change(self, m: Module, more: Value, less: Value) -> None:
        """Up with ``more``, down with ``less``, a bit each."""
        with m.If(more ^ less):
            step = Cat(1, less.replicate(len(self._count) - 1))  # 1, or -1
            m.d.sync += [self._count.eq(self._count + step), self.some.eq(more | (self._count != 1))]
