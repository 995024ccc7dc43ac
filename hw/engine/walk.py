"""Walks the vector unit's instructions: which vector is read in each cycle, and where its result goes."""

from amaranth import Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import Parameters
from ..isa.program import (
    DRAIN,
    SETTINGS,
    TABLE_ENTRIES,
    VECTOR_BITS,
    Combine,
    Operation,
)


def step_layout(parameters):
    """One vector read of a window, and, with the window's last one, where the result goes.

    ``operand``: the vector to add, which ends a window.  Columns ``first <= c < end`` hold the map's own channels.
    """
    p = parameters
    return data.StructLayout(
        {
            "valid": 1,
            "inside": 1,
            "operand": 1,
            "last": 1,
            "tile_last": 1,
            "chip": p.address_bits,
            "table": 1,
            "table_row": ceil_log2(TABLE_ENTRIES),
            **({"first": 4, "end": range(p.columns + 1)} if p.normalization else {}),
        }
    )


class Walk(wiring.Component):
    """Steps through the windows of a channel tile: tile, row, column, window row, window column.

    Each cycle names one vector to read: an accumulator, or elements of activation memory.  What lies outside the tile's
    map is padding and does not count.  Where another map is added, its vector is read behind the window.  The last step
    of a vector waits until the lanes can take it, ``lane_groups`` cycles after the one before; reads of activation
    memory wait for its port.

    Members: instructions : In(stream), DRAIN or SETTINGS;  tokens, take, give, give_to : as the sequencer's
             sums_ready : In, pulse: a channel tile's sums are complete;  half_free : Out, pulse
             load_parameters : Out, pulse;  parameters_loaded : In
             half, address : Out, the accumulator of ``step``;  step : Out
             read_address, read_valid : Out;  read_ready : In, of activation memory
             instruction : Out, the one in work;  settings : Out, the last SETUP;  waiting : Out
             idle : Out, no instruction in work
             lanes_idle : In, no vector on its way into the lanes;  written : In, none on its way to memory either
    """

    def __init__(self, parameters: Parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "instructions": In(stream.Signature(VECTOR_BITS)),
                "tokens": In(1),
                "take": Out(1),
                "give": Out(1),
                "give_to": Out(4),
                "sums_ready": In(1),
                "half_free": Out(1),
                "load_parameters": Out(1),
                "parameters_loaded": In(1),
                "half": Out(1),
                "address": Out(range(max(2, p.accumulator_depth))),
                "step": Out(step_layout(p)),
                "read_address": Out(p.address_bits),
                "read_valid": Out(1),
                "read_ready": In(1),
                "instruction": Out(DRAIN),
                "settings": Out(SETTINGS),
                "lanes_idle": In(1),
                "written": In(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "sums": 1})),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        i = Signal(DRAIN, reset_less=True)
        settings = Signal(SETTINGS, reset_less=True)
        from_map = settings.from_map if p.operands else Const(0)
        adds = (settings.combine == Combine.ADD) if p.tables else Const(0)
        windows = ("window_rows", "window_columns")
        loops = ("tiles", "rows", "columns")
        left = {n: Signal(DRAIN[n].width, name=f"left_{n}", reset_less=True) for n in loops}
        left |= {n: Signal(SETTINGS[n].width, name=f"left_{n}", reset_less=True) for n in windows}
        complete = Signal(2)  # channel tiles whose sums wait to be drained
        gap = Signal(range(p.columns + 1))
        half = Signal()
        on_operand = Signal()
        post = Signal(4, reset_less=True)

        # source coordinates of the window's corner and of the step; addresses go along, multiplied nowhere
        corner_row, corner_column, step_row, step_column = (
            Signal(signed(17), name=n, reset_less=True)
            for n in ("corner_row", "corner_column", "step_row", "step_column")
        )
        tile_address, row_address, corner_address, line_address, step_address = (
            Signal(24, name=f"{n}_address", reset_less=True) for n in ("tile", "row", "corner", "line", "step")
        )
        chip_tile, chip_row, chip = (
            Signal(p.address_bits, name=n, reset_less=True) for n in ("chip_tile", "chip_row", "chip")
        )
        operand_tile, operand_row, operand = (
            Signal(p.address_bits, name=n, reset_less=True) for n in ("operand_tile", "operand_row", "operand")
        )
        table_row = Signal(range(TABLE_ENTRIES))

        window_last = (left["window_columns"] == 0) & (left["window_rows"] == 0)
        vector_last = Mux(adds, on_operand, window_last)
        position_last = (left["columns"] == 0) & (left["rows"] == 0)
        wants, go, advance, tile_done, table_read = (
            Signal(name=n) for n in ("wants", "go", "advance", "tile_done", "table_read")
        )
        in_tables = Signal()
        needs_port = from_map | on_operand

        def restart_window(row, column, address):
            return [
                corner_row.eq(row),
                step_row.eq(row),
                corner_column.eq(column),
                step_column.eq(column),
                *(a.eq(address) for a in (corner_address, line_address, step_address)),
            ]

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.idle.eq(1)
                m.d.comb += self.instructions.ready.eq(self.tokens)
                m.d.comb += self.waiting.tokens.eq(self.instructions.valid & ~self.tokens)
                new = DRAIN(self.instructions.payload[: DRAIN.size])
                setup = SETTINGS(self.instructions.payload[: SETTINGS.size])
                with m.If(self.instructions.valid & self.tokens):
                    m.d.comb += self.take.eq(1)
                    m.d.sync += post.eq(new.post)
                    with m.If(new.operation == Operation.SETUP):
                        m.d.sync += [settings.eq(setup), *(left[n].eq(setup[n]) for n in windows)]
                        m.next = "finish"
                        if p.tables:
                            m.d.sync += [table_row.eq(0), operand.eq(setup.tables)]
                            with m.If(setup.load_tables):
                                m.next = "tables"
                    with m.Else():
                        m.d.sync += [i.eq(new), *(left[n].eq(new[n]) for n in loops)]
                        m.d.sync += [s.eq(new.chip) for s in (chip_tile, chip_row, chip)]
                        m.d.sync += [s.eq(new.operand) for s in (operand_tile, operand_row, operand)]
                        m.d.sync += [a.eq(new.source) for a in (tile_address, row_address)]
                        m.d.sync += restart_window(new.first_row.as_signed(), new.first_column.as_signed(), new.source)
                        m.next = "tile"
            with m.State("tile"):
                with m.If(from_map):
                    m.next = "walk"
                with m.Else():
                    m.d.comb += self.waiting.sums.eq(complete == 0)
                    with m.If((complete != 0) & self.lanes_idle):
                        m.d.comb += self.load_parameters.eq(1)
                        m.next = "parameters"
            with m.State("parameters"), m.If(self.parameters_loaded):
                m.next = "walk"
            with m.State("walk"):
                m.d.comb += [
                    wants.eq(~vector_last | (gap == 0)),
                    go.eq(wants & (self.read_ready | ~needs_port)),
                    advance.eq(go & vector_last),
                    tile_done.eq(advance & position_last),
                ]
                with m.If(tile_done):
                    m.d.sync += left["tiles"].eq(left["tiles"] - 1)
                    with m.If(~from_map):
                        m.d.comb += self.half_free.eq(1)
                        m.d.sync += half.eq(~half)
                    m.next = "tile"
                    with m.If(left["tiles"] == 0):
                        m.next = "finish"
            if p.tables:
                with m.State("tables"):
                    m.d.comb += in_tables.eq(1)
                    with m.If(self.read_ready):
                        m.d.comb += table_read.eq(1)
                        m.d.sync += [
                            table_row.eq(table_row + p.table_entries),
                            operand.eq(operand + 4 * p.table_entries),
                        ]
                        with m.If(table_row == TABLE_ENTRIES - p.table_entries):
                            m.next = "finish"
            with m.State("finish"), m.If(self.written):
                m.d.comb += self.give.eq(1)
                m.next = "idle"

        m.d.sync += complete.eq(complete + self.sums_ready - (tile_done & ~from_map))
        with m.If(advance):
            m.d.sync += gap.eq(p.lane_groups - 1)
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)

        with m.If(go):
            with m.If(window_last & ~vector_last):
                m.d.sync += on_operand.eq(1)
            with m.Elif(left["window_columns"] != 0):
                m.d.sync += [
                    left["window_columns"].eq(left["window_columns"] - 1),
                    step_column.eq(step_column + 1),
                    step_address.eq(step_address + settings.window_column_step),
                ]
            with m.Else():
                m.d.sync += [left["window_columns"].eq(settings.window_columns), step_column.eq(corner_column)]
                with m.If(left["window_rows"] != 0):
                    following = line_address + i.window_row_step
                    m.d.sync += [
                        left["window_rows"].eq(left["window_rows"] - 1),
                        step_row.eq(step_row + 1),
                        *(a.eq(following) for a in (line_address, step_address)),
                    ]
                with m.Else():
                    m.d.sync += [left["window_rows"].eq(settings.window_rows), on_operand.eq(0)]
                    with m.If(left["columns"] != 0):
                        m.d.sync += [
                            left["columns"].eq(left["columns"] - 1),
                            chip.eq(chip + settings.column_step),
                            operand.eq(operand + settings.operand_column_step),
                            *restart_window(
                                corner_row,
                                corner_column + settings.stride_columns,
                                corner_address + settings.source_column_step,
                            ),
                        ]
                    with m.Else():
                        m.d.sync += left["columns"].eq(i.columns)
                        with m.If(left["rows"] != 0):
                            following = row_address + i.source_row_step
                            m.d.sync += [
                                left["rows"].eq(left["rows"] - 1),
                                *(c.eq(chip_row + i.row_step) for c in (chip_row, chip)),
                                *(o.eq(operand_row + i.operand_row_step) for o in (operand_row, operand)),
                                row_address.eq(following),
                                *restart_window(
                                    corner_row + settings.stride_rows, i.first_column.as_signed(), following
                                ),
                            ]
                        with m.Else():
                            following = tile_address + settings.source_tile_step
                            m.d.sync += [
                                left["rows"].eq(i.rows),
                                *(c.eq(chip_tile + settings.tile_step) for c in (chip_tile, chip_row, chip)),
                                *(
                                    o.eq(operand_tile + settings.operand_tile_step)
                                    for o in (operand_tile, operand_row, operand)
                                ),
                                *(a.eq(following) for a in (tile_address, row_address)),
                                *restart_window(i.first_row.as_signed(), i.first_column.as_signed(), following),
                            ]

        inside = (step_row >= 0) & (step_row < i.map_rows) & (step_column >= 0) & (step_column < i.map_columns)
        m.d.comb += [
            self.half.eq(half),
            self.address.eq(step_address),
            self.read_address.eq(Mux(on_operand | in_tables, operand, step_address)),
            self.read_valid.eq((wants & needs_port) | in_tables),
            self.step.valid.eq(go),
            self.step.inside.eq(inside),
            self.step.operand.eq(on_operand),
            self.step.last.eq(vector_last),
            self.step.chip.eq(chip),
            self.step.tile_last.eq(left["tiles"] == 0),
            self.step.table.eq(table_read),
            self.step.table_row.eq(table_row),
            self.instruction.eq(i),
            self.settings.eq(settings),
            self.give_to.eq(post),
        ]
        if p.normalization:
            # neighbours beyond the map's channels are other pixels' channels
            channels_left, missing = Signal(16, reset_less=True), Signal(4, reset_less=True)
            step = settings.source_tile_step
            with m.If(self.take):
                m.d.sync += [channels_left.eq(settings.depth), missing.eq(settings.before)]
            with m.Elif(tile_done):
                m.d.sync += [channels_left.eq(channels_left - step), missing.eq(Mux(missing > step, missing - step, 0))]
            m.d.comb += [
                self.step.first.eq(Mux(settings.normalize, missing, 0)),
                self.step.end.eq(Mux(settings.normalize & (channels_left < p.columns), channels_left, p.columns)),
            ]
        return m
