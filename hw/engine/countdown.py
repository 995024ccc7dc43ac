"""Loop counts that say a cycle ahead that they are at their last."""

from amaranth import Module, Mux, Signal, Value


class Countdown:
    """Counts a loop's remaining turns; ``last`` is a register, so that no zero test stands in a path behind it.

    Parameters: width : int, bits of the count, which is the turns less one;  name : str, of the registers
    """

    def __init__(self, width: int, *, name: str) -> None:
        self.left = Signal(width, name=f"left_{name}", reset_less=True)
        self.last = Signal(name=f"last_{name}", reset_less=True)

    @property
    def penultimate(self) -> Value:
        """The next turn is the last."""
        return self.left == 1

    def load(self, m: Module, count: Value) -> None:
        """To the first of ``count + 1`` turns."""
        m.d.sync += [self.left.eq(count), self.last.eq(count == 0)]

    def step(self, m: Module) -> None:
        """To the next turn."""
        m.d.sync += [self.left.eq(self.left - 1), self.last.eq(self.penultimate)]


class Raster:
    """Counts of two nested loops, columns within rows; ``last``, the last column of the last row, is a register too.

    Parameters: rows, columns : int, bits of the counts;  name : str, of the registers
    """

    def __init__(self, rows: int, columns: int, *, name: str) -> None:
        self._rows, self._columns = Countdown(rows, name=f"{name}_rows"), Countdown(columns, name=f"{name}_columns")
        self._one_column = Signal(name=f"{name}_one_column", reset_less=True)
        self.last = Signal(name=f"last_{name}", reset_less=True)

    @property
    def row_last(self) -> Value:
        """The column is its row's last."""
        return self._columns.last

    def follows(self, tail: Value) -> Value:
        """Behind the column there are ``tail`` in its row."""
        return self._columns.left == tail

    @property
    def last_follows(self) -> Value:
        """The next column is the last of all."""
        rows, columns = self._rows, self._columns
        return Mux(columns.last, self._one_column & rows.penultimate, columns.penultimate & rows.last)

    def load(self, m: Module, rows: Value, columns: Value) -> None:
        """To the first of ``(rows + 1) * (columns + 1)``."""
        self._rows.load(m, rows)
        self._columns.load(m, columns)
        m.d.sync += [self._one_column.eq(columns == 0), self.last.eq((rows == 0) & (columns == 0))]

    def step(self, m: Module, columns: Value) -> None:
        """To the next column, or to the next row of ``columns + 1``."""
        m.d.sync += self.last.eq(self.last_follows)
        with m.If(self.row_last):
            self._columns.load(m, columns)
            self._rows.step(m)
        with m.Else():
            self._columns.step(m)
