"""The weight-stationary systolic array, R rows x C columns (Kung 1982; double-buffered weights as in TPUv1)."""

from amaranth import C, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..isa.parameters import PACKINGS
from ..isa.ranges import check_choice, check_range
from .cell import PORTABLE, Cell
from .delay import delayed
from .widening import Widening, form_layout


def array_latency(rows: int, cell: Cell, lines: int = 0) -> int:
    """Cycles from ``pixels`` to ``sums[0]``: a row each, the last cell's own, and one to choose what a cell sees."""
    return (lines > 0) + rows - 1 + cell.latency + cell.finishing


class SystolicArray(wiring.Component):
    """``sums[c] = sum over r of weights[r][c] * pixels[r]`` for each vector of pixels.

    Pixels travel right, sums travel down, one cell a cycle.  ``sums[c]`` is valid ``array_latency + c`` cycles after
    its pixels were presented: columns come out skewed, and the accumulators take them so.
    There is no flow control: a vector enters every cycle, wanted or not; the sequencer knows which count.

    Weights: while one tile is in use, the next is written row by row (``weight_row`` one-hot, row r no earlier
    than r cycles after ``swap``); ``swap`` makes it current for the pixels of the *next* cycle.  So tiles of at
    least R pixels follow each other without a bubble.  A row is broadcast down its column rather than shifted:
    the cell below the swap wave still uses its old weight, so a shift chain would cost 2R cycles a tile.

    *Packed*, a word of ``weights`` has a row of wide weights or n rows of narrow ones, of which g = min(n, parts) are
    written at once: in cycle t of R / g, rows t + j * R / g, 0 <= j < g.  Wide weights are the case g = 1.  The rows
    are ``parts`` equal runs; part p has a bus of its own, p * R / parts cycles behind ``weight_row``.  So a row comes
    - never too soon: it is in one of the parts j * parts / g to (j + 1) * parts / g - 1, so it lags by j * R / g cycles
      at least, and cycle t is t cycles after the swap before it, at least;
    - never too late: the tile is whole R / g - t cycles after cycle t, at least, and a swap's wave comes to the row
      t + j * R / g cycles after that: that is (j + 1) * R / g after cycle t, and the lag is less.
    So tiles of R / g pixels follow each other without a bubble.  Weights come Widening.latency cycles ahead of pixels.

    Columns that share a multiplier see the pixels at once; those behind the first wait at the array's end.

    *Depthwise*, each column convolves a channel of its own: all cells of a column see the same pixel, channel c of the
    vector that enters, and as a sum goes down by a row a cycle, row r adds what enters r cycles after its vector (a
    transposed FIR filter).  The rows are ``lines`` times as many taps: those of the first line see ``pixels``, those of
    line k see ``buffered[k - 1]``.  With them, ``sums[c] = sum over r of weights[r][c] * line(r)[c], r cycles later``.

    Parameters: rows, columns : int, R and C;  activation_bits, weight_bits, sum_bits : int, all signed;  cell : Cell
                lines : int, 0 without depthwise columns
                word_bits : int, of a column in a word of weights, as ``weight_bits`` unless given
                packing : int, most rows in a word;  parts : int, of the rows, at most ``packing``
    Members:    pixels : In, (R,) signed; swap : In; weights : In, (C,) words; weight_row : In, R bits
                form : In, form_layout, with the weights
                depthwise : In, with the pixels;  buffered : In, (lines - 1, min(R, C)) signed
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
        lines: int = 0,
        word_bits: int | None = None,
        packing: int = 1,
        parts: int = 1,
    ) -> None:
        check_range("rows", rows, 1, 128)
        check_range("columns", columns, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("weight bits", weight_bits, 2, 16)
        check_range("sum bits", sum_bits, 8, 32)
        check_range("lines", lines, 0, rows)
        word_bits = word_bits or weight_bits
        check_range("word bits", word_bits, weight_bits, 32)
        check_choice("packing", packing, tuple(n for n in PACKINGS if rows % n == 0 and word_bits >= 2 * n))
        check_choice("parts", parts, tuple(n for n in PACKINGS if n <= packing))
        self._packing, self._parts = packing, parts
        self._rows, self._columns, self._cell, self._lines = rows, columns, cell, lines
        self._weight, self._sum = signed(weight_bits), signed(sum_bits)
        buffered = data.ArrayLayout(data.ArrayLayout(signed(activation_bits), min(rows, columns)), max(0, lines - 1))
        super().__init__(
            {
                "pixels": In(data.ArrayLayout(signed(activation_bits), rows)),
                "swap": In(1),
                "weights": In(data.ArrayLayout(signed(word_bits), columns)),
                "weight_row": In(rows),
                "form": In(form_layout(packing)),
                "depthwise": In(1),
                "buffered": In(buffered),
                "sums": Out(data.ArrayLayout(self._sum, columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        rows, columns, shared = self._rows, self._columns, self._cell.columns
        m = Module()
        chosen = int(self._lines > 0)  # cycles that it takes to choose
        # swaps[d] reaches the cells of the anti-diagonal r + c = d together with the pixels
        swaps = self._diagonals(m, delayed(m, self.swap, chosen, name="swap_0", init=0), "swap")
        modes = self._diagonals(m, self.depthwise, "depthwise") if chosen else []
        pixels = [delayed(m, self.pixels[r], r, name=f"skew_{r}") for r in range(rows)]
        lines = [list(pixels), *self._buffered(m)]
        loads = Widening(
            m,
            rows=rows,
            word_bits=self.weights.shape().elem_shape.width,
            weight_bits=self._weight.width,
            packing=self._packing,
            parts=self._parts,
            weight_row=delayed(m, self.weight_row, chosen, name="weight_row_0", init=0),
            form=delayed(m, self.form.as_value(), chosen, name="form_0"),
        )
        for c in range(0, columns, shared):
            together = range(c, min(c + shared, columns))
            words = [delayed(m, self.weights[n], c + chosen, name=f"weight_skew_{n}") for n in together]
            if c:
                loads.move(m, shared, c)
            arriving = [loads.weights(m, word, n) for n, word in zip(together, words, strict=True)]
            parts = [
                self._cell.prepare(m, f"{c}_{part}" if part else f"{c}", list(those))
                for part, those in enumerate(zip(*arriving, strict=True))
            ]
            weights = list(zip(*parts, strict=True))
            totals: list[Value] = [C(0, self._sum) for _ in together]
            for r in range(rows):
                currents = []
                for n, weight in zip(together, weights, strict=True):
                    shadow = Signal(self._weight, name=f"shadow_{r}_{n}", reset_less=True)
                    current = Signal(self._weight, name=f"weight_{r}_{n}", reset_less=True)
                    m.d.sync += [
                        shadow.eq(Mux(loads.weight_row[r], weight[r * self._parts // rows], shadow)),
                        current.eq(Mux(swaps[r + c], shadow, current)),
                    ]
                    currents.append(current)
                pixel = pixels[r]
                if chosen:
                    line = r // (rows // self._lines)
                    own = lines[line][c] if line < self._lines and c < rows else pixel
                    pixel = delayed(m, Mux(modes[r + c], own, pixel), 1, name=f"seen_{r}_{c}")
                totals = self._cell.multiply_add(m, f"{r}_{c}", pixel, currents, totals, self._sum)
                if c + shared < columns:
                    pixels[r] = delayed(m, pixel, shared - chosen, name=f"pixel_{r}_{c}")
            if self._cell.finish:
                totals = self._cell.finish(m, f"{c}", totals, self._sum)
            for n, total in zip(together, totals, strict=True):
                m.d.comb += self.sums[n].eq(delayed(m, total, n - c, name=f"late_{n}"))
        return m

    def _diagonals(self, m: Module, value: Value, name: str) -> list[Value]:
        """``value`` as each anti-diagonal of cells sees it, a cycle after the one before."""
        values = [value]
        for diagonal in range(1, self._rows + self._columns - 1):
            values.append(delayed(m, values[-1], 1, name=f"{name}_{diagonal}", init=0))
        return values

    def _buffered(self, m: Module) -> list[list[Value]]:
        """Of each line behind the first, the channels, skewed as the columns are."""
        channels = range(min(self._rows, self._columns))
        return [
            [delayed(m, self.buffered[n][c], c, name=f"line_{n}_skew_{c}") for c in channels]
            for n in range(self._lines - 1)
        ]
