"""Loop counts that say a cycle ahead that they are at their last."""

from amaranth import Module, Signal, Value


class Countdown:
    """Counts a loop's remaining turns; ``last`` is a register, so that no zero test stands in a path behind it.

    Parameters: width : int, bits of the count, which is the turns less one;  name : str, of the registers
    """

    def __init__(self, width: int, *, name: str) -> None:
        self._left = Signal(width, name=f"left_{name}", reset_less=True)
        self.last = Signal(name=f"last_{name}", reset_less=True)

    @property
    def penultimate(self) -> Value:
        """The next turn is the last."""
        return self._left == 1

    def load(self, m: Module, count: Value) -> None:
        """To the first of ``count + 1`` turns."""
        m.d.sync += [self._left.eq(count), self.last.eq(count == 0)]

    def step(self, m: Module) -> None:
        """To the next turn."""
        m.d.sync += [self._left.eq(self._left - 1), self.last.eq(self.penultimate)]
