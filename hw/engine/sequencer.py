"""Walks the array's instruction: which window enters in each cycle, and where its sums go."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import PASSES
from .accumulators import control_layout
from .delay import delayed


def window_layout(parameters):
    """R consecutive elements from ``row + column`` on; those outside ``0 <= column < row_elements`` are padding."""
    return data.StructLayout(
        {
            "row": 24,
            "column": signed(24),
            "inside": 1,
            "row_elements": 24,
            "padding": signed(parameters.activation_bits),
        }
    )


class Sequencer(wiring.Component):
    """Runs instructions: for channel tile, kernel row, kernel column, chunk: one *pass* over all output positions.

    A pass starts when its weights are ``loaded``: ``swap`` is given one cycle before its first window, at best together
    with the last window of the pass before, so that passes follow each other without a bubble.  A channel
    tile's first pass also waits for a free half of the accumulators.  Waiting is the only flow control.
    One idle cycle lies between one instruction's last window and the next one's first.

    Members: instructions : In(stream), PASSES
             tokens : In, all that the instruction's ``wait`` asks for are there;  take, give : Out, pulses
             loaded : In;  swap : Out
             half_free : In, pulse: the vector unit has emptied a half
             window : Out, see window_layout;  control : Out, ``valid`` when the window counts
             tile_last : Out, with the last window of a channel tile whose sums are then complete
             idle : Out, no instruction in work
             waiting : Out, for the instruction's tokens, for weights, for a free half
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "instructions": In(stream.Signature(PASSES)),
                "tokens": In(1),
                "take": Out(1),
                "give": Out(1),
                "give_to": Out(4),
                "loaded": In(1),
                "swap": Out(1),
                "half_free": In(1),
                "window": Out(window_layout(p)),
                "control": Out(control_layout(p)),
                "tile_last": Out(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "weights": 1, "half": 1})),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        new = self.instructions.payload
        i = Signal(PASSES, reset_less=True)

        active = Signal()
        running = Signal()
        tile_begins = Signal()  # the next pass to start is the first of a channel tile
        initial = Signal()  # the pass in work begins its sums
        half = Signal()
        free_halves = Signal(2, init=2)
        position = Signal(range(max(2, p.accumulator_depth)))

        loops = ("tiles", "kernel_rows", "kernel_columns", "chunks", "rows", "columns")
        left = {n: Signal(PASSES[n].width, name=f"left_{n}", reset_less=True) for n in loops}
        column_tile, column_kernel, column_chunk, column = (
            Signal(24, name=f"column_{n}", reset_less=True) for n in ("tile", "kernel", "chunk", "now")
        )
        row_kernel, row = (Signal(24, name=f"row_{n}", reset_less=True) for n in ("kernel", "now"))
        line_kernel, line = (Signal(signed(17), name=f"line_{n}", reset_less=True) for n in ("kernel", "now"))

        begin, start, pass_ends, tile_ends, finish = (
            Signal(name=n) for n in ("begin", "start", "pass_ends", "tile_ends", "finish")
        )
        needs_half = tile_begins & i.first
        m.d.comb += [
            pass_ends.eq(running & (left["rows"] == 0) & (left["columns"] == 0)),
            tile_ends.eq(
                pass_ends & (left["chunks"] == 0) & (left["kernel_columns"] == 0) & (left["kernel_rows"] == 0)
            ),
            finish.eq(tile_ends & (left["tiles"] == 0)),
            begin.eq(self.instructions.valid & self.tokens & (~active | finish)),
        ]

        # at a pass's last window, whether the next one begins a tile is not in the register yet
        next_needs_half = Mux(pass_ends, tile_ends & i.first, needs_half)
        may_start = self.loaded & ((free_halves != 0) | ~next_needs_half)
        m.d.comb += start.eq(active & (~running | (pass_ends & ~finish)) & may_start)

        with m.If(pass_ends):
            m.d.sync += [running.eq(0), position.eq(0), initial.eq(0)]
        with m.Elif(running):
            m.d.sync += position.eq(position + 1)
        with m.If(tile_ends):
            m.d.sync += [tile_begins.eq(1), half.eq(half ^ i.last)]
        with m.If(finish):
            m.d.sync += active.eq(0)
        with m.If(start):
            m.d.sync += [running.eq(1), tile_begins.eq(0)]
            with m.If(Mux(pass_ends, tile_ends, tile_begins)):
                m.d.sync += initial.eq(i.first)
        m.d.sync += free_halves.eq(free_halves + self.half_free - (start & next_needs_half))

        # where the next window is
        with m.If(running):
            with m.If(left["columns"] != 0):
                m.d.sync += [left["columns"].eq(left["columns"] - 1), column.eq(column + i.column_step)]
            with m.Else():
                m.d.sync += [left["columns"].eq(i.columns), column.eq(column_chunk)]
                with m.If(left["rows"] != 0):
                    m.d.sync += [
                        left["rows"].eq(left["rows"] - 1),
                        row.eq(row + i.row_step),
                        line.eq(line + i.line_step),
                    ]
                with m.Else():
                    m.d.sync += [left["rows"].eq(i.rows), row.eq(row_kernel), line.eq(line_kernel)]
                    self._next_pass(
                        m,
                        i,
                        left,
                        (column_tile, column_kernel, column_chunk, column),
                        (row_kernel, row),
                        (line_kernel, line),
                    )
        with m.If(begin):
            m.d.sync += [i.eq(new), active.eq(1), tile_begins.eq(1)]
            m.d.sync += [left[n].eq(new[n]) for n in loops]
            m.d.sync += [c.eq(new.column) for c in (column_tile, column_kernel, column_chunk, column)]
            m.d.sync += [r.eq(new.row) for r in (row_kernel, row)]
            m.d.sync += [y.eq(new.line.as_signed()) for y in (line_kernel, line)]

        # the half that control names belongs to the pass in work
        m.d.comb += [
            self.instructions.ready.eq(self.tokens & (~active | finish)),
            self.take.eq(begin),
            self.give.eq(finish),
            self.give_to.eq(i.post),
            self.swap.eq(start),
            self.window.row.eq(row),
            self.window.column.eq(column),
            self.window.inside.eq((line >= 0) & (line < i.lines)),
            self.window.row_elements.eq(i.row_elements),
            self.window.padding.eq(i.padding),
            self.control.valid.eq(running),
            self.control.first.eq(initial),
            self.control.half.eq(half),
            self.control.address.eq(position),
            self.tile_last.eq(tile_ends & i.last),
            self.idle.eq(~active),
            self.waiting.tokens.eq(~active & self.instructions.valid & ~self.tokens),
            self.waiting.weights.eq(active & ~running & ~self.loaded),
            self.waiting.half.eq(active & ~running & self.loaded & ~may_start),
        ]
        return m

    def _next_pass(self, m, i, left, columns, rows, lines):
        """Step from the end of a pass: chunk, then kernel column, then kernel row, then channel tile."""
        p = self._parameters
        column_tile, column_kernel, column_chunk, column = columns
        (row_kernel, row), (line_kernel, line) = rows, lines
        with m.If(left["chunks"] != 0):
            following = column_chunk + p.rows
            m.d.sync += [left["chunks"].eq(left["chunks"] - 1)]
            m.d.sync += [c.eq(following) for c in (column_chunk, column)]
        with m.Else():
            m.d.sync += left["chunks"].eq(i.chunks)
            with m.If(left["kernel_columns"] != 0):
                following = column_kernel + i.kernel_column_step
                m.d.sync += [left["kernel_columns"].eq(left["kernel_columns"] - 1)]
                m.d.sync += [c.eq(following) for c in (column_kernel, column_chunk, column)]
            with m.Else():
                m.d.sync += left["kernel_columns"].eq(i.kernel_columns)
                with m.If(left["kernel_rows"] != 0):
                    m.d.sync += left["kernel_rows"].eq(left["kernel_rows"] - 1)
                    m.d.sync += [c.eq(column_tile) for c in (column_kernel, column_chunk, column)]
                    m.d.sync += [r.eq(row_kernel + i.kernel_row_step) for r in (row_kernel, row)]
                    m.d.sync += [y.eq(line_kernel + i.kernel_line_step) for y in (line_kernel, line)]
                with m.Else():
                    m.d.sync += [left["kernel_rows"].eq(i.kernel_rows), left["tiles"].eq(left["tiles"] - 1)]
                    m.d.sync += [c.eq(column_tile + i.tile_step) for c in columns]
                    m.d.sync += [r.eq(i.row) for r in rows]
                    m.d.sync += [y.eq(i.line.as_signed()) for y in lines]


