"""Walks the array's instruction: which window enters in each cycle, and where its sums go."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import PASSES
from ..isa.ranges import check_range
from .accumulators import control_layout
from .countdown import Countdown
from .delay import delayed
from .tokens import TOKEN_PORT


def window_layout(activation_bits: int, address_bits: int) -> data.StructLayout:
    """R consecutive elements from ``row + column`` on; those outside ``0 <= column < row_elements`` are padding."""
    return data.StructLayout(
        {
            "row": address_bits,
            "column": signed(24),
            "inside": 1,
            "row_elements": 24,
            "padding": signed(activation_bits),
        }
    )


class Sequencer(wiring.Component):
    """Runs instructions: for channel tile, kernel row, kernel column, chunk: one *pass* over all output positions.

    A pass starts when its weights are ``loaded``: ``swap`` is given one cycle before its first window, at best together
    with the last window of the pass before, so that passes follow each other without a bubble.  A channel
    tile's first pass also waits for a free half of the accumulators.  Waiting is the only flow control.
    From one ``swap`` to ``loaded`` for the next pass at least ACCUMULATOR_HAZARD cycles.
    One idle cycle lies between one instruction's last window and the next one's first.

    Parameters: rows : int, R;  activation_bits : int;  accumulator_depth : int, vectors in each half
                address_bits : int, of the activation memory
    Members:    instructions : In(stream), PASSES
                tokens : Out(TOKEN_PORT)
                loaded : In;  swap : Out
                half_free : In, pulse: the vector unit has emptied a half
                window : Out, see window_layout;  control : Out, ``valid`` when the window counts
                tile_last : Out, with the last window of a channel tile whose sums are then complete
                idle : Out, no instruction in work
                waiting : Out, for the instruction's tokens, for weights, for a free half
    """

    def __init__(self, *, rows: int, activation_bits: int, accumulator_depth: int, address_bits: int) -> None:
        check_range("rows", rows, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("accumulator depth", accumulator_depth, 4, 1 << 24)
        check_range("address bits", address_bits, 1, 24)
        self._rows, self._accumulator_depth, self._address_bits = rows, accumulator_depth, address_bits
        super().__init__(
            {
                "instructions": In(stream.Signature(PASSES)),
                "tokens": Out(TOKEN_PORT),
                "loaded": In(1),
                "swap": Out(1),
                "half_free": In(1),
                "window": Out(window_layout(activation_bits, address_bits)),
                "control": Out(control_layout(accumulator_depth)),
                "tile_last": Out(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "weights": 1, "half": 1})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tokens = self.tokens
        new = self.instructions.payload
        i = Signal(PASSES, reset_less=True)
        place = _Place(self._rows, self._address_bits)
        left = place.left

        active = Signal()
        running = Signal()
        tile_begins = Signal()  # the next pass to start is the first of a channel tile
        initial = Signal()  # the pass in work begins its sums
        half = Signal()
        free_halves, half_there = Signal(2, init=2), Signal(init=1)
        position = Signal(range(self._accumulator_depth))

        begin, start, pass_ends, tile_ends, finish = (
            Signal(name=n) for n in ("begin", "start", "pass_ends", "tile_ends", "finish")
        )
        # passes begin ACCUMULATOR_HAZARD cycles apart, so what a pass is may be looked at a cycle late
        last_pass = Signal(reset_less=True)  # the pass in work is its tile's last
        m.d.sync += last_pass.eq(left["chunks"].last & left["kernel_columns"].last & left["kernel_rows"].last)
        needs_half = tile_begins & i.first
        m.d.comb += [
            pass_ends.eq(running & place.pass_last),
            tile_ends.eq(pass_ends & last_pass),
            finish.eq(tile_ends & left["tiles"].last),
            begin.eq(self.instructions.valid & tokens.ready & (~active | finish)),
        ]

        # at a pass's last window, whether the next one begins a tile is not in the register yet
        next_needs_half = Mux(running, last_pass & i.first, needs_half)
        may_start = self.loaded & (half_there | ~next_needs_half)
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
        taken = start & next_needs_half
        with m.If(self.half_free ^ taken):
            m.d.sync += [
                free_halves.eq(free_halves + Mux(taken, -1, 1)),
                half_there.eq(self.half_free | free_halves[1]),
            ]

        with m.If(running):
            place.next_window(m, i)
        with m.If(begin):
            m.d.sync += [i.eq(new), active.eq(1), tile_begins.eq(1)]
            place.begin(m, new)

        # the half that control names belongs to the pass in work
        m.d.comb += [
            self.instructions.ready.eq(tokens.ready & (~active | finish)),
            tokens.wait.eq(new.wait),
            tokens.take.eq(begin),
            tokens.give.eq(finish),
            tokens.give_to.eq(i.post),
            self.swap.eq(start),
            self.window.row.eq(place.row),
            self.window.column.eq(place.column),
            self.window.inside.eq((place.line >= 0) & (place.line < i.lines)),
            self.window.row_elements.eq(i.row_elements),
            self.window.padding.eq(i.padding),
            self.control.valid.eq(running),
            self.control.first.eq(initial),
            self.control.half.eq(half),
            self.control.address.eq(position),
            self.tile_last.eq(tile_ends & i.last),
            self.idle.eq(~active),
            self.waiting.tokens.eq(~active & self.instructions.valid & ~tokens.ready),
            self.waiting.weights.eq(active & ~running & ~self.loaded),
            self.waiting.half.eq(active & ~running & self.loaded & ~may_start),
        ]
        return m


class _Place:
    """Registers that say where the next window is, and how they move on.

    Of each coordinate, one register follows the windows, the others keep where an outer loop began; so nothing is
    multiplied.
    """

    LOOPS = ("tiles", "kernel_rows", "kernel_columns", "chunks", "rows", "columns")

    def __init__(self, rows: int, address_bits: int) -> None:
        self._chunk = rows
        self.left = {n: Countdown(PASSES[n].width, name=n) for n in self.LOOPS}
        self.pass_last = Signal(reset_less=True)
        self._columns = [Signal(24, name=f"column_{n}", reset_less=True) for n in ("tile", "kernel", "chunk", "now")]
        self._rows = [Signal(address_bits, name=f"row_{n}", reset_less=True) for n in ("kernel", "now")]
        self._lines = [Signal(signed(17), name=f"line_{n}", reset_less=True) for n in ("kernel", "now")]
        self.column, self.row, self.line = self._columns[-1], self._rows[-1], self._lines[-1]

    def begin(self, m: Module, new: data.View) -> None:
        """To an instruction's first window."""
        for n in self.LOOPS:
            self.left[n].load(m, new[n])
        m.d.sync += self.pass_last.eq((new.rows == 0) & (new.columns == 0))
        m.d.sync += [c.eq(new.column) for c in self._columns]
        m.d.sync += [r.eq(new.row) for r in self._rows]
        m.d.sync += [y.eq(new.line.as_signed()) for y in self._lines]

    def next_window(self, m: Module, i: data.View) -> None:
        """To the next output column, then output row, then pass."""
        left = self.left
        with m.If(~left["columns"].last):
            left["columns"].step(m)
            m.d.sync += self.pass_last.eq(left["columns"].penultimate & left["rows"].last)
            m.d.sync += [self.column.eq(self.column + i.column_step)]
        with m.Else():
            column_chunk, row_kernel, line_kernel = self._columns[2], self._rows[0], self._lines[0]
            left["columns"].load(m, i.columns)
            m.d.sync += self.column.eq(column_chunk)
            with m.If(~left["rows"].last):
                left["rows"].step(m)
                m.d.sync += [
                    self.pass_last.eq((i.columns == 0) & left["rows"].penultimate),
                    self.row.eq(self.row + i.row_step),
                    self.line.eq(self.line + i.line_step),
                ]
            with m.Else():
                left["rows"].load(m, i.rows)
                m.d.sync += self.pass_last.eq((i.columns == 0) & (i.rows == 0))
                m.d.sync += [self.row.eq(row_kernel), self.line.eq(line_kernel)]
                self._next_pass(m, i)

    def _next_pass(self, m: Module, i: data.View) -> None:
        """To the next chunk, then kernel column, then kernel row, then channel tile."""
        left = self.left
        column_tile, column_kernel, column_chunk, column = self._columns
        with m.If(~left["chunks"].last):
            following = column_chunk + self._chunk
            left["chunks"].step(m)
            m.d.sync += [c.eq(following) for c in (column_chunk, column)]
        with m.Else():
            left["chunks"].load(m, i.chunks)
            with m.If(~left["kernel_columns"].last):
                following = column_kernel + i.kernel_column_step
                left["kernel_columns"].step(m)
                m.d.sync += [c.eq(following) for c in (column_kernel, column_chunk, column)]
            with m.Else():
                left["kernel_columns"].load(m, i.kernel_columns)
                with m.If(~left["kernel_rows"].last):
                    row_kernel, line_kernel = self._rows[0], self._lines[0]
                    left["kernel_rows"].step(m)
                    m.d.sync += [c.eq(column_tile) for c in (column_kernel, column_chunk, column)]
                    m.d.sync += [r.eq(row_kernel + i.kernel_row_step) for r in self._rows]
                    m.d.sync += [y.eq(line_kernel + i.kernel_line_step) for y in self._lines]
                with m.Else():
                    left["kernel_rows"].load(m, i.kernel_rows)
                    left["tiles"].step(m)
                    m.d.sync += [c.eq(column_tile + i.tile_step) for c in self._columns]
                    m.d.sync += [r.eq(i.row) for r in self._rows]
                    m.d.sync += [y.eq(i.line.as_signed()) for y in self._lines]


