"""Walks the vector unit's instructions: which vector is read in each cycle, and where its result goes."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.program import (
    AFFINE_ROWS,
    DRAIN,
    TABLE_ENTRIES,
    Combine,
    Operation,
)
from .cursor import Cursor
from .register_slice import RegisterSlice
from .tokens import TOKEN_PORT
from .vector_configuration import VectorConfiguration


class Walk(wiring.Component):
    """Steps through the windows of a channel tile: tile, row, column, window row, window column.

    Each cycle names one vector to read: an accumulator, or elements of activation memory.  What lies outside the tile's
    map is padding and does not count.  Where another map is added, its vector is read behind the window.  A step goes
    through a register slice; behind it, the last step of a vector waits until the lanes can take it, ``groups`` cycles
    after the one before, and reads of activation memory wait for its port.

    Parameters: configuration : VectorConfiguration
    Members:    instructions : In(stream), DRAIN or SETUP's;  tokens : Out(TOKEN_PORT)
                sums_ready : In, pulse: a channel tile's sums are complete;  half_free : Out, pulse
                load_parameters : Out, pulse;  parameters_loaded : In
                half, address : Out, the accumulator of ``step``;  step : Out
                read_address, read_valid : Out;  read_ready : In, of activation memory
                instruction : Out, the one in work;  settings : Out, the last SETUP;  waiting : Out
                idle : Out, no instruction in work
                lanes_idle : In, no vector on its way into the lanes;  written : In, none on its way to memory either
    """

    def __init__(self, *, configuration: VectorConfiguration) -> None:
        self._configuration = c = configuration
        super().__init__(
            {
                "instructions": In(stream.Signature(c.instruction_bits)),
                "tokens": Out(TOKEN_PORT),
                "sums_ready": In(1),
                "half_free": Out(1),
                "load_parameters": Out(1),
                "parameters_loaded": In(1),
                "half": Out(1),
                "address": Out(range(c.accumulator_depth)),
                "step": Out(c.step_layout),
                "read_address": Out(c.memory.address_bits),
                "read_valid": Out(1),
                "read_ready": In(1),
                "instruction": Out(DRAIN),
                "settings": Out(c.settings_layout),
                "lanes_idle": In(1),
                "written": In(1),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "sums": 1})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        c = self._configuration
        m = Module()
        taken = Signal(c.instruction_bits, reset_less=True)  # the instruction in work, or what the queue shows
        i = DRAIN(taken[: DRAIN.size])
        settings, set_up = Signal(c.settings_layout, reset_less=True), Signal()
        cursor = Cursor(c.memory.address_bits, c.source_bits, settings, sliding=c.sliding > 0)
        from_map = settings.from_map if c.operands else Const(0)
        adds = self._reads_another(settings)
        complete = Signal(2)  # channel tiles whose sums wait to be drained
        half = Signal()
        post = Signal(4, reset_less=True)
        table_row = Signal(range(TABLE_ENTRIES))
        in_channels = Signal(name="in_channels")  # reads the channels' parameters, as many rows

        window_last = cursor.window_last
        vector_last = Mux(adds, cursor.on_operand, window_last)
        m.submodules.issue = issue = RegisterSlice(shape=self._asked_layout())
        # the FSM's states that ask for steps, as registers: everything behind them has a cycle to itself
        asks, in_tables = Signal(name="asks"), Signal(name="in_tables")
        go, tile_done, issued = Signal(name="go"), Signal(name="tile_done"), Signal()
        aside = in_tables | in_channels if c.lane.affine else in_tables
        m.d.comb += [
            issued.eq(~issue.outgoing.valid),
            go.eq(asks & issue.incoming.ready),
            tile_done.eq(go & ~aside & vector_last & cursor.position_last),
        ]

        # what stays for the next VECTOR is taken a cycle later, so that no decoding moves all of it
        m.d.sync += set_up.eq(0)
        with m.If(set_up):
            m.d.sync += settings.eq(c.settings_layout(taken[: c.settings_layout.size]))
        with m.FSM():
            with m.State("idle"):
                self._take(m, taken, set_up, cursor, post, table_row)
            with m.State("tile"):
                with m.If(from_map):
                    self._begin_map(m, settings, self.lanes_idle & issued, asks, in_channels)
                with m.Else():
                    m.d.comb += self.waiting.sums.eq(complete == 0)
                    with m.If((complete != 0) & self.lanes_idle & issued):
                        m.d.comb += self.load_parameters.eq(1)
                        m.next = "parameters"
            with m.State("parameters"), m.If(self.parameters_loaded):
                m.d.sync += asks.eq(1)
                m.next = "walk"
            with m.State("walk"), m.If(tile_done):
                m.d.sync += asks.eq(0)
                m.next = "tile"
                with m.If(cursor.tile_last):
                    m.next = "finish"
            self._asides(m, go, table_row, asks, in_tables, in_channels)
            with m.State("finish"), m.If(self.written & issued):
                m.d.comb += self.tokens.give.eq(1)
                m.next = "idle"

        # not only at a tile's beginning: nobody looks, while no step is asked for
        with m.If(~asks):
            cursor.restart(m, i, settings)
            m.d.sync += [table_row.eq(0)] if c.lane.affine else []
        with m.Elif(issue.incoming.ready):
            with m.If(aside):
                self._next_aside(m, cursor, table_row, in_channels)
            with m.Else():
                cursor.next_step(m, i, settings, to_operand=window_last & ~vector_last)
        with m.If(tile_done):
            cursor.next_tile(m, settings)
            m.d.sync += half.eq(half ^ ~from_map)
        m.d.sync += complete.eq(complete + self.sums_ready - (tile_done & ~from_map))
        asked = issue.incoming.payload
        m.d.comb += [
            issue.incoming.valid.eq(asks),
            asked.half.eq(half),
            asked.address.eq(Mux(cursor.on_operand | aside, cursor.operand, cursor.step_address)),
            asked.needs_port.eq(from_map | cursor.on_operand | aside),
            asked.frees.eq(tile_done & ~from_map),
            asked.step.valid.eq(~aside),
            asked.step.inside.eq(cursor.inside(i)),
            asked.step.operand.eq(cursor.on_operand),
            asked.step.last.eq(vector_last & ~aside),
            asked.step.chip.eq(cursor.chip),
            asked.step.tile_last.eq(cursor.tile_last),
            asked.step.table.eq(in_tables),
            asked.step.table_row.eq(table_row),
            self.instruction.eq(i),
            self.settings.eq(settings),
            self.tokens.waits.eq(self.instructions.valid),
            self.tokens.wait.eq(DRAIN(self.instructions.payload[: DRAIN.size]).wait),  # a SETUP's is in the same place
            self.tokens.give_to.eq(post),
        ]
        if c.lane.affine:
            m.d.comb += asked.step.parameters.eq(in_channels)
        self._columns(m, cursor, asks, issue)
        if c.lane.normalization:
            self._own_channels(m, settings, asked.step, tile_done)
        self._issue(m, issue)
        return m

    def _begin_map(self, m: Module, settings: data.View, quiet: Value, asks: Signal, in_channels: Signal) -> None:
        """A map's channel tile; before it, if it is scaled, its parameters, once it is ``quiet``: nothing in the lanes
        needs the ones before."""
        if not self._configuration.lane.affine:
            m.d.sync += asks.eq(1)
            m.next = "walk"
            return
        with m.If(settings.combine != Combine.AFFINE):
            m.d.sync += asks.eq(1)
            m.next = "walk"
        with m.Elif(quiet):
            m.d.sync += [asks.eq(1), in_channels.eq(1)]
            m.next = "channels"

    def _asides(
        self, m: Module, go: Signal, table_row: Signal, asks: Signal, in_tables: Signal, in_channels: Signal
    ) -> None:
        """The states in which something else than a map is read: parameters of channels, tables."""
        lane = self._configuration.lane
        if lane.affine:
            with m.State("channels"), m.If(go & (table_row == AFFINE_ROWS - 1)):
                m.d.sync += [asks.eq(0), in_channels.eq(0)]
                m.next = "channels there"
            with m.State("channels there"):
                m.d.sync += asks.eq(1)
                m.next = "walk"
        if lane.tables:
            with m.State("tables"):
                m.d.sync += [asks.eq(1), in_tables.eq(1)]
                with m.If(go & (table_row == TABLE_ENTRIES - lane.table_entries)):
                    m.d.sync += [asks.eq(0), in_tables.eq(0)]
                    m.next = "finish"

    def _next_aside(self, m: Module, cursor: Cursor, table_row: Signal, in_channels: Signal) -> None:
        """To the next vector of tables or parameters."""
        c = self._configuration
        rows, elements = c.lane.table_entries, 4 * c.lane.table_entries
        if c.lane.affine:
            rows, elements = Mux(in_channels, 1, rows), Mux(in_channels, c.columns, elements)
        m.d.sync += [table_row.eq(table_row + rows), cursor.operand.eq(cursor.operand + elements)]

    def _reads_another(self, settings: data.View) -> ValueLike:
        """Whether an operand's vector is read behind each window's."""
        lane = self._configuration.lane
        kinds = [Combine.ADD] if lane.tables else []
        kinds += [Combine.MAXIMUM, Combine.MINIMUM] if lane.extrema else []
        kinds += [Combine.MULTIPLY] if lane.products else []
        return Cat(settings.combine == kind for kind in kinds).any() if kinds else Const(0)

    def _asked_layout(self) -> data.StructLayout:
        """A step before it is issued, where its vector lies, and whether it is the last that its half holds."""
        c = self._configuration
        return data.StructLayout(
            {"step": c.step_layout, "address": c.source_bits, "half": 1, "needs_port": 1, "frees": 1}
        )

    def _issue(self, m: Module, issue: RegisterSlice) -> None:
        """A step, once the lanes can take its vector and the port is there."""
        groups = self._configuration.groups
        gap, resting = Signal(range(groups + 1)), Signal()
        asked, may, go = issue.outgoing.payload, Signal(), Signal()
        m.d.comb += [
            may.eq(~asked.step.last | ~resting),
            issue.outgoing.ready.eq(may & (self.read_ready | ~asked.needs_port)),
            go.eq(issue.outgoing.valid & issue.outgoing.ready),
            self.read_valid.eq(issue.outgoing.valid & may & asked.needs_port),
            self.read_address.eq(asked.address),
            self.address.eq(asked.address),
            self.half.eq(asked.half),
            self.half_free.eq(go & asked.frees),
            self.step.eq(asked.step),
            self.step.valid.eq(go & asked.step.valid),
            self.step.table.eq(go & asked.step.table),
        ]
        if self._configuration.lane.affine:
            m.d.comb += self.step.parameters.eq(go & asked.step.parameters)
        with m.If(go & asked.step.last):
            m.d.sync += [gap.eq(groups - 1), resting.eq(groups > 1)]
        with m.Elif(resting):
            m.d.sync += [gap.eq(gap - 1), resting.eq(gap != 1)]

    def _take(self, m: Module, taken: Signal, set_up: Signal, cursor: Cursor, post: Signal, table_row: Signal) -> None:
        """The next instruction, once its tokens are there: SETUP, with its tables perhaps, or VECTOR.

        Registers may take it before: nothing is in work that they belong to.
        """
        new = DRAIN(self.instructions.payload[: DRAIN.size])
        layout = self._configuration.settings_layout
        setup = layout(self.instructions.payload[: layout.size])
        sets_up = Signal()
        m.d.comb += [
            sets_up.eq(new.operation == Operation.SETUP),
            self.idle.eq(1),
            self.instructions.ready.eq(self.tokens.ready),
            self.waiting.tokens.eq(self.instructions.valid & ~self.tokens.ready),
        ]
        m.d.sync += [taken.eq(self.instructions.payload), post.eq(new.post)]
        cursor.begin(m, new)
        if self._configuration.lane.tables:
            with m.If(sets_up):
                cursor.begin_tables(m, setup)
                m.d.sync += table_row.eq(0)
        with m.If(self.instructions.valid & self.tokens.ready):
            m.d.comb += self.tokens.take.eq(1)
            m.d.sync += set_up.eq(sets_up)
            m.next = "tile"
            with m.If(sets_up):
                m.next = "finish"
                if self._configuration.lane.tables:
                    with m.If(setup.load_tables):
                        m.next = "tables"

    def _columns(self, m: Module, cursor: Cursor, asks: Signal, issue: RegisterSlice) -> None:
        """Where a channel tile's totals begin to slide, and where a column of the map ends, if any may."""
        if not self._configuration.sliding:
            return
        first, step = Signal(), issue.incoming.payload.step
        with m.If(~asks):
            m.d.sync += first.eq(1)
        with m.Elif(issue.incoming.ready):
            m.d.sync += first.eq(0)
        m.d.comb += [step.begins.eq(first), step.ends.eq(cursor.column_last)]

    def _own_channels(self, m: Module, settings: data.View, step: data.View, tile_done: Signal) -> None:
        """Which columns of a vector count: neighbours beyond the map's channels are other pixels' channels."""
        columns = self._configuration.columns
        channels_left, missing = Signal(16, reset_less=True), Signal(4, reset_less=True)
        tile_step = settings.source_tile_step
        with m.If(self.tokens.take):
            m.d.sync += [channels_left.eq(settings.depth), missing.eq(settings.before)]
        with m.Elif(tile_done):
            m.d.sync += [
                channels_left.eq(channels_left - tile_step),
                missing.eq(Mux(missing > tile_step, missing - tile_step, 0)),
            ]
        m.d.comb += [
            step.first.eq(Mux(settings.normalize, missing, 0)),
            step.end.eq(Mux(settings.normalize & (channels_left < columns), channels_left, columns)),
        ]