class Window(wiring.Component):
    """From coordinates to the activation memory's window port: one address, and the two ends of what is not padding.

    Members: window : In, see window_layout;  address, low, high, padding : Out, LATENCY cycles later
    """

    LATENCY = 2

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "window": In(window_layout(p)),
                "address": Out(p.address_bits),
                "low": Out(range(p.rows + 1)),
                "high": Out(range(p.rows + 1)),
                "padding": Out(signed(p.activation_bits)),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        window = self.window
        address = Signal(p.address_bits, reset_less=True)
        before = Signal(signed(25), reset_less=True)
        after = Signal(signed(26), reset_less=True)
        m.d.sync += [
            address.eq(window.row + window.column),
            before.eq(-window.column),
            after.eq(Mux(window.inside, window.row_elements - window.column, 0)),
        ]

        def clamped(value):
            return Mux(value < 0, 0, Mux(value > p.rows, p.rows, value[: p.rows.bit_length()]))

        low = Signal(range(p.rows + 1), reset_less=True)
        high = Signal(range(p.rows + 1), reset_less=True)
        m.d.sync += [low.eq(clamped(before)), high.eq(clamped(after))]
        m.d.comb += [
            self.address.eq(delayed(m, address, 1, name="address")),
            self.low.eq(low),
            self.high.eq(high),
            self.padding.eq(delayed(m, window.padding, 2, name="padding")),
        ]
        return m
