"""Walks the array's instruction: which window enters in each cycle, and where its sums go."""

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import PASSES
from ..isa.ranges import check_range
from .accumulators import control_layout
from .countdown import Countdown, Raster
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
    One idle cycle lies between one instruction's last window and the next one's first.  A freed half counts two cycles
    later.
    Not every window gives a result: in a depthwise pass some only bring pixels.

    Parameters: rows : int, R;  activation_bits : int;  accumulator_depth : int, vectors in each half
                address_bits : int, of the activation memory;  line_buffer : int, pixels in a line, 0 without
    Members:    instructions : In(stream), PASSES
                tokens : Out(TOKEN_PORT)
                loaded : In;  held : Out, a register: ``swap`` is not given though it is ``loaded``;  swap : Out
                half_free : In, pulse: the vector unit has emptied a half
                window : Out, see window_layout;  control : Out, ``valid`` when the window gives a result
                depthwise, delay : Out, of the pass, from its first window on, see PASSES
                tile_last : Out, with the last window of a channel tile whose sums are then complete
                idle : Out, no instruction in work
                waiting : Out, for the instruction's tokens, for weights, for a free half
    """

    def __init__(
        self, *, rows: int, activation_bits: int, accumulator_depth: int, address_bits: int, line_buffer: int = 0
    ) -> None:
        check_range("rows", rows, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("accumulator depth", accumulator_depth, 4, 1 << 24)
        check_range("address bits", address_bits, 1, 24)
        self._rows, self._accumulator_depth, self._address_bits = rows, accumulator_depth, address_bits
        self._line_buffer = line_buffer
        super().__init__(
            {
                "instructions": In(stream.Signature(PASSES)),
                "tokens": Out(TOKEN_PORT),
                "loaded": In(1),
                "held": Out(1, init=1),
                "swap": Out(1),
                "half_free": In(1),
                "window": Out(window_layout(activation_bits, address_bits)),
                "control": Out(control_layout(accumulator_depth)),
                "depthwise": Out(1),
                "delay": Out(range(max(line_buffer, 1))),
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
        passes = _Passes(self._rows, self._address_bits)
        windows = _Windows(self._address_bits)

        active, running = Signal(), Signal()
        vacant = Signal(init=1)  # not active, or at the instruction's last window
        occupied = Signal()  # ~vacant, apart from it: one goes to the queue and all of ``i``, one stays here
        spent = Signal(init=1)  # no pass is left to start
        closes, final = Signal(reset_less=True), Signal(reset_less=True)  # the pass in work ends its tile, all tiles
        initial = Signal()  # it begins its sums
        half = Signal()
        free_halves, half_there = Signal(2, init=2), Signal(init=1)
        position = Signal(range(self._accumulator_depth))

        begin, start, pass_ends, tile_ends, finish = (
            Signal(name=n) for n in ("begin", "start", "pass_ends", "tile_ends", "finish")
        )
        m.d.comb += [
            pass_ends.eq(running & windows.left.last),
            tile_ends.eq(pass_ends & closes),
            finish.eq(pass_ends & final),
            begin.eq(self.instructions.valid & tokens.ready & ~occupied),
        ]

        # whether a pass may start is known a cycle ahead, but for its weights: so a start is two registers' doing.
        # What the next pass is changes a cycle after a start, while ``loaded`` is down.
        # ``held`` is ~may_start, apart from it: one goes to the array, one to the weights
        may_start = Signal()
        needs_half = passes.opens & i.first
        free = ~running | ((windows.left.last | windows.left.last_follows) & ~final)
        starts = active & ~start & free & (half_there | ~needs_half)
        m.d.sync += [may_start.eq(starts), self.held.eq(~starts)]
        m.d.comb += start.eq(may_start & self.loaded)
        with m.If(finish):
            m.d.sync += active.eq(0)
        with m.If(begin):
            starts = half_there | ~new.first
            m.d.sync += [active.eq(1), may_start.eq(starts), self.held.eq(~starts), spent.eq(0)]
            m.d.sync += [vacant.eq(0), occupied.eq(1)]

        finishes = passes.last & passes.left["tiles"].last
        with m.If(start):
            m.d.sync += [running.eq(1), position.eq(0), initial.eq(needs_half)]
            m.d.sync += [
                closes.eq(passes.last),
                final.eq(finishes),
                spent.eq(finishes),
            ]
            leaves = finishes & (i.rows == 0) & (i.columns == 0)
            m.d.sync += [vacant.eq(leaves), occupied.eq(~leaves)]
        with m.Elif(running):
            m.d.sync += [running.eq(~windows.left.last), position.eq(position + windows.counts)]
            with m.If(final & ~begin):
                leaves = windows.left.last | windows.left.last_follows
                m.d.sync += [vacant.eq(leaves), occupied.eq(~leaves)]
        with m.If(tile_ends):
            m.d.sync += half.eq(half ^ i.last)
        taken = start & needs_half
        with m.If(self.half_free ^ taken):
            m.d.sync += [
                free_halves.eq(free_halves + Mux(taken, -1, 1)),
                half_there.eq(self.half_free | free_halves[1]),
            ]

        with m.If(start):
            windows.begin(m, passes, i)
        with m.Elif(running):
            windows.step(m, i)
        if self._line_buffer:
            with m.If(start):
                m.d.sync += [self.depthwise.eq(i.depthwise), self.delay.eq(i.delay)]
        passes.step(m, i, delayed(m, start, 1, name="started", init=0))
        # not only at the beginning: what nobody works on may change
        with m.If(spent):
            passes.begin(m, new)
        with m.If(vacant):
            m.d.sync += i.eq(new)

        # the half that control names belongs to the pass in work
        m.d.comb += [
            self.instructions.ready.eq(tokens.ready & vacant),
            tokens.waits.eq(self.instructions.valid),
            tokens.wait.eq(new.wait),
            tokens.take.eq(self.instructions.valid & tokens.ready & vacant),
            tokens.give.eq(finish),
            tokens.give_to.eq(i.post),
            self.swap.eq(start),
            self.window.row.eq(windows.row),
            self.window.column.eq(windows.column),
            self.window.inside.eq((windows.line >= 0) & (windows.line < i.lines)),
            self.window.row_elements.eq(i.row_elements),
            self.window.padding.eq(i.padding),
            self.control.valid.eq(running & windows.counts),
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


class _Passes:
    """Registers that say what the next pass is and where it begins.

    Of each coordinate, one register is where the pass begins, the others keep where an outer loop began; so nothing is
    multiplied.
    """

    LOOPS = ("tiles", "kernel_rows", "kernel_columns", "chunks")

    def __init__(self, rows: int, address_bits: int) -> None:
        self._chunk = rows
        self.left = {n: Countdown(PASSES[n].width, name=n) for n in self.LOOPS}
        self.opens = Signal(name="opens", reset_less=True)  # it is its channel tile's first
        self._ended = Signal(3, name="ended", reset_less=True)  # loops from the innermost on that are all at their last
        self._columns = [Signal(24, name=f"column_{n}", reset_less=True) for n in ("tile", "kernel", "chunk")]
        self.column = self._columns[-1]
        self.row = Signal(address_bits, name="row_kernel", reset_less=True)
        self.line = Signal(signed(17), name="line_kernel", reset_less=True)

    @property
    def last(self) -> Value:
        """It is its channel tile's last."""
        return self._ends[2]

    @property
    def _ends(self) -> list[Value]:
        chunks, columns, rows = (self.left[n].last for n in ("chunks", "kernel_columns", "kernel_rows"))
        return [chunks, chunks & columns, chunks & columns & rows]

    def begin(self, m: Module, new: data.View) -> None:
        """To an instruction's first pass."""
        for n in self.LOOPS:
            self.left[n].load(m, new[n])
        m.d.sync += [*(c.eq(new.column) for c in self._columns), self.opens.eq(1)]
        m.d.sync += [self.row.eq(new.row), self.line.eq(new.line.as_signed())]

    def step(self, m: Module, i: data.View, stepping: Value) -> None:
        """To the next chunk, then kernel column, then kernel row, then channel tile, two cycles after ``begin`` or the
        step before at the earliest.
        """
        left = self.left
        column_tile, column_kernel, column = self._columns
        chunks_ended, columns_ended, rows_ended = self._ended
        m.d.sync += self._ended.eq(Cat(self._ends))
        with m.If(stepping):
            m.d.sync += self.opens.eq(rows_ended)
            left["chunks"].step(m)
            m.d.sync += column.eq(column + self._chunk)
        with m.If(stepping & chunks_ended):
            left["chunks"].load(m, i.chunks)
            left["kernel_columns"].step(m)
            m.d.sync += [c.eq(column_kernel + i.kernel_column_step) for c in (column_kernel, column)]
        with m.If(stepping & columns_ended):
            left["kernel_columns"].load(m, i.kernel_columns)
            left["kernel_rows"].step(m)
            m.d.sync += [c.eq(column_tile) for c in (column_kernel, column)]
            m.d.sync += [self.row.eq(self.row + i.kernel_row_step), self.line.eq(self.line + i.kernel_line_step)]
        with m.If(stepping & rows_ended):
            left["kernel_rows"].load(m, i.kernel_rows)
            left["tiles"].step(m)
            m.d.sync += [c.eq(column_tile + i.tile_step) for c in self._columns]
            m.d.sync += [self.row.eq(i.row), self.line.eq(i.line.as_signed())]


