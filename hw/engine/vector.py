"""The vector unit: windows of accumulators or of feature maps in, feature maps out.

Its stages: *walk* the windows, *reduce* the vectors of a window to one, *rescale* it lane by lane, *collect* the lanes
and write.
"""

from collections.abc import Sequence

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.parameters import FACTOR_BITS
from ..isa.program import CHANNEL, TABLE_ENTRIES, Combine
from .delay import delayed
from .lane import Lane, Squares
from .memory_attributes import COLLISIONS_NEVER_COUNT
from .sliding import Sliding
from .tokens import TOKEN_PORT
from .vector_configuration import ASKED, SOURCE, VectorConfiguration
from .walk import Walk


class VectorUnit(wiring.Component):
    """Accumulators or feature maps in, feature maps out.

    One vector of C values every max(window size + vectors to add, ceil(C / lanes)) cycles, for accumulators after
    parameter_rows + 1 for a channel tile's parameters.  Where totals slide, only a row's first takes a whole window,
    each further one the columns that the one before did not have.  Maxima are taken over sums, before requantization,
    which is monotonic: the lanes see one vector a window.  What has been read is never stalled: the activation memory
    always takes a write.

    Parameters: configuration : VectorConfiguration
    Members:    as Walk's, and drain_half, drain_address : Out;  drained : In, (C,) sums, DRAIN_LATENCY later
                parameter_write, parameter_row, parameter_data : In, from the weight writer;  parameter_slot_free : Out
                read_data : In, (C,) elements, ActivationMemory.OPERAND_LATENCY cycles after the address was taken
                write : Out, see MemoryFormat.write_layout
    """

    def __init__(self, *, configuration: VectorConfiguration) -> None:
        self._configuration = c = configuration
        super().__init__(
            {
                "instructions": In(stream.Signature(c.instruction_bits)),
                "tokens": Out(TOKEN_PORT),
                "sums_ready": In(1),
                "half_free": Out(1),
                "drain_half": Out(1),
                "drain_address": Out(range(c.accumulator_depth)),
                "drained": In(data.ArrayLayout(signed(c.lane.sum_bits), c.columns)),
                "parameter_write": In(1),
                "parameter_row": In(range(2 * c.parameter_rows)),
                "parameter_data": In(c.columns * c.word_bits),
                "parameter_slot_free": Out(1),
                "read_address": Out(c.memory.address_bits),
                "read_valid": Out(1),
                "read_ready": In(1),
                "read_data": In(data.ArrayLayout(signed(c.memory.element_bits), c.columns)),
                "write": Out(c.memory.write_layout),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "sums": 1})),
            }
        )

    def elaborate(self, platform: object) -> Module:
        c = self._configuration
        m = Module()
        m.submodules.walk = walk = Walk(configuration=c)
        wiring.connect(m, wiring.flipped(self.instructions), walk.instructions)
        wiring.connect(m, wiring.flipped(self.tokens), walk.tokens)
        m.d.comb += [
            walk.sums_ready.eq(self.sums_ready),
            walk.read_ready.eq(self.read_ready),
            self.read_address.eq(walk.read_address),
            self.read_valid.eq(walk.read_valid),
            self.waiting.eq(walk.waiting),
            self.idle.eq(walk.idle),
            self.drain_half.eq(delayed(m, walk.half, ASKED, name="half", init=0)),
            self.drain_address.eq(delayed(m, walk.address, ASKED, name="address")),
            self.half_free.eq(delayed(m, walk.half_free, ASKED, name="half_free", init=0)),
        ]
        channels = self._channel_parameters(m, walk)

        step = c.step_layout(delayed(m, walk.step.as_value(), SOURCE, name="step", init=0))
        values, stored = self._sources(m, walk)
        factors = self._map_parameters(m, step, stored, channels)
        best, operands = self._reduce(m, step, walk.settings, values, stored)

        # rescale: shift the vector through the lanes, ``lanes`` columns a cycle
        reduced = c.step_layout(delayed(m, step.as_value(), 1, name="reduced", init=0))
        padded = c.groups * c.lanes
        held = [Signal(signed(c.lane.sum_bits), name=f"held_{n}", reset_less=True) for n in range(padded)]
        added = [Signal(8, name=f"added_{n}", reset_less=True) for n in range(padded)]
        group = Signal(range(c.groups + 1), init=c.groups)  # the next to enter the lanes; ``groups``: none
        target = c.step_layout(Signal(c.step_layout.size, name="target", reset_less=True))
        load, busy, stays = Signal(), Signal(), Signal()  # busy: there is one
        m.d.comb += [load.eq(reduced.valid & reduced.last), stays.eq(load | (busy & (group != c.groups - 1)))]
        m.d.sync += busy.eq(stays)
        with m.If(load):
            m.d.sync += [group.eq(0), target.eq(reduced)]
            m.d.sync += [h.eq(b) for h, b in zip(held, best, strict=False)]
            m.d.sync += [a.eq(o) for a, o in zip(added, operands, strict=False)]
        with m.Elif(busy):
            m.d.sync += group.eq(group + 1)
        with m.If(busy & ~load):
            m.d.sync += [h.eq(n) for h, n in zip(held, held[c.lanes :], strict=False)]
            m.d.sync += [a.eq(n) for a, n in zip(added, added[c.lanes :], strict=False)]
        with m.If(busy):
            for each in (channels, factors):
                m.d.sync += [h.eq(n) for h, n in zip(each, each[c.lanes :] + each[: c.lanes], strict=True)]
        lanes = self._lanes(m, walk.settings, held, added, channels, factors, self._table(m, step, stored))

        self._collect(m, walk, lanes, group, target)
        self._watch(m, walk, stays)
        return m

    def _collect(self, m: Module, walk: Walk, lanes: list[Lane], group: Signal, target: data.View) -> None:
        """A vector of activations is written whole, raw sums as they come."""
        c = self._configuration
        padded = c.groups * c.lanes
        before = c.lane.latency - 1  # what is added up has a cycle for it
        group_before = delayed(m, group, before, name="group", init=c.groups)
        before_out = c.step_layout(delayed(m, target.as_value(), before, name="target"))
        out_group = delayed(m, group_before, 1, name="group_out", init=c.groups)
        chip = delayed(m, before_out.chip, 1, name="chip_out")
        raw = walk.settings.raw
        bits = c.memory.element_bits
        collected = [Signal(bits, name=f"collected_{n}", reset_less=True) for n in range(padded)]
        fresh = [lane.activation for lane in lanes]
        gathered = (collected + fresh)[-padded:]
        m.d.sync += [h.eq(v) for h, v in zip(collected, gathered, strict=True)]
        raw_data = Cat(*(lane.raw_sum for lane in lanes))
        channels = Mux(before_out.tile_last, walk.instruction.last_channels, walk.instruction.channels)
        channels_valid = delayed(m, channels, 1, name="channels_valid")
        raw_before = Signal(range(padded + 1), reset_less=True)
        raw_left = Signal(signed(10), reset_less=True)
        m.d.sync += [raw_before.eq(group_before * c.lanes), raw_left.eq(channels - group_before * c.lanes)]
        raw_count = Mux(raw_left > c.lanes, c.lanes, raw_left)
        raw_offset = (raw_before * c.sum_elements)[: c.memory.address_bits]
        write = Signal(c.memory.write_layout, reset_less=True)
        m.d.sync += [
            write.valid.eq(Mux(raw, (out_group != c.groups) & (raw_left > 0), out_group == c.groups - 1)),
            write.address.eq(chip + Mux(raw, raw_offset, 0)),
            write.low.eq(0),
            write.high.eq(Mux(raw, (raw_count * c.sum_elements)[:10], channels_valid)),
            write.data.eq(Mux(raw, raw_data, Cat(*gathered)[: c.columns * bits])),
        ]
        m.d.comb += self.write.eq(write)

    def _watch(self, m: Module, walk: Walk, stays: Signal) -> None:
        """When the last write has had time to be committed; a vector is on its way to the lanes from its step on.

        stays : a vector is in the lanes in the next cycle
        """
        cycles = self._configuration.written_cycles
        flight, landed = Signal(range(cycles + 1)), Signal(init=1)  # landed: none is in flight, nor begins to be
        stepped = walk.step.valid | walk.step.table
        with m.If(~walk.lanes_idle):
            m.d.sync += [flight.eq(cycles), landed.eq(0)]
        with m.Elif(flight != 0):
            m.d.sync += [flight.eq(flight - 1), landed.eq((flight == 1) & ~stepped)]
        with m.Else():
            m.d.sync += landed.eq(~stepped)
        coming = Signal(SOURCE + 1)  # steps that have not arrived
        idle = Signal(init=1)
        m.d.sync += [coming.eq(Cat(stepped, coming)), idle.eq(~(stays | stepped | coming[:SOURCE].any()))]
        m.d.comb += [walk.lanes_idle.eq(idle), walk.written.eq(landed)]

    def _sources(self, m: Module, walk: Walk) -> tuple[list[Value], list[Value]]:
        """The vector of each step as sums, (C,), ``SOURCE`` cycles later, and a map's elements as they are stored."""
        c = self._configuration
        if not c.operands:
            return [delayed(m, self.drained[n], 1, name=f"value_{n}") for n in range(c.columns)], []
        settings = walk.settings
        reading = c.step_layout(delayed(m, walk.step.as_value(), SOURCE - 1, name="reading", init=0))
        values, stored = [], []
        for n in range(c.columns):
            element = self.read_data[n]
            value = Signal(signed(c.lane.sum_bits), name=f"value_{n}", reset_less=True)
            inside = (reading.first <= n) & (reading.end > n) if c.lane.normalization else 1
            moved = Mux(inside, element - settings.source_zero.as_signed(), 0)
            m.d.sync += value.eq(Mux(settings.from_map, moved, self.drained[n]))
            values.append(value)
            stored.append(delayed(m, element, 1, name=f"stored_{n}"))
        return values, stored

    def _reduce(
        self, m: Module, step: data.View, settings: data.View, values: list[Value], stored: list[Value]
    ) -> tuple[Sequence[Value], list[Signal]]:
        """The window's maximum or total, (C,) sums, and the vector to add to it, a cycle after its last step."""
        c = self._configuration
        empty = Signal(init=1)
        best = [Signal(signed(c.lane.sum_bits), name=f"best_{n}", reset_less=True) for n in range(c.columns)]
        total = settings.total if c.operands else Const(0)
        better = [Mux(empty, v, _reduced(m, total, v, b)) for v, b in zip(values, best, strict=True)]
        added = range(c.columns) if c.lane.tables or c.lane.products else ()
        operands = [Signal(8, name=f"operand_{n}", reset_less=True) for n in added]
        with m.If(step.valid):
            with m.If(step.operand):
                m.d.sync += [o.eq(s) for o, s in zip(operands, stored, strict=False)]
            with m.Elif(step.inside):
                m.d.sync += [empty.eq(0), *(b.eq(v) for b, v in zip(best, better, strict=True))]
            with m.If(step.last):
                m.d.sync += empty.eq(1)
        return (self._slid(m, step, settings, best, empty) if c.sliding else best), operands

    def _slid(
        self, m: Module, step: data.View, settings: data.View, running: list[Signal], empty: Signal
    ) -> list[Value]:
        """Each window's total of a running one, which is never ``empty`` where totals slide."""
        c = self._configuration
        m.submodules.sliding = sliding = Sliding(
            columns=c.columns, sum_bits=c.lane.sum_bits, window_bits=c.window_bits, depth=c.sliding
        )
        slid = Signal()
        m.d.sync += slid.eq(settings.slides)
        with m.If(slid):
            m.d.sync += empty.eq(~settings.slides)
        m.d.comb += [
            sliding.running.eq(Cat(running)),
            sliding.begins.eq(step.valid & step.begins),
            sliding.ends.eq(step.valid & step.ends),
            sliding.slides.eq(settings.slides),
            sliding.window.eq(settings.window_columns),
        ]
        return list(sliding.windows)

    def _table(self, m: Module, step: data.View, stored: list[Value]) -> data.View:
        """Entries for the lanes' tables, four bytes each as they were read, little endian."""
        lane = self._configuration.lane
        table = Signal(lane.table_write_layout, reset_less=True)
        if lane.tables:
            half = TABLE_ENTRIES // 2 // lane.table_entries
            number = step.table_row >> (lane.table_entries.bit_length() - 1)
            m.d.sync += [
                table.valid.eq(step.table),
                table.b.eq(number >= half),
                table.row.eq(number),  # wraps at half
                table.entries.eq(Cat(*(s[:8] for s in stored[: 4 * lane.table_entries]))),
            ]
        return table

    def _lanes(
        self,
        m: Module,
        settings: data.View,
        held: list[Signal],
        added: list[Signal],
        channels: list[data.View],
        factors: list[Signal],
        table: data.View,
    ) -> list[Lane]:
        """The lanes, each taking the value of its column that has shifted down to it."""
        c = self._configuration
        normalization, bits = c.lane.normalization, c.lane.element_bits
        constant = Signal(c.lane.settings_layout)
        m.d.comb += [
            constant.format.eq(Cat(*(settings[n][:bits] for n in ("zero_point", "low", "high")))),
            constant.final_low.eq(settings.final_low),
            constant.final_high.eq(settings.final_high),
            constant.combine.eq(settings.combine),
            constant.normalize.eq(settings.normalize),
        ]
        if c.lane.products:
            m.d.comb += constant.operand_zero.eq(settings.operand_zero[:bits])
        reach = c.lanes + max(1, normalization) - 1
        neighbours = Array([*held, *(Const(0, signed(c.lane.sum_bits)) for _ in range(reach))])
        lanes = []
        for number in range(c.lanes):
            m.submodules[f"lane_{number}"] = lane = Lane(configuration=c.lane)
            m.d.comb += [
                lane.sum.eq(held[number]),
                lane.channel.eq(channels[number]),
                lane.settings.eq(constant),
                lane.operand.eq(added[number]),
                lane.table.eq(table),
            ]
            if normalization:
                own = Array(neighbours[number + j] for j in range(normalization))
                m.d.comb += lane.sum.eq(own[settings.before])
            if c.operands:
                alike = settings.from_map
                if c.lane.affine:
                    alike = alike & (settings.combine != Combine.AFFINE)
                    m.d.comb += lane.factor.eq(factors[number])
                with m.If(alike):
                    m.d.comb += [
                        lane.channel.bias.eq(0),
                        lane.channel.mantissa.eq(settings.mantissa),
                        lane.channel.shift.eq(settings.shift),
                    ]
            lanes.append(lane)
        if normalization:
            m.submodules.squares = squares = Squares(lanes=c.lanes, normalization=normalization)
            m.d.comb += [v.eq(neighbours[n]) for n, v in enumerate(squares.values)]
            m.d.comb += [squares.size.eq(settings.size), squares.drop.eq(settings.drop)]
            m.d.comb += [lane.index.eq(squares.index[number]) for number, lane in enumerate(lanes)]
        return lanes

    def _map_parameters(
        self, m: Module, step: data.View, stored: list[Value], channels: list[data.View]
    ) -> list[Signal]:
        """The channels' factors, and with them ``channels``, as they come from activation memory: byte by byte."""
        if not self._configuration.lane.affine:
            return []
        factors = [Signal(signed(FACTOR_BITS), name=f"factor_{n}", reset_less=True) for n in range(len(channels))]
        with m.If(step.parameters):
            for channel, factor, element in zip(channels, factors, stored, strict=False):
                whole = Cat(channel.as_value(), factor)
                m.d.sync += whole.eq(Cat(whole[FACTOR_BITS:], element))
        return factors

    def _channel_parameters(self, m: Module, walk: Walk) -> list[data.View]:
        """Rows of weights hold the parameters bit-sliced: row j has bits [j * word_bits, ...) of every channel."""
        c = self._configuration
        rows, width = c.parameter_rows, c.word_bits
        m.submodules.parameters = memory = Memory(
            shape=c.columns * width, depth=2 * rows, init=[], attrs=COLLISIONS_NEVER_COUNT
        )
        writer, reader = memory.write_port(), memory.read_port()
        m.d.comb += [
            writer.addr.eq(self.parameter_row),
            writer.data.eq(self.parameter_data),
            writer.en.eq(self.parameter_write),
        ]
        channels = [Signal(CHANNEL, name=f"channel_{n}", reset_less=True) for n in range(c.groups * c.lanes)]
        slot, row, loading = Signal(), Signal(range(rows + 1)), Signal()
        arrived = delayed(m, loading, 1, name="loading", init=0)
        m.d.comb += reader.addr.eq(Mux(slot, rows, 0) + row)
        with m.If(walk.load_parameters):
            m.d.sync += [loading.eq(1), row.eq(0)]
        with m.If(loading):
            m.d.sync += row.eq(row + 1)
            with m.If(row == rows - 1):
                m.d.sync += loading.eq(0)
        for n in range(c.columns):
            piece = reader.data[n * width : (n + 1) * width]
            shifted = Cat(channels[n].as_value()[width:], piece) if width * rows == 64 else None
            if shifted is None:
                # the last row carries fewer bits than a weight has: shift through a register that holds them all
                wide = Signal(width * rows, name=f"sliced_{n}", reset_less=True)
                with m.If(arrived):
                    m.d.sync += wide.eq(Cat(wide[width:], piece))
                shifted = Cat(wide[width:], piece)[:64]
            with m.If(arrived):
                m.d.sync += channels[n].as_value().eq(shifted)
        done = Signal()
        m.d.comb += done.eq(arrived & ~loading)
        with m.If(done):
            m.d.sync += slot.eq(~slot)
        m.d.comb += [self.parameter_slot_free.eq(done), walk.parameters_loaded.eq(done)]
        return channels


def _reduced(m: Module, total: Value, value: Signal, best: Signal) -> Value:
    """``best + value`` if ``total``, else the larger of the two: one carry chain, whose sign selects."""
    width = len(best)
    chain = Signal(signed(width + 2), name=f"chain_{best.name}")
    addend = Cat(
        ~total, value.as_unsigned() ^ (~total).replicate(width)
    )  # best - value - 1, with a carry in, is best - value
    m.d.comb += chain.eq(Cat(Const(1, 1), best).as_signed() + addend.as_signed())
    return Mux(total, chain[1 : width + 1].as_signed(), Mux(chain[-1], value, best))
