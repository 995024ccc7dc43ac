"""From bus beats to rows of the array's weights, and into its shadow registers."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from amaranth import Array, C, Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from ..isa.parameters import PACKINGS
from ..isa.ranges import check_choice, check_range
from .credits import Credits
from .delay import delayed
from .register_slice import RegisterSlice
from .widening import form_layout


class Gearbox(wiring.Component):
    """Repack beats of ``source`` bits as words of ``target`` bits, least significant first, none lost between.

    After a beat marked ``last``, input waits for ``flush``, which drops what is left of that beat.  Moves whole units
    of the widths' greatest common divisor, so equal widths need no shifter.  One word a cycle while the beats last; the
    first follows its beat by LATENCY cycles.

    Parameters: source, target : int, bits
    Members:    beats : In(stream), data of ``source`` bits and last;  words : Out(stream), ``target`` bits
                flush : In
    """

    LATENCY = 1 + RegisterSlice.LATENCY
    HELD = RegisterSlice.DEPTH + 1
    """Words that it takes at least, whole, while none is taken from it."""

    def __init__(self, *, source: int, target: int) -> None:
        check_range("source bits", source, 1, 1 << 12)
        check_range("target bits", target, 1, 1 << 12)
        self._unit = unit = gcd(source, target)
        self._source, self._target = source // unit, target // unit
        super().__init__(
            {
                "beats": In(stream.Signature(data.StructLayout({"data": source, "last": 1}))),
                "words": Out(stream.Signature(target)),
                "flush": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        source, target, unit = self._source, self._target, self._unit
        capacity = source + target - 1  # a beat comes when less than a word is left
        buffer = Signal(capacity * unit, reset_less=True)
        level = Signal(range(capacity + 1))
        ended = Signal()
        kept = Signal(range(capacity + 1))
        rest = buffer[target * unit :]  # without the word in front
        taken = Signal()

        # a slice, so that what a reader does moves no bit of the buffer in the same cycle
        ahead = RegisterSlice(shape=self.words.payload.shape())
        m.submodules.ahead = ResetInserter(self.flush)(ahead)
        wiring.connect(m, ahead.outgoing, wiring.flipped(self.words))
        m.d.comb += [
            ahead.incoming.payload.eq(buffer[: target * unit]),
            ahead.incoming.valid.eq(level >= target),
            taken.eq(ahead.incoming.valid & ahead.incoming.ready),
            kept.eq(Mux(taken, level - target, level)),
            self.beats.ready.eq(~ended & (kept < target)),
        ]
        m.d.sync += level.eq(kept)
        with m.If(taken):
            m.d.sync += buffer[: len(rest)].eq(rest)
        with m.If(self.beats.valid & self.beats.ready):
            m.d.sync += level.eq(kept + source)
            with m.Switch(kept):
                for at in range(target):
                    with m.Case(at):
                        remaining = Mux(taken, rest, buffer)[: at * unit]
                        # what lies above does not count
                        m.d.sync += buffer[: (at + source) * unit].eq(Cat(remaining, self.beats.payload.data))
            with m.If(self.beats.payload.last):
                m.d.sync += ended.eq(1)
        with m.If(self.flush):
            m.d.sync += [ended.eq(0), level.eq(0)]
        return m


class WeightWriter(wiring.Component):
    """Writes weight tiles into the array's shadow registers, one row a cycle, one tile ahead of the pixels.

    An order asks for ``tiles`` channel tiles of ``passes`` weight tiles each; a channel tile may begin with its
    requantization parameters, which go to the vector unit's parameter rows instead, two channel tiles ahead.
    ``loaded`` is up from the cycle after a tile's last row until the tile is swapped in, which is in the first cycle in
    which it is not ``held``; a new tile's first row may be written in that cycle.  An order's first row follows it by
    LATENCY cycles.

    Where words may be packed, an order says how many rows a word carries.  One cycle writes as many as the array has
    parts: cycle t of R / g row t and those R / g, 2 R / g, ... behind it, g in all.

    Parameters: rows : int, R;  row_bits : int, of a word: a wide weight for each column
                pass_cycles : int, at least 2: fewest cycles from one tile's first row to the next one's
                parameter_rows : int, words that carry a channel tile's requantization parameters
                packing : int, most rows in a word;  parts : int, of the array's rows
    Members:    orders : In(stream), order_layout;  rows : In(stream), row_bits
                flush : Out, in the cycle after an order's last row, in which none is taken
                held : In;  loaded : Out;  weights, weight_row, form : Out, to the array
                parameter_write : Out;  parameter_row : Out, address in two slots;  parameter_slot_free : In, pulse
    """

    LATENCY = 1
    SLOTS = 2

    def __init__(
        self, *, rows: int, row_bits: int, pass_cycles: int, parameter_rows: int, packing: int = 1, parts: int = 1
    ) -> None:
        check_range("rows", rows, 1, 128)
        check_range("row bits", row_bits, 1, 1 << 12)
        check_range("pass cycles", pass_cycles, 2, 1 << 12)
        check_range("parameter rows", parameter_rows, 2, 1 << 12)
        check_choice("packing", packing, tuple(n for n in PACKINGS if rows % n == 0))
        check_choice("parts", parts, tuple(n for n in PACKINGS if n <= packing))
        self._rows, self._parameter_rows, self._packing = rows, parameter_rows, packing
        self._tiles = [_Tile(rows, n, min(n, parts), pass_cycles) for n in PACKINGS if n <= packing]
        super().__init__(
            {
                "orders": In(stream.Signature(order_layout(packing))),
                "rows": In(stream.Signature(row_bits)),
                "flush": Out(1),
                "held": In(1),
                "loaded": Out(1),
                "weights": Out(row_bits),
                "weight_row": Out(rows),
                "form": Out(form_layout(packing)),
                "parameter_write": Out(1),
                "parameter_row": Out(range(2 * parameter_rows)),
                "parameter_slot_free": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order = self.orders.payload
        row = Signal(range(max(self._tiles[0].cycles, self._parameter_rows)))
        passes = Signal(order.passes.shape())
        tiles = Signal(order.tiles.shape())
        last_pass, last_tile = Signal(), Signal()  # looked at two cycles after a count or the order changes, or later
        ordered = Signal()  # there is an order, since the cycle before
        in_parameters = Signal(reset_less=True)
        slot = Signal()
        free_slots = Credits(self.SLOTS, init=self.SLOTS, name="free_slots")
        slot_taken = Signal()

        last_row = Signal()  # as a register, like all that a step asks
        step, ended, done = Signal(), Signal(), Signal()
        m.d.comb += [
            self.weights.eq(self.rows.payload),
            self.parameter_row.eq(Mux(slot, self._parameter_rows, 0) + row),
        ]
        every = [tile.of_cycle(row) for tile in self._tiles]
        before_last_of_tile = self._of_order([C(tile.cycles - 2) for tile in self._tiles])
        if self._packing > 1:
            m.d.comb += [self.form.packing.eq(order.packing), self.form.piece.eq(row)]
            before_last_of_tile = delayed(m, before_last_of_tile, 1, name="before_last")
        with m.If(in_parameters):
            m.d.comb += [
                step.eq(self.rows.valid & self.rows.ready),
                ended.eq(step & last_row),
                self.rows.ready.eq(ordered & free_slots.some),
                self.parameter_write.eq(step),
            ]
        with m.Else():
            may_write = ordered & ~(self.loaded & self.held)
            real, ends_word, weight_row = (self._of_order(values) for values in zip(*every, strict=True))
            m.d.comb += [
                step.eq(may_write & (self.rows.valid | ~real)),
                # a swap lets a tile's first row go, never its last: so it moves no count
                ended.eq(last_row & ordered & ~self.loaded & (self.rows.valid | ~real)),
                self.rows.ready.eq(may_write & real & ends_word if self._packing > 1 else may_write & real),
                self.weight_row.eq(Mux(step & real, weight_row, 0)[: self._rows]),
            ]

        m.d.sync += [last_pass.eq(passes == order.passes), last_tile.eq(tiles == order.tiles), self.flush.eq(0)]
        # an order leaves in the cycle after its last row
        m.d.comb += self.orders.ready.eq(done)
        m.d.sync += [ordered.eq(self.orders.valid & ~done), done.eq(0)]
        with m.If(~ordered):
            m.d.sync += in_parameters.eq(order.parameters)
        with m.If(~self.held):
            m.d.sync += self.loaded.eq(0)
        with m.If(step):
            before_last = Mux(in_parameters, self._parameter_rows - 2, before_last_of_tile)
            m.d.sync += [row.eq(row + 1), last_row.eq(row == before_last)]
        with m.If(ended):
            m.d.sync += [row.eq(0), last_row.eq(0)]
            with m.If(in_parameters):
                m.d.sync += [in_parameters.eq(0), slot.eq(~slot)]
                m.d.comb += slot_taken.eq(1)
            with m.Else():
                m.d.sync += [self.loaded.eq(1), passes.eq(passes + 1)]
                with m.If(last_pass):
                    m.d.sync += [passes.eq(0), tiles.eq(tiles + 1), in_parameters.eq(order.parameters)]
                    with m.If(last_tile):
                        m.d.sync += [tiles.eq(0), self.flush.eq(order.flush), done.eq(1), ordered.eq(0)]
        free_slots.change(m, self.parameter_slot_free, slot_taken)
        return m

    def _of_order(self, by_packing: Sequence[Value]) -> Value:
        return by_packing[0] if self._packing == 1 else Array(by_packing)[self.orders.payload.packing]


@dataclass(frozen=True)
class _Tile:
    """A weight tile of words of ``packing`` rows, ``together`` of which are written at once.  cycles : at least"""

    rows: int
    packing: int
    together: int
    pass_cycles: int

    @property
    def cycles(self) -> int:
        return max(self.rows // self.together, self.pass_cycles)

    def of_cycle(self, cycle: Signal) -> tuple[Value, Value, Value]:
        """Whether rows are written in a ``cycle`` (after them it only waits, for the accumulators), whether these are
        the last of their word, and which they are, R bits."""
        steps, pieces = self.rows // self.together, self.packing // self.together
        real = cycle < steps if steps < self.cycles else C(1)
        row = 1 << cycle
        written = row if self.together == 1 else row[:steps].replicate(self.together)
        ends_word = cycle[: exact_log2(pieces)].all() if pieces > 1 else C(1)
        return real, ends_word, written


def order_layout(packing: int = 1) -> data.StructLayout:
    """How many weight tiles an instruction takes: ``passes`` and ``tiles`` are counts less one.

    packing : most rows in a word; of several the order says how many, as their log2
    """
    packed = {"packing": form_layout(packing)["packing"].shape} if packing > 1 else {}
    return data.StructLayout({"tiles": 16, "passes": 24, "parameters": 1, "flush": 1, **packed})
