"""Where the vector unit's walk is: its loops' counts, coordinates and addresses, and how they move on."""

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data

from ..isa.program import DRAIN, SETTINGS
from .countdown import Countdown, Raster


class Cursor:
    """Registers of the walk: tile, row, column, window row, window column, and behind a window the vector to add.

    Source coordinates tell what is padding; addresses go along.  Of each, one register follows the steps, the others
    keep where an outer loop began; so nothing is multiplied.

    Where totals slide, a window is a column of the map: most of them are the last of a result's, some only precede it.

    Parameters: address_bits : int, of the activation memory;  source_bits : int, of what windows lie in
                settings : View, of the last SETUP;  sliding : bool, totals may slide
    Members:    window_last : the step is its window's last, but for the vector to add;  position_last : the window is
                its channel tile's;  tile_last : the tile is its instruction's;  column_last : the step is its column's
                last, where totals slide
    """

    def __init__(self, address_bits: int, source_bits: int, settings: data.View, *, sliding: bool) -> None:
        self._tiles = Countdown(DRAIN["tiles"].width, name="tiles")
        self._windows = Raster(DRAIN["rows"].width, DRAIN["columns"].width, name="windows")
        self._steps = Raster(SETTINGS["window_rows"].width, SETTINGS["window_columns"].width, name="steps")
        self.window_last, self.position_last, self.tile_last = self._steps.last, self._windows.last, self._tiles.last
        self.on_operand = Signal()
        self._sliding = sliding
        # of a window, and from window to window, both in steps of the raster
        self._window_columns, self._stride_columns = settings.window_columns, settings.stride_columns
        self._column_step = settings.source_column_step
        if sliding:
            self._left = Countdown(SETTINGS["window_columns"].width, name="columns_left")  # to the next result's last
            self._precedes = settings.slides & ~self._left.last
            self.window_last = self._steps.last & ~self._precedes
            self.column_last = settings.slides & self._steps.last & ~self.on_operand
            self._window_columns = Mux(settings.slides, 0, settings.window_columns)
            self._stride_columns = Mux(settings.slides, 1, settings.stride_columns)
            self._column_step = Mux(settings.slides, settings.window_column_step, settings.source_column_step)
        self._corner_row, self._corner_column, self._step_row, self._step_column = (
            Signal(signed(17), name=n, reset_less=True)
            for n in ("corner_row", "corner_column", "step_row", "step_column")
        )
        self._tile_address, self._row_address, self._corner_address, self._line_address, self.step_address = (
            Signal(source_bits, name=f"{n}_address", reset_less=True) for n in ("tile", "row", "corner", "line", "step")
        )
        self._chips = [Signal(address_bits, name=n, reset_less=True) for n in ("chip_tile", "chip_row", "chip")]
        self._operands = [
            Signal(address_bits, name=n, reset_less=True) for n in ("operand_tile", "operand_row", "operand")
        ]
        self.chip, self.operand = self._chips[-1], self._operands[-1]

    def inside(self, i: data.View) -> Value:
        """The step is no padding."""
        row, column = self._step_row, self._step_column
        return (row >= 0) & (row < i.map_rows) & (column >= 0) & (column < i.map_columns)

    def begin(self, m: Module, new: data.View) -> None:
        """To the first channel tile of VECTOR; ``restart`` follows."""
        self._tiles.load(m, new.tiles)
        m.d.sync += [self._tile_address.eq(new.source), self._chips[0].eq(new.chip), self._operands[0].eq(new.operand)]

    def begin_tables(self, m: Module, setup: data.View) -> None:
        """To the first row of SETUP's tables; ``restart`` follows."""
        m.d.sync += self._operands[0].eq(setup.tables)

    def next_tile(self, m: Module, settings: data.View) -> None:
        """To the next channel tile; ``restart`` follows."""
        self._tiles.step(m)
        m.d.sync += [
            self._tile_address.eq(self._tile_address + settings.source_tile_step),
            self._chips[0].eq(self._chips[0] + settings.tile_step),
            self._operands[0].eq(self._operands[0] + settings.operand_tile_step),
        ]

    def restart(self, m: Module, i: data.View, settings: data.View) -> None:
        """To the first step of the first window of the channel tile."""
        self._windows.load(m, i.rows, i.columns)
        self._steps.load(m, settings.window_rows, self._window_columns)
        if self._sliding:
            self._left.load(m, settings.window_columns)
        m.d.sync += [c.eq(self._chips[0]) for c in self._chips[1:]]
        m.d.sync += [o.eq(self._operands[0]) for o in self._operands[1:]]
        m.d.sync += self._row_address.eq(self._tile_address)
        self._restart_window(m, i.first_row.as_signed(), i.first_column.as_signed(), self._tile_address)

    def next_step(self, m: Module, i: data.View, settings: data.View, *, to_operand: Value) -> None:
        """To the vector to add if ``to_operand``, else to the next window column, window row, window of the tile."""
        with m.If(to_operand):
            m.d.sync += self.on_operand.eq(1)
        with m.Elif(self._steps.last):
            self._steps.load(m, settings.window_rows, self._window_columns)
            m.d.sync += self.on_operand.eq(0)
            if self._sliding:
                with m.If(self._precedes):
                    self._left.step(m)
                    self._next_column(m)
                with m.Else():
                    self._left.load(
                        m, Mux(self._windows.row_last, settings.window_columns, settings.stride_columns - 1)
                    )
                    self._next_window(m, i, settings)
            else:
                self._next_window(m, i, settings)
        with m.Else():
            self._steps.step(m, self._window_columns)
            with m.If(self._steps.row_last):
                following = self._line_address + i.window_row_step
                m.d.sync += [
                    self._step_column.eq(self._corner_column),
                    self._step_row.eq(self._step_row + 1),
                    *(a.eq(following) for a in (self._line_address, self.step_address)),
                ]
            with m.Else():
                m.d.sync += [
                    self._step_column.eq(self._step_column + 1),
                    self.step_address.eq(self.step_address + settings.window_column_step),
                ]

    def _next_window(self, m: Module, i: data.View, settings: data.View) -> None:
        """To the next column, then row, of the channel tile."""
        (_, chip_row, chip), (_, operand_row, operand) = self._chips, self._operands
        self._windows.step(m, i.columns)
        with m.If(~self._windows.row_last):
            m.d.sync += [
                chip.eq(chip + settings.column_step),
                operand.eq(operand + settings.operand_column_step),
            ]
            self._next_column(m)
        with m.Else():
            following = self._row_address + i.source_row_step
            m.d.sync += [c.eq(chip_row + i.row_step) for c in (chip_row, chip)]
            m.d.sync += [o.eq(operand_row + i.operand_row_step) for o in (operand_row, operand)]
            m.d.sync += self._row_address.eq(following)
            row = self._corner_row + settings.stride_rows
            self._restart_window(m, row, i.first_column.as_signed(), following)

    def _next_column(self, m: Module) -> None:
        """To the window beside this one."""
        column, address = self._corner_column + self._stride_columns, self._corner_address + self._column_step
        self._restart_window(m, self._corner_row, column, address)

    def _restart_window(self, m: Module, row: Value, column: Value, address: Value) -> None:
        """To the first step of the window whose corner is at ``row``, ``column``, ``address``."""
        m.d.sync += [self._corner_row.eq(row), self._step_row.eq(row)]
        m.d.sync += [self._corner_column.eq(column), self._step_column.eq(column)]
        m.d.sync += [a.eq(address) for a in (self._corner_address, self._line_address, self.step_address)]
