"""The instructions of one spatial tile of one layer."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from ..quant.graph import Pair
from .lowering import ONE, EngineLayer, Pool
from .plan import Drained, Plan
from .program import Combine, Operation
from .residency import TABLE_BYTES, Placement
from .sync import Instruction, Range
from .tiling import (
    ChannelTile,
    Part,
    SpatialTile,
    pixel_pitch,
    row_pitch,
    size,
    source_elements,
    source_rows,
    spatial_tile,
)

WRAP = 1 << 24


@dataclass(frozen=True)
class Piece:
    """A rectangle of a map in the activation memory: ``rows`` and ``elements`` of each, half open, from ``base`` on."""

    base: int
    rows: Range
    elements: Range

    def address(self, row: int, element: int) -> int:
        return self.base + (row - self.rows[0]) * size(self.elements) + element - self.elements[0]


@dataclass
class Turns:
    """How often each layer has used its slots, and what the vector unit was last set up for."""

    loads: dict[int, int] = field(default_factory=partial(defaultdict, int))
    tiles: dict[int, int] = field(default_factory=partial(defaultdict, int))
    settings: dict[str, int] = field(default_factory=dict)
    tables: int = -1  # the layer whose tables the lanes hold
    tables_on_chip: set[int] = field(default_factory=set)


class Emitter:
    """Appends instructions to a plan's program."""

    def __init__(self, result: Plan) -> None:
        self.plan, self.turns = result, Turns()

    def tile(self, number: int, tile: SpatialTile) -> "TileEmitter":
        emitter = TileEmitter(self.plan, self.turns, number, tile)
        self.turns.tiles[number] += 1
        return emitter


