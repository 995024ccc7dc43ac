"""The vector unit: drains the accumulators window by window, pools, requantizes, writes feature maps.

Its stages, each a place where another operation joins: *walk* the windows, *reduce* the sums of a window to one
vector, *rescale* it lane by lane, *collect* the lanes and write.
"""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .activations import ActivationMemory, write_layout
from .delay import delayed
from .program import CHANNEL, DRAIN
from .requantize import Requantize, format_layout

WRITTEN = Requantize.LATENCY + 2 + ActivationMemory.WRITE_LATENCY
"""Cycles from the last vector's leaving the hold registers to its being readable in activation memory."""


def step_layout(parameters):
    """One accumulator read of a window, and, with the window's last one, where its vector goes."""
    return data.StructLayout({"valid": 1, "inside": 1, "last": 1, "tile_last": 1, "chip": parameters.address_bits})


class Walk(wiring.Component):
    """Steps through the windows of a channel tile: tile, row, column, window row, window column.

    Each cycle names one accumulator to read; accumulators outside the tile's map are padding and do not count.  The
    last step of a window waits until the lanes can take its vector, ``lane_groups`` cycles after the one before.

    Members: instructions : In(stream), DRAIN;  tokens, take, give, give_to : as the sequencer's
             sums_ready : In, pulse: a channel tile's sums are complete;  half_free : Out, pulse
             load_parameters : Out, pulse;  parameters_loaded : In
             half, address : Out, the accumulator of ``step``;  step : Out
             instruction : Out, the one in work;  waiting : Out;  idle : Out, no instruction in work
             lanes_idle : In, no vector on its way into the lanes;  written : In, none on its way to memory either
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "instructions": In(stream.Signature(DRAIN)),
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
                "instruction": Out(DRAIN),
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
        loops = ("tiles", "rows", "columns", "window_rows", "window_columns")
        left = {n: Signal(DRAIN[n].width, name=f"left_{n}", reset_less=True) for n in loops}
        complete = Signal(2)  # channel tiles whose sums wait to be drained
        gap = Signal(range(p.columns + 1))
        half = Signal()

        # accumulator coordinates of the window's corner and of the step; addresses go along, multiplied nowhere
        corner_row, corner_column, step_row, step_column = (
            Signal(signed(17), name=n, reset_less=True)
            for n in ("corner_row", "corner_column", "step_row", "step_column")
        )
        corner_address, step_address = (Signal(24, name=n, reset_less=True) for n in ("corner_address", "step_address"))
        chip_tile, chip_row, chip = (
            Signal(p.address_bits, name=n, reset_less=True) for n in ("chip_tile", "chip_row", "chip")
        )

        window_last = (left["window_columns"] == 0) & (left["window_rows"] == 0)
        position_last = (left["columns"] == 0) & (left["rows"] == 0)
        go, tile_done = Signal(), Signal()

        def restart_window(row, column, address):
            return [
                corner_row.eq(row),
                step_row.eq(row),
                corner_column.eq(column),
                step_column.eq(column),
                corner_address.eq(address),
                step_address.eq(address),
            ]

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.idle.eq(1)
                m.d.comb += self.instructions.ready.eq(self.tokens)
                m.d.comb += self.waiting.tokens.eq(self.instructions.valid & ~self.tokens)
                with m.If(self.instructions.valid & self.tokens):
                    new = self.instructions.payload
                    m.d.comb += self.take.eq(1)
                    m.d.sync += [i.eq(new), *(left[n].eq(new[n]) for n in loops)]
                    m.d.sync += [s.eq(new.chip) for s in (chip_tile, chip_row, chip)]
                    m.next = "tile"
            with m.State("tile"):
                m.d.comb += self.waiting.sums.eq(complete == 0)
                m.d.sync += restart_window(i.first_row.as_signed(), i.first_column.as_signed(), i.first_address)
                with m.If((complete != 0) & self.lanes_idle):
                    m.d.comb += self.load_parameters.eq(1)
                    m.next = "parameters"
            with m.State("parameters"), m.If(self.parameters_loaded):
                m.next = "walk"
            with m.State("walk"):
                m.d.comb += go.eq(~window_last | (gap == 0))
                m.d.comb += tile_done.eq(go & window_last & position_last)
                with m.If(tile_done):
                    m.d.comb += self.half_free.eq(1)
                    m.d.sync += [half.eq(~half), left["tiles"].eq(left["tiles"] - 1)]
                    m.next = "tile"
                    with m.If(left["tiles"] == 0):
                        m.next = "finish"
            with m.State("finish"), m.If(self.written):
                m.d.comb += self.give.eq(1)
                m.next = "idle"

        m.d.sync += complete.eq(complete + self.sums_ready - tile_done)
        with m.If(go & window_last):
            m.d.sync += gap.eq(p.lane_groups - 1)
        with m.Elif(gap != 0):
            m.d.sync += gap.eq(gap - 1)

        with m.If(go):
            with m.If(left["window_columns"] != 0):
                m.d.sync += [left["window_columns"].eq(left["window_columns"] - 1), step_column.eq(step_column + 1)]
            with m.Else():
                m.d.sync += [left["window_columns"].eq(i.window_columns), step_column.eq(corner_column)]
                with m.If(left["window_rows"] != 0):
                    m.d.sync += [
                        left["window_rows"].eq(left["window_rows"] - 1),
                        step_row.eq(step_row + 1),
                        step_address.eq(step_address + i.map_columns),
                    ]
                with m.Else():
                    m.d.sync += left["window_rows"].eq(i.window_rows)
                    with m.If(left["columns"] != 0):
                        m.d.sync += [left["columns"].eq(left["columns"] - 1), chip.eq(chip + i.column_step)]
                        m.d.sync += restart_window(corner_row, corner_column + i.stride_columns, corner_address)
                    with m.Else():
                        m.d.sync += left["columns"].eq(i.columns)
                        with m.If(left["rows"] != 0):
                            m.d.sync += [
                                left["rows"].eq(left["rows"] - 1),
                                *(c.eq(chip_row + i.row_step) for c in (chip_row, chip)),
                                *restart_window(
                                    corner_row + i.stride_rows,
                                    i.first_column.as_signed(),
                                    corner_address + i.stride_address,
                                ),
                            ]
                        with m.Else():
                            m.d.sync += left["rows"].eq(i.rows)
                            m.d.sync += [c.eq(chip_tile + i.tile_step) for c in (chip_tile, chip_row, chip)]

        inside = (step_row >= 0) & (step_row < i.map_rows) & (step_column >= 0) & (step_column < i.map_columns)
        m.d.comb += [
            self.half.eq(half),
            self.address.eq(step_address + step_column),
            self.step.valid.eq(go),
            self.step.inside.eq(inside),
            self.step.last.eq(window_last),
            self.step.chip.eq(chip),
            self.step.tile_last.eq(left["tiles"] == 0),
            self.instruction.eq(i),
            self.give_to.eq(i.post),
        ]
        return m


class VectorUnit(wiring.Component):
    """Accumulators in, feature maps out.

    One vector of C sums every max(window size, ceil(C / lanes)) cycles, after parameter_rows + 1 for a channel tile's
    parameters.  Maxima are taken over sums, before
    requantization, which is monotonic: the lanes see one vector a window.  Nothing stalls: the activation
    memory always takes a write.

    Members: as Walk's, and drain_half, drain_address : Out;  drained : In, (C,) sums, a cycle later
             parameter_write, parameter_row, parameter_data : In, from the weight writer;  parameter_slot_free : Out
             write : Out, see activations.write_layout
    """

    def __init__(self, parameters):
        self._parameters = p = parameters
        super().__init__(
            {
                "instructions": In(stream.Signature(DRAIN)),
                "tokens": In(1),
                "take": Out(1),
                "give": Out(1),
                "give_to": Out(4),
                "sums_ready": In(1),
                "half_free": Out(1),
                "drain_half": Out(1),
                "drain_address": Out(range(max(2, p.accumulator_depth))),
                "drained": In(data.ArrayLayout(signed(p.sum_bits), p.columns)),
                "parameter_write": In(1),
                "parameter_row": In(range(2 * p.parameter_rows)),
                "parameter_data": In(p.weight_row_bits),
                "parameter_slot_free": Out(1),
                "write": Out(write_layout(p)),
                "idle": Out(1),
                "waiting": Out(data.StructLayout({"tokens": 1, "sums": 1})),
            }
        )

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        m.submodules.walk = walk = Walk(p)
        for name in ("tokens", "sums_ready"):
            m.d.comb += getattr(walk, name).eq(getattr(self, name))
        m.d.comb += [
            walk.instructions.payload.eq(self.instructions.payload),
            walk.instructions.valid.eq(self.instructions.valid),
            self.instructions.ready.eq(walk.instructions.ready),
            self.take.eq(walk.take),
            self.give.eq(walk.give),
            self.give_to.eq(walk.give_to),
            self.half_free.eq(walk.half_free),
            self.drain_half.eq(walk.half),
            self.drain_address.eq(walk.address),
            self.waiting.eq(walk.waiting),
            self.idle.eq(walk.idle),
        ]
        i = walk.instruction
        channels = self._channel_parameters(m, walk)

        # reduce: the accumulators answer a cycle after the step
        step = step_layout(p)(delayed(m, walk.step.as_value(), 1, name="step", init=0))
        empty = Signal(init=1)
        best = [Signal(signed(p.sum_bits), name=f"best_{c}", reset_less=True) for c in range(p.columns)]
        better = [Mux(empty | (v > b), v, b) for v, b in zip(self.drained, best, strict=True)]
        with m.If(step.valid):
            with m.If(step.inside):
                m.d.sync += [empty.eq(0), *(b.eq(v) for b, v in zip(best, better, strict=True))]
            with m.If(step.last):
                m.d.sync += empty.eq(1)

        # rescale: shift the vector through the lanes, ``lanes`` columns a cycle
        reduced = step_layout(p)(delayed(m, step.as_value(), 1, name="reduced", init=0))
        groups = p.lane_groups
        padded = groups * p.lanes
        held = [Signal(signed(p.sum_bits), name=f"held_{c}", reset_less=True) for c in range(padded)]
        group = Signal(range(groups + 1), init=groups)  # the next to enter the lanes; ``groups``: none
        target = step_layout(p)(Signal(step_layout(p).size, name="target", reset_less=True))
        load = Signal()
        busy = Signal()
        m.d.comb += [load.eq(reduced.valid & reduced.last), busy.eq(group != groups)]
        with m.If(load):
            m.d.sync += [group.eq(0), target.eq(reduced)]
            m.d.sync += [h.eq(b) for h, b in zip(held, best, strict=False)]
        with m.Elif(busy):
            m.d.sync += group.eq(group + 1)
        with m.If(busy & ~load):
            m.d.sync += [h.eq(n) for h, n in zip(held, held[p.lanes :], strict=False)]
        with m.If(busy):
            m.d.sync += [c.eq(n) for c, n in zip(channels, channels[p.lanes :] + channels[: p.lanes], strict=True)]

        form = format_layout(p)(Cat(*(i[n][: 8 * p.element_bytes] for n in ("zero_point", "low", "high"))))
        lanes = []
        for number in range(p.lanes):
            m.submodules[f"lane_{number}"] = lane = Requantize(p)
            m.d.comb += [lane.sum.eq(held[number]), lane.channel.eq(channels[number]), lane.format.eq(form)]
            lanes.append(lane)

        # collect: a vector of activations is written whole, raw sums as they come
        latency = Requantize.LATENCY
        out_group = delayed(m, group, latency, name="group", init=groups)
        out = step_layout(p)(delayed(m, target.as_value(), latency, name="target"))
        raw = i.raw
        collected = [Signal(8 * p.element_bytes, name=f"collected_{c}", reset_less=True) for c in range(padded)]
        fresh = [lane.activation for lane in lanes]
        gathered = (collected + fresh)[-padded:]
        m.d.sync += [c.eq(v) for c, v in zip(collected, gathered, strict=True)]
        raw_data = Cat(*(lane.raw_sum for lane in lanes))
        channels_valid = Mux(out.tile_last, i.last_channels, i.channels)
        raw_before = Signal(range(padded + 1))
        m.d.comb += raw_before.eq(out_group * p.lanes)
        raw_left = Signal(signed(10))
        m.d.comb += raw_left.eq(channels_valid - raw_before)
        raw_count = Mux(raw_left > p.lanes, p.lanes, raw_left)
        write = Signal(write_layout(p), reset_less=True)
        m.d.sync += [
            write.valid.eq(Mux(raw, (out_group != groups) & (raw_left > 0), out_group == groups - 1)),
            write.address.eq(out.chip + Mux(raw, (raw_before * p.sum_elements)[: p.address_bits], 0)),
            write.low.eq(0),
            write.high.eq(Mux(raw, (raw_count * p.sum_elements)[:10], channels_valid)),
            write.data.eq(Mux(raw, raw_data, Cat(*gathered)[: p.columns * 8 * p.element_bytes])),
        ]
        m.d.comb += self.write.eq(write)

        # when the last write has had time to be committed
        flight = Signal(range(WRITTEN + 1))
        with m.If(~walk.lanes_idle):
            m.d.sync += flight.eq(WRITTEN)
        with m.Elif(flight != 0):
            m.d.sync += flight.eq(flight - 1)
        m.d.comb += [
            walk.lanes_idle.eq(~(busy | step.valid | reduced.valid)),
            walk.written.eq(walk.lanes_idle & (flight == 0)),
        ]
        return m

    def _channel_parameters(self, m, walk):
        """Rows of weights hold the parameters bit-sliced: row j has bits [j * weight_bits, ...) of every channel."""
        p = self._parameters
        rows, width = p.parameter_rows, p.weight_bits
        m.submodules.parameters = memory = Memory(shape=p.weight_row_bits, depth=2 * rows, init=[])
        writer, reader = memory.write_port(), memory.read_port()
        m.d.comb += [
            writer.addr.eq(self.parameter_row),
            writer.data.eq(self.parameter_data),
            writer.en.eq(self.parameter_write),
        ]
        groups, lanes = p.lane_groups, p.lanes
        padded = groups * lanes
        channels = [Signal(CHANNEL, name=f"channel_{c}", reset_less=True) for c in range(padded)]
        slot, row, loading = Signal(), Signal(range(rows + 1)), Signal()
        arrived = delayed(m, loading, 1, name="loading", init=0)
        m.d.comb += reader.addr.eq(Mux(slot, rows, 0) + row)
        with m.If(walk.load_parameters):
            m.d.sync += [loading.eq(1), row.eq(0)]
        with m.If(loading):
            m.d.sync += row.eq(row + 1)
            with m.If(row == rows - 1):
                m.d.sync += loading.eq(0)
        for c in range(p.columns):
            piece = reader.data[c * width : (c + 1) * width]
            shifted = Cat(channels[c].as_value()[width:], piece) if width * rows == 64 else None
            if shifted is None:
                # the last row carries fewer bits than a weight has: shift through a register that holds them all
                wide = Signal(width * rows, name=f"sliced_{c}", reset_less=True)
                with m.If(arrived):
                    m.d.sync += wide.eq(Cat(wide[width:], piece))
                shifted = Cat(wide[width:], piece)[:64]
            with m.If(arrived):
                m.d.sync += channels[c].as_value().eq(shifted)
        done = Signal()
        m.d.comb += done.eq(arrived & ~loading)
        with m.If(done):
            m.d.sync += slot.eq(~slot)
        m.d.comb += [self.parameter_slot_free.eq(done), walk.parameters_loaded.eq(done)]
        return channels
