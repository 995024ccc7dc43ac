"""The weight-stationary systolic array, R rows x C columns (Kung 1982; double-buffered weights as in TPUv1)."""

from amaranth import C, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range
from .cell import PORTABLE, Cell
from .delay import delayed


def array_latency(rows: int, cell: Cell) -> int:
    """Cycles from ``pixels`` to ``sums[0]``: a row each, and the last cell's own."""
    return rows - 1 + cell.latency


class SystolicArray(wiring.Component):
    """``sums[c] = sum over r of weights[r][c] * pixels[r]`` for each vector of pixels.

    Pixels travel right, sums travel down, one cell a cycle.  ``sums[c]`` is valid ``array_latency + c`` cycles after
    its pixels were presented: columns come out skewed, and the accumulators take them so.
    There is no flow control: a vector enters every cycle, wanted or not; the sequencer knows which count.

    Weights: while one tile is in use, the next is written row by row (``weight_row`` one-hot, row r no earlier
    than r cycles after ``swap``); ``swap`` makes it current for the pixels of the *next* cycle.  So tiles of at
    least R pixels follow each other without a bubble.  A row is broadcast down its column rather than shifted:
    the cell below the swap wave still uses its old weight, so a shift chain would cost 2R cycles a tile.

    Columns that share a multiplier see the pixels at once; those behind the first wait at the array's end.

    Parameters: rows, columns : int, R and C;  activation_bits, weight_bits, sum_bits : int, all signed;  cell : Cell
    Members:    pixels : In, (R,) signed; swap : In; weights : In, (C,) signed; weight_row : In, R bits
                sums : Out, (C,) signed, skewed by one cycle a column
    """

    def __init__(
        self,
        *,
        rows: int,
        columns: int,
        activation_bits: int,
        weight_bits: int,
        sum_bits: int,
        cell: Cell = PORTABLE,
    ) -> None:
        check_range("rows", rows, 1, 128)
        check_range("columns", columns, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("weight bits", weight_bits, 2, 16)
        check_range("sum bits", sum_bits, 8, 32)
        self._rows, self._columns, self._cell = rows, columns, cell
        self._weight, self._sum = signed(weight_bits), signed(sum_bits)
        super().__init__(
            {
                "pixels": In(data.ArrayLayout(signed(activation_bits), rows)),
                "swap": In(1),
                "weights": In(data.ArrayLayout(self._weight, columns)),
                "weight_row": In(rows),
                "sums": Out(data.ArrayLayout(self._sum, columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        rows, columns, shared = self._rows, self._columns, self._cell.columns
        m = Module()
        # swaps[d] reaches the cells of the anti-diagonal r + c = d together with the pixels
        swaps = [self.swap]
        for diagonal in range(1, rows + columns - 1):
            swaps.append(delayed(m, swaps[-1], 1, name=f"swap_{diagonal}", init=0))
        pixels = [delayed(m, self.pixels[r], r, name=f"skew_{r}") for r in range(rows)]
        weight_row = self.weight_row
        for c in range(0, columns, shared):
            together = range(c, min(c + shared, columns))
            weights = [delayed(m, self.weights[n], c, name=f"weight_skew_{n}") for n in together]
            if c:
                weight_row = delayed(m, weight_row, shared, name=f"weight_row_{c}", init=0)
            totals = [C(0, self._sum) for _ in together]
            for r in range(rows):
                currents = []
                for n, weight in zip(together, weights, strict=True):
                    shadow = Signal(self._weight, name=f"shadow_{r}_{n}", reset_less=True)
                    current = Signal(self._weight, name=f"weight_{r}_{n}", reset_less=True)
                    m.d.sync += [
                        shadow.eq(Mux(weight_row[r], weight, shadow)),
                        current.eq(Mux(swaps[r + c], shadow, current)),
                    ]
                    currents.append(current)
                totals = self._cell.multiply_add(m, f"{r}_{c}", pixels[r], currents, totals, self._sum)
                if c + shared < columns:
                    pixels[r] = delayed(m, pixels[r], shared, name=f"pixel_{r}_{c}")
            for n, total in zip(together, totals, strict=True):
                m.d.comb += self.sums[n].eq(delayed(m, total, n - c, name=f"late_{n}"))
        return m
