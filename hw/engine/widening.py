"""Weights on their way from a word of the stream to the rows of the array, several to a word where they are narrow."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from ..isa.parameters import PACKINGS
from .delay import delayed


def form_layout(packing: int) -> data.StructLayout:
    """How a word that may carry ``packing`` rows is packed; no bits of one that may not.

    packing : log2 of the rows that it carries;  piece : which of them come now, if they are more than come at once
    """
    return data.StructLayout({"packing": range(packing.bit_length()), "piece": range(packing)})


class Widening:
    """Of words of C columns, what is written into the shadow registers of each part of the rows, column by column.

    Of each column a word has one weight, or containers of equal width, from the lowest bit on: of the rows that are
    written at once, then of those a cycle later.  A weight is sign-extended, or loses bits that it does not need.
    Where the rows are in parts, part p lags by p * R / parts cycles: see SystolicArray.

    Parameters: rows : int, R;  word_bits : int, of a column;  weight_bits : int, of the array
                packing : int, most rows in a word;  parts : int, of the rows
                weight_row : R bits, with the first column's word;  form : form_layout
    """

    def __init__(
        self,
        m: Module,
        *,
        rows: int,
        word_bits: int,
        weight_bits: int,
        packing: int,
        parts: int,
        weight_row: Value,
        form: Value,
    ) -> None:
        self._word, self._bits = word_bits, weight_bits
        self._packing, self._parts, self._lag = packing, parts, rows // parts
        self._layout = form_layout(packing)
        self._forms, self._rows = [form], [weight_row]
        if packing > 1:
            lags = [part * self._lag for part in range(parts)]
            own = [weight_row[lag : lag + self._lag] for lag in lags]
            self._forms = [delayed(m, form, lag, name=f"form_0_{part}") for part, lag in enumerate(lags)]
            self._rows = [
                delayed(m, rows, lag + 1, name=f"weight_row_0_{part}", init=0)
                for part, (rows, lag) in enumerate(zip(own, lags, strict=True))
            ]

    @staticmethod
    def latency(packing: int) -> int:
        """Cycles from a word to the first part's weight."""
        return int(packing > 1)

    @property
    def weight_row(self) -> Value:
        """R bits: the rows of the column at hand that are written."""
        return Cat(self._rows) if len(self._rows) > 1 else self._rows[0]

    def move(self, m: Module, columns: int, to: int) -> None:
        """So many columns further, as many cycles later, to the one called ``to``."""
        names = [f"{to}" if self._packing == 1 else f"{to}_{part}" for part in range(self._parts)]
        if self._packing > 1:
            self._forms = [delayed(m, f, columns, name=f"form_{n}") for f, n in zip(self._forms, names, strict=True)]
        self._rows = [
            delayed(m, r, columns, name=f"weight_row_{n}", init=0) for r, n in zip(self._rows, names, strict=True)
        ]

    def weights(self, m: Module, word: Value, column: int) -> list[Value]:
        """Of each part, the weight of one column, of whose words ``word`` has the bits."""
        if self._packing == 1:
            return [word]
        widened = []
        for part, form in enumerate(self._forms):
            word = delayed(m, word, self._lag if part else 0, name=f"lag_{part}_{column}")
            widened.append(self._widened(m, word, form, part, f"wide_{part}_{column}"))
        return widened

    def _widened(self, m: Module, word: Value, form: Value, part: int, name: str) -> Signal:
        """A cycle later."""
        wide = Signal(signed(self._bits), name=name, reset_less=True)
        view = data.View(self._layout, form)
        with m.Switch(view.packing):
            for code, rows in enumerate(n for n in PACKINGS if n <= self._packing):
                pieces = [self._container(rows, piece, part) for piece in range(max(1, rows // self._parts))]
                weight = _chosen([word[at : at + width] for at, width in pieces], view.piece)
                with m.Case(code) if rows < self._packing else m.Default():
                    m.d.sync += wide.eq(weight.as_signed())
        return wide

    def _container(self, rows: int, piece: int, part: int) -> tuple[int, int]:
        """First bit and width of the weight of ``part`` in a word of ``rows`` rows, in its ``piece``."""
        together, width = min(rows, self._parts), self._word // rows
        return (piece * together + part * together // self._parts) * width, width


def _chosen(values: list[Value], index: Value) -> Value:
    """``values[index]``, a power of two of them; the index's bits beyond do not count."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return Mux(index[half.bit_length() - 1], _chosen(values[half:], index), _chosen(values[:half], index))