class _Windows:
    """Registers that say where the window in work is, whether it gives a result, and how it moves on within a pass."""

    def __init__(self, address_bits: int) -> None:
        self.left = Raster(PASSES["rows"].width, PASSES["columns"].width, name="windows")
        self._begin = Signal(24, name="column_begin", reset_less=True)
        self.column = Signal(24, name="column_now", reset_less=True)
        self.row = Signal(address_bits, name="row_now", reset_less=True)
        self.line = Signal(signed(17), name="line_now", reset_less=True)
        self._until_row, self._until_column = (Countdown(8, name=f"until_{n}") for n in ("row", "column"))
        self._row_counts, self._column_counts, self._tail = (
            Signal(name=n, reset_less=True) for n in ("row_counts", "column_counts", "in_tail")
        )

    @property
    def counts(self) -> Value:
        """The window gives a result."""
        return self._row_counts & self._column_counts

    def begin(self, m: Module, passes: _Passes, i: data.View) -> None:
        """To a pass's first window."""
        self.left.load(m, i.rows, i.columns)
        none = i.skip == 0
        self._until_row.load(m, Mux(none, i.row_stride, i.skip - 1))
        m.d.sync += self._row_counts.eq(none)
        self._begin_row(m, i)
        m.d.sync += [c.eq(passes.column) for c in (self._begin, self.column)]
        m.d.sync += [self.row.eq(passes.row), self.line.eq(passes.line)]

    def _begin_row(self, m: Module, i: data.View) -> None:
        self._until_column.load(m, i.column_stride)
        m.d.sync += [self._column_counts.eq(1), self._tail.eq(0)]

    def step(self, m: Module, i: data.View) -> None:
        """To the next output column, then output row."""
        self.left.step(m, i.columns)
        tail = self._tail | self.left.follows(i.tail)
        m.d.sync += [self._tail.eq(tail), self._column_counts.eq(self._until_column.last & ~tail)]
        with m.If(self._until_column.last):
            self._until_column.load(m, i.column_stride)
        with m.Else():
            self._until_column.step(m)
        with m.If(self.left.row_last):
            self._begin_row(m, i)
            m.d.sync += self._row_counts.eq(self._until_row.last)
            with m.If(self._until_row.last):
                self._until_row.load(m, i.row_stride)
            with m.Else():
                self._until_row.step(m)
            m.d.sync += [
                self.column.eq(self._begin),
                self.row.eq(self.row + i.row_step),
                self.line.eq(self.line + i.line_step),
            ]
        with m.Else():
            m.d.sync += self.column.eq(self.column + i.column_step)


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
