"""Totals of windows that slide along a row: what a running total was before the window is taken off it."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.parameters import MOST_SLIDING
from ..isa.program import SLIDING_SETTINGS
from ..isa.ranges import check_range
from .memory_attributes import COLLISIONS_NEVER_COUNT


class Sliding(wiring.Component):
    """``windows = running - running before the window``, so that each column of a map is added once.

    ``running`` never begins anew, not with a row either, and wraps; a difference of two that fits ``window_bits`` is
    exact all the same.  What it was at the end of each of the last ``window + 1`` columns lies in a memory; what it was
    before a channel tile's first column goes there too.  What was read stays until the next column ends, so that
    ``windows`` may be taken later.  It is never stalled.

    Parameters: columns : int, values in a vector;  sum_bits : int, of each;  depth : int, columns of the widest window
                window_bits : int, of its total, two's complement
    Members:    running : In, (C,) sums;  windows : Out, (C,) sums: ``running`` itself unless ``slides``
                begins : In, ``running`` takes a channel tile's first vector;  ends : In, it takes a column's last
                slides, window : In, of the settings: window columns, less one, at least 1
    Source:     Hogenauer 1981, An economical class of digital filters for decimation and interpolation
    """

    def __init__(self, *, columns: int, sum_bits: int, window_bits: int, depth: int) -> None:
        check_range("columns", columns, 1, 128)
        check_range("sum bits", sum_bits, 8, 32)
        check_range("window bits", window_bits, 2, sum_bits)
        check_range("depth", depth, 2, MOST_SLIDING)
        self._columns, self._sum_bits, self._window_bits, self._depth = columns, sum_bits, window_bits, depth
        sums = data.ArrayLayout(signed(sum_bits), columns)
        super().__init__(
            {
                "running": In(sums),
                "windows": Out(sums),
                "begins": In(1),
                "ends": In(1),
                "slides": In(1),
                "window": In(SLIDING_SETTINGS["window_columns"].shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._window_bits
        m.submodules.memory = memory = Memory(
            shape=data.ArrayLayout(bits, self._columns), depth=self._depth, init=[], attrs=COLLISIONS_NEVER_COUNT
        )
        writer, reader = memory.write_port(), memory.read_port(domain="comb")
        # the first place has what was before the first column, and is the last to be used again
        place, behind = (Signal(range(self._depth), name=n, reset_less=True) for n in ("place", "behind"))
        column, ended = Signal.like(place, name="column"), Signal()
        following = Mux(column == self.window[: len(column)], 0, column + 1)
        before = Signal(data.ArrayLayout(bits, self._columns), reset_less=True)
        m.d.comb += [
            column.eq(Mux(self.begins, 1, place)),
            reader.addr.eq(column),
            # a column's last vector is in ``running`` a cycle later, when another tile may begin that needs none of it
            writer.addr.eq(Mux(self.begins, 0, behind)),
            writer.en.eq(self.begins | ended),
        ]
        m.d.sync += [place.eq(Mux(self.ends, following, column)), behind.eq(column), ended.eq(self.ends)]
        with m.If(~self.slides):
            m.d.sync += before.eq(0)
        with m.Elif(self.ends):
            m.d.sync += before.eq(reader.data)
        for n in range(self._columns):
            low = (self.running[n][:bits] - before[n])[:bits]
            high = Mux(self.slides, low[-1].replicate(self._sum_bits - bits), self.running[n][bits:])
            m.d.comb += [writer.data[n].eq(self.running[n][:bits]), self.windows[n].eq(Cat(low, high))]
        return m