class Window(wiring.Component):
    """From coordinates to the activation memory's window port: one address, and the two ends of what is not padding.

    Parameters: rows : int, R;  activation_bits : int;  address_bits : int, of the activation memory
    Members:    window : In, see window_layout;  address, low, high, padding : Out, LATENCY cycles later
    """

    LATENCY = 2

    def __init__(self, *, rows: int, activation_bits: int, address_bits: int) -> None:
        check_range("rows", rows, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("address bits", address_bits, 1, 24)
        self._rows, self._address_bits = rows, address_bits
        super().__init__(
            {
                "window": In(window_layout(activation_bits, address_bits)),
                "address": Out(address_bits),
                "low": Out(range(rows + 1)),
                "high": Out(range(rows + 1)),
                "padding": Out(signed(activation_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        rows = self._rows
        m = Module()
        window = self.window
        address = Signal(self._address_bits, reset_less=True)
        before = Signal(signed(25), reset_less=True)
        after = Signal(signed(26), reset_less=True)
        m.d.sync += [
            address.eq(window.row + window.column),
            before.eq(-window.column),
            after.eq(Mux(window.inside, window.row_elements - window.column, 0)),
        ]

        def clamped(value):
            return Mux(value < 0, 0, Mux(value > rows, rows, value[: rows.bit_length()]))

        low = Signal(range(rows + 1), reset_less=True)
        high = Signal(range(rows + 1), reset_less=True)
        m.d.sync += [low.eq(clamped(before)), high.eq(clamped(after))]
        m.d.comb += [
            self.address.eq(delayed(m, address, 1, name="address")),
            self.low.eq(low),
            self.high.eq(high),
            self.padding.eq(delayed(m, window.padding, 2, name="padding")),
        ]
        return m