class TileEmitter:
    """Appends the instructions of one tile; others may be appended in between."""

    def __init__(self, result: Plan, turns: Turns, number: int, tile: SpatialTile) -> None:
        self.plan, self.turns, self.number, self.tile = result, turns, number, tile
        self.p = result.parameters
        self.it: EngineLayer = result.layers[number]
        self.place: Placement = result.placements[number]
        self.turn = turns.tiles[number]
        self.depth = result.graph.tensors[self.it.output].shape[0]  # channels of the whole output tensor
        self.source = Piece(0, (0, 0), (0, 0))
        self.added = Piece(0, (0, 0), (0, 0))

    def _emit(
        self,
        operation: Operation,
        fields: dict[str, int],
        *,
        chip_reads: tuple[Range, ...] = (),
        chip_writes: Range = (0, 0),
        dram_reads: Range = (0, 0),
        dram_writes: Range = (0, 0),
    ) -> None:
        self.plan.program.append(
            Instruction(operation, self.number, fields, chip_reads, chip_writes, dram_reads, dram_writes)
        )

    # transfers in

    def load(self, part: Part, channels: Pair) -> None:
        """Bring the part's piece of the source into the next slot, unless the source is resident."""
        depth, height, width = self.it.source
        if self.place.source is not None:
            self.source = Piece(self.place.source + self.it.input_at, (0, height), (0, depth * width))
            return
        slots, turn = self.place.input_slots, self.turns.loads[self.number]
        self.turns.loads[self.number] += 1
        rows = source_rows(self.it, self.tile, part)
        elements = source_elements(self.it, self.tile, part, channels)
        self.source = Piece(slots[turn % len(slots)], rows, elements)
        self._fill(self.source, self.it.input, self.it.input_at, width * depth)

    def load_operand(self) -> None:
        """Bring the tile's piece of the map that is added, unless it is resident."""
        depth, height, width = self.it.target
        if not self.it.operand:
            return
        if self.place.operand is not None:
            self.added = Piece(self.place.operand + self.it.operand_at, (0, height), (0, depth * width))
            return
        slots, columns = self.place.operand_slots, self.tile.columns
        elements = (columns[0] * depth, columns[1] * depth)
        self.added = Piece(slots[self.turn % len(slots)], self.tile.rows, elements)
        self._fill(self.added, self.it.operand, self.it.operand_at, width * depth)

    def _fill(self, piece: Piece, tensor: str, first: int, row: int) -> None:
        """LOAD ``piece`` of ``tensor`` from element ``first`` on, whose rows have ``row`` elements."""
        each = self.p.element_bytes
        count, pitch = size(piece.rows), size(piece.elements)
        start = self.plan.maps[tensor].address + (first + piece.rows[0] * row + piece.elements[0]) * each
        step = row * each
        spans = {"rows": count - 1, "bytes": pitch * each}
        if pitch == row:
            spans = {"rows": 0, "bytes": count * pitch * each}
        self._emit(
            Operation.LOAD,
            {**spans, "dram": start, "dram_step": step, "chip": piece.base, "chip_step": pitch},
            dram_reads=(start, start + (count - 1) * step + pitch * each),
            chip_writes=(piece.base, piece.base + count * pitch),
        )

    def weights(self) -> None:
        stream = self.plan.streams[self.number]
        address = self.plan.regions["constants"].address + stream.address
        self._emit(Operation.WEIGHTS, {"dram": address, "beats": stream.bytes // self.p.bus_bytes})

    # the array

    def reduction(self, group: list[ChannelTile], last_group: bool) -> None:
        """Each channel tile of ``group`` part by part, each with its own load."""
        parts = self.place.tiling.parts
        for channel_tile in group:
            for part in parts:
                first, last = part is parts[0], part is parts[-1]
                self.load(part, (channel_tile.input, channel_tile.input))
                flush = last_group and channel_tile is group[-1] and last
                self.array([channel_tile], part, first=first, last=last, flush=flush)

    def array(self, group: list[ChannelTile], part: Part, *, first: bool, last: bool, flush: bool) -> None:
        it, p, source = self.it, self.p, self.source
        depth, height, width = it.source
        rows, columns = self.tile.convolved_rows, self.tile.convolved_columns
        pitch = size(source.elements)
        line = rows[0] * it.strides[0] - it.pads[0] + part.kernel_rows[0] * it.dilations[0]
        column = columns[0] * it.strides[1] - it.pads[1] + part.kernel_columns[0] * it.dilations[1]
        chunks = -(-size(part.run) // p.rows)
        kernel_rows, kernel_columns = size(part.kernel_rows), size(part.kernel_columns)
        used = source_rows(it, self.tile, part)
        start = source.address(used[0], source.elements[0])
        self._emit(
            Operation.ARRAY,
            {
                "first": first,
                "last": last,
                "parameters": first,
                "flush": flush,
                "tiles": len(group) - 1,
                "passes": kernel_rows * kernel_columns * chunks - 1,
                "kernel_rows": kernel_rows - 1,
                "kernel_columns": kernel_columns - 1,
                "chunks": chunks - 1,
                "rows": size(rows) - 1,
                "columns": size(columns) - 1,
                "padding": it.padding,
                "column": column * depth + part.run[0] + group[0].input,
                "column_step": it.strides[1] * depth,
                "kernel_column_step": it.dilations[1] * depth,
                "tile_step": group[1].input - group[0].input if len(group) > 1 else 0,
                "row": source.address(line, 0) % WRAP,
                "row_step": it.strides[0] * pitch,
                "kernel_row_step": it.dilations[0] * pitch,
                "line": line,
                "line_step": it.strides[0],
                "kernel_line_step": it.dilations[0],
                "lines": height,
                "row_elements": width * depth,
            },
            chip_reads=((start, start + size(used) * pitch),),
        )

    # the vector unit

    def vector(self, group: list[ChannelTile]) -> None:
        """Everything behind the sums of ``group``'s channel tiles, or behind the source where there is no array."""
        for tile, scale in self._rectangles():
            self._setup(group, scale)
            self._results(group, tile)

    def _rectangles(self) -> Iterator[tuple[SpatialTile, Pair]]:
        """The tile, cut where the number of elements that a window counts changes, and the scale of each piece."""
        pool = self.it.pool
        if pool is None or pool.average is None:
            yield self.tile, ONE
            return
        for rows, high in _constant(pool, 0, self.tile.rows, self.it.source[1]):
            for columns, wide in _constant(pool, 1, self.tile.columns, self.it.source[2]):
                yield spatial_tile(self.it, rows, columns), pool.scales[high * wide]

    def _setup(self, group: list[ChannelTile], scale: Pair) -> None:
        """Settings, if they are not those that the vector unit has already."""
        it, p = self.it, self.p
        pool = it.pool or Pool((1, 1), (1, 1), (0, 0, 0, 0))
        depth = it.source[0]
        each = p.sum_elements if it.raw else 1
        fields = {
            "from_map": not it.on_array,
            "total": pool.average is not None,
            "raw": it.raw,
            "combine": it.combine,
            "window_rows": pool.kernel[0] - 1,
            "window_columns": pool.kernel[1] - 1,
            "stride_rows": pool.strides[0],
            "stride_columns": pool.strides[1],
            "source_column_step": pool.strides[1] * (1 if it.on_array else depth),
            "window_column_step": 1 if it.on_array else depth,
            "column_step": self._pixel_pitch(),
            "tile_step": group[0].channels * each,
        }
        if not it.on_array:
            fields |= {"mantissa": scale[0], "shift": scale[1], "source_zero": it.source_zero}
            fields["source_tile_step"] = group[1].input - group[0].input if len(group) > 1 else 0
        if it.format is not None:
            fields |= {n: getattr(it.format, n) for n in ("zero_point", "low", "high")}
        if it.combine != Combine.NONE:
            fields |= {"final_low": it.final[0], "final_high": it.final[1]}
        if it.operand:
            fields |= {"operand_column_step": it.target[0], "operand_tile_step": group[0].channels}
        if (layer := it.normalization) is not None:
            before = (layer.size - 1) // 2
            fields |= {
                "normalize": 1,
                "size": layer.size - 1,
                "before": before,
                "drop": layer.shift,
                "shift": layer.exponent - 20,
                "depth": it.target[0] + before,
                "source_tile_step": p.columns - layer.size + 1,
            }
        reads: tuple[Range, ...] = ()
        loading = it.tables is not None and self.turns.tables != self.number
        if not loading and fields == self.turns.settings:
            return
        self.turns.settings = dict(fields)
        if loading:
            assert self.place.tables is not None
            self._load_tables(self.place.tables)
            self.turns.tables = self.number
            fields |= {"load_tables": 1, "tables": self.place.tables}
            reads = ((self.place.tables, self.place.tables + TABLE_BYTES),)
        self._emit(Operation.SETUP, fields, chip_reads=reads)

    def _load_tables(self, chip: int) -> None:
        if self.number in self.turns.tables_on_chip:
            return
        self.turns.tables_on_chip.add(self.number)
        region = self.plan.tables[self.number]
        start = self.plan.regions["constants"].address + region.address
        self._emit(
            Operation.LOAD,
            {"rows": 0, "bytes": region.bytes, "dram": start, "dram_step": 0, "chip": chip, "chip_step": 0},
            chip_writes=(chip, chip + TABLE_BYTES),
        )

    def _results(self, group: list[ChannelTile], tile: SpatialTile) -> None:
        it, p, source = self.it, self.p, self.source
        each = p.sum_elements if it.raw else 1
        pool = it.pool or Pool((1, 1), (1, 1), (0, 0, 0, 0))
        first_row = tile.rows[0] * pool.strides[0] - pool.pads[0] - tile.convolved_rows[0]
        first_column = tile.columns[0] * pool.strides[1] - pool.pads[1] - tile.convolved_columns[0]
        reads: list[Range] = []
        if it.on_array:
            pitch = size(tile.convolved_columns)
            start = first_row * pitch + first_column
        else:
            pitch, depth = size(source.elements), it.source[0]
            row, column = tile.convolved_rows[0] + first_row, tile.convolved_columns[0] + first_column
            start = source.address(row, column * depth + group[0].input)
            low = source.address(tile.convolved_rows[0], source.elements[0])
            reads.append((low, low + size(tile.convolved_rows) * pitch))
        operand = {}
        if it.operand:
            added_pitch = size(self.added.elements)
            where = self.added.address(tile.rows[0], tile.columns[0] * it.target[0])
            operand = {"operand": where + group[0].output, "operand_row_step": added_pitch}
            low = self.added.address(tile.rows[0], self.added.elements[0])
            reads.append((low, low + size(tile.rows) * added_pitch))
        pixel, row_step = self._pixel_pitch(), self._row_pitch()
        chip = self._output(tile)
        last = chip + (size(tile.rows) - 1) * row_step + (size(tile.columns) - 1) * pixel
        self._emit(
            Operation.VECTOR,
            {
                "tiles": len(group) - 1,
                "rows": size(tile.rows) - 1,
                "columns": size(tile.columns) - 1,
                "first_row": first_row,
                "first_column": first_column,
                "map_rows": size(tile.convolved_rows),
                "map_columns": size(tile.convolved_columns),
                "source": start % WRAP,
                "source_row_step": pool.strides[0] * pitch,
                "window_row_step": pitch,
                "chip": chip + group[0].output * each,
                "row_step": row_step,
                "channels": group[0].channels,
                "last_channels": group[-1].channels,
                **operand,
            },
            chip_reads=tuple(reads),
            chip_writes=(chip + group[0].output * each, last + (group[-1].output + group[-1].channels) * each),
        )
        for channel_tile in group:
            self.plan.drained.append(
                Drained(
                    self.number,
                    (tile.rows[0], size(tile.rows)),
                    (tile.columns[0], size(tile.columns)),
                    (it.channel + channel_tile.output, channel_tile.channels),
                    p.lanes if it.raw else p.columns,
                )
            )

    # the result

    def _pixel_pitch(self) -> int:
        if self.place.output is not None:
            return self.depth
        return pixel_pitch(self.it, self.p, self.depth)

    def _row_pitch(self) -> int:
        if self.place.output is not None:
            return self.it.target[2] * self.depth
        return row_pitch(self.it, self.tile, self.p, self.depth)

    def _output(self, tile: SpatialTile) -> int:
        """Chip address of channel 0 of the first result of ``tile``, which lies in this tile."""
        if self.place.output is not None:
            width = self.it.target[2]
            inside = (tile.rows[0] * width + tile.columns[0]) * self.depth + self.it.channel
            return self.place.output + self.it.output_at + inside
        slots = self.place.output_slots
        inside = (tile.rows[0] - self.tile.rows[0]) * self._row_pitch()
        inside += (tile.columns[0] - self.tile.columns[0]) * self._pixel_pitch()
        start, _ = self._output_dram()
        return slots[self.turn % len(slots)] + start // self.p.element_bytes % self.p.bus_elements + inside

    def _output_dram(self) -> tuple[int, int]:
        """(byte address of the tile's first result, bytes from row to row)."""
        each = 4 if self.it.raw else self.p.element_bytes
        width = self.it.target[2]
        start = self.it.output_at + (self.tile.rows[0] * width + self.tile.columns[0]) * self.depth + self.it.channel
        return self.plan.maps[self.it.output].address + start * each, width * self.depth * each

    def store(self) -> None:
        """The tile's result to DRAM, unless it is resident."""
        if self.place.output is not None:
            return
        chip, pitch = self._output(self.tile), self._row_pitch()
        start, step = self._output_dram()
        each = 4 if self.it.raw else self.p.element_bytes
        rows, columns, pixel = size(self.tile.rows), size(self.tile.columns), self.it.target[0] * each
        if self.it.target[0] == self.depth:
            if columns * pixel == step:
                self._span(1, rows * step, start, 0, chip, 0)
            else:
                self._span(rows, columns * pixel, start, step, chip, pitch)
            return
        # a part of each pixel
        apart, near = self.depth * each, self._pixel_pitch()
        if columns * apart == step:
            self._span(rows * columns, pixel, start, apart, chip, near)
            return
        for row in range(rows):
            self._span(columns, pixel, start + row * step, apart, chip + row * pitch, near)

    def _span(self, count: int, length: int, dram: int, dram_step: int, chip: int, chip_step: int) -> None:
        self._emit(
            Operation.STORE,
            {
                "rows": count - 1,
                "bytes": length,
                "dram": dram,
                "dram_step": dram_step,
                "chip": chip,
                "chip_step": chip_step,
            },
            chip_reads=((chip, chip + (count - 1) * chip_step + length // self.p.element_bytes),),
            dram_writes=(dram, dram + (count - 1) * dram_step + length),
        )


def _constant(pool: Pool, axis: int, span: Range, length: int) -> list[tuple[Range, int]]:
    """``span`` of an average's results cut where windows count other numbers, along one axis of ``length``."""
    average = pool.average
    assert average is not None
    before, after = pool.pads[axis], pool.pads[axis + 2]
    low, high = (-before, length + after - average.ceil[axis]) if average.include_pad else (0, length)
    cuts: list[tuple[Range, int]] = []
    for place in range(*span):
        first = place * pool.strides[axis] - before
        count = min(high, first + pool.kernel[axis]) - max(low, first)
        if cuts and cuts[-1][1] == count:
            cuts[-1] = ((cuts[-1][0][0], place + 1), count)
        else:
            cuts.append(((place, place + 1), count))
    return cuts
