"""The instructions of one spatial tile of one layer, or of one slice of its channels."""

from collections.abc import Sequence

from ...quant.graph import Pair
from ..isa.program import AFFINE_ROWS, Operation
from .cost import pixel_pitch, row_pitch
from .cutting import (
    ChannelTile,
    Part,
    Slice,
    SpatialTile,
    inputs_of,
    own_loads,
    slices,
    source_columns,
    source_elements,
    source_rows,
    spatial_tile,
)
from .dram import Region
from .engine_layer import EngineLayer, Pool
from .instruction import Drained, Instruction
from .kernel_steps import kernel, pass_fields
from .placement import Placement
from .plan import Plan
from .span import Span, size
from .spans import of_pixels, of_rows
from .turns import Piece, Turns
from .vector_settings import rectangles, settings

WRAP = 1 << 24


class TileEmitter:
    """Makes the instructions of one slice of one tile; those of others may come in between.

    plan : its program is not looked at;  turns : shared by all tiles of a program;  slice_ : by index
    """

    def __init__(self, plan: Plan, turns: Turns, number: int, tile: SpatialTile, slice_: int = 0) -> None:
        self.plan, self.turns, self.number, self.tile = plan, turns, number, tile
        self.p = plan.parameters
        self.it: EngineLayer = plan.layers[number]
        self.place: Placement = plan.placements[number]
        self.g = self.it.geometry if self.place.source is not None else self.it.geometry.taken
        self.kernel = kernel(self.g, self.p)
        every = slices(self.g, self.p, self.place.tiling.sliced)
        self.slice: Slice = every[slice_]
        self.outputs = size(every[0].outputs)  # channels in a pixel of an output slot
        # channels in a pixel of the source on chip, and the first of them
        self.depth, self.first_channel = self.g.source[0], 0
        self.own_loads = self.place.source is None and own_loads(self.g, len(every))
        if self.own_loads:
            self.depth, self.first_channel = size(every[0].inputs), self.slice.inputs[0]
        # where the runs begin of all that share a load, first and last
        self.begins = inputs_of(self.slice.series if self.own_loads else [tiles for it in every for tiles in it.series])
        self.own_operand = bool(self.it.operand) and self.place.operand is None and len(every) > 1
        self.turn = turns.tiles[number]
        turns.tiles[number] += 1
        self.source = Piece(0, (0, 0), (0, 0))
        self.added = Piece(0, (0, 0), (0, 0))

    def follow(self, before: "TileEmitter") -> None:
        """Use what the slice ``before`` of the same tile has loaded."""
        self.source, self.added = before.source, before.added

    @property
    def plane(self) -> Piece:
        """The slice's results, where a depthwise layer takes them, see relay."""
        tile, each = self.tile, self.outputs
        return Piece(self._output(tile), tile.rows, (tile.columns[0] * each, tile.columns[1] * each))

    def take(self, plane: Piece, channel: int) -> None:
        """Read the channels from ``channel`` on, which lie in ``plane``."""
        self.source, self.first_channel, self.depth = plane, channel, self.p.columns

    # transfers in

    def load(self, part: Part, channels: Pair) -> list[Instruction]:
        """Bring the part's piece of the source into the next slot, unless it is there already."""
        depth, height, width = self.g.source
        if self.place.source is not None:
            self.source = Piece(self.place.source + self.it.input_at, (0, height), (0, depth * width))
            return []
        g, tile = self.g, self.tile
        if self.place.tiling.bands:
            if tile.columns[0]:
                self.source = self.turns.bands[self.number]
                return []
            tile = spatial_tile(g, tile.rows, (0, self.it.target[2]))
        slots, turn = self.place.input_slots, self.turns.loads[self.number]
        self.turns.loads[self.number] += 1
        rows = source_rows(g, self.kernel, tile, part)
        if self.own_loads:
            columns = source_columns(g, self.kernel, tile, part)
            self.source = Piece(slots[turn % len(slots)], rows, (columns[0] * self.depth, columns[1] * self.depth))
            return self._fill_slice(rows, columns)
        elements = source_elements(g, self.kernel, tile, part, channels)
        self.source = self.turns.bands[self.number] = Piece(slots[turn % len(slots)], rows, elements)
        return (
            self._fill_taken(part)
            if g.skips
            else self._fill(self.source, self.it.input, self.it.input_at, width * depth)
        )

    def _fill_slice(self, rows: Span, columns: Span) -> list[Instruction]:
        """LOAD the slice's channels of each pixel."""
        depth, _, width = self.it.source
        first = self.it.input_at + (rows[0] * width + columns[0]) * depth + self.slice.inputs[0]
        pixels, steps = (size(rows), size(columns)), (width * depth, depth)
        return self._fill_pixels(self.source, self.it.input, first, pixels, steps, size(self.slice.inputs), self.depth)

    def _fill_taken(self, part: Part) -> list[Instruction]:
        """LOAD the part's channels of the pixels that windows of one pixel take."""
        depth, _, width = self.it.source
        down, across = self.it.strides[0] * width * depth, self.it.strides[1] * depth
        rows, (start, end) = self.source.rows, self.source.elements
        first = self.it.input_at + rows[0] * down + start // depth * across + start % depth
        pixels = size(rows), -(-(end - start) // depth)
        return self._fill_pixels(self.source, self.it.input, first, pixels, (down, across), size(part.run), depth)

    def _fill_pixels(
        self, piece: Piece, tensor: str, first: int, pixels: Pair, steps: Pair, channels: int, pitch: int
    ) -> list[Instruction]:
        """LOAD ``channels`` of each pixel of ``tensor`` from element ``first`` on into ``piece``.

        pixels : rows and columns of them;  steps, pitch : elements between pixels, of the tensor, and of the piece
        """
        each = self.p.element_bytes
        start, steps = self.plan.dram.maps[tensor].address + first * each, (steps[0] * each, steps[1] * each)
        spans = of_pixels(pixels, channels * each, start, steps, piece.base, (size(piece.elements), pitch))
        return [some.load(self.number, each) for some in spans]

    def load_operand(self) -> list[Instruction]:
        """Bring the tile's piece of the map that is added, unless it is resident."""
        depth, height, width = self.it.target
        if not self.it.operand:
            return []
        if self.place.operand is not None:
            height, width = (1, 1) if self.it.one_pixel else (height, width)
            self.added = Piece(self.place.operand + self.it.operand_at, (0, height), (0, depth * width))
            return []
        slots, columns, turn = self.place.operand_slots, self.tile.columns, self.turns.operands[self.number]
        self.turns.operands[self.number] += 1
        rows, elements = self.tile.rows, (columns[0] * self.outputs, columns[1] * self.outputs)
        if self.it.one_pixel:
            rows, elements, columns, width = (0, 1), (0, self.outputs), (0, 1), 1
        self.added = Piece(slots[turn % len(slots)], rows, elements)
        if self.own_operand:
            first = self.it.operand_at + (rows[0] * width + columns[0]) * depth + self.slice.outputs[0]
            pixels, steps, channels = (size(rows), size(columns)), (width * depth, depth), size(self.slice.outputs)
            return self._fill_pixels(self.added, self.it.operand, first, pixels, steps, channels, self.outputs)
        return self._fill(self.added, self.it.operand, self.it.operand_at, width * depth)

    def _fill(self, piece: Piece, tensor: str, first: int, row: int) -> list[Instruction]:
        """LOAD ``piece`` of ``tensor`` from element ``first`` on, whose rows have ``row`` elements."""
        each = self.p.element_bytes
        count, pitch = size(piece.rows), size(piece.elements)
        start = self.plan.dram.maps[tensor].address + (first + piece.rows[0] * row + piece.elements[0]) * each
        return [of_rows(count, pitch * each, start, row * each, piece.base, pitch).load(self.number, each)]

    def weights(self, stream: Region | None = None) -> list[Instruction]:
        """Fetch the layer's stream for a spatial tile, or another."""
        stream = stream or self.plan.dram.streams[self.number]
        address = self.plan.dram.regions["constants"].address + stream.address
        fields = {"dram": address, "beats": stream.bytes // self.p.bus_bytes - 1}
        return [Instruction(Operation.WEIGHTS, self.number, fields)]

    # the array

    def reduction(self, group: Sequence[ChannelTile], last_group: bool) -> list[Instruction]:
        """Each channel tile of ``group`` part by part, each with its own load."""
        parts = self.place.tiling.parts
        made: list[Instruction] = []
        for channel_tile in group:
            for part in parts:
                first, last = part is parts[0], part is parts[-1]
                made += self.load(part, (channel_tile.input, channel_tile.input))
                flush = last_group and channel_tile is group[-1] and last
                made += self.array([channel_tile], part, first=first, last=last, flush=flush)
        return made

    def array(
        self,
        group: Sequence[ChannelTile],
        part: Part,
        *,
        first: bool,
        last: bool,
        flush: bool,
        tile: SpatialTile | None = None,
    ) -> list[Instruction]:
        """Sums of ``group``'s channel tiles; of ``tile``, if it is a piece of the emitter's."""
        it, p, source, depth, tile = self.it, self.p, self.source, self.depth, tile or self.tile
        _, height, width = self.g.source
        down, across = self.kernel.rows, self.kernel.columns
        pitch = size(source.elements)
        line, _ = down.sources(tile.convolved_rows, part.kernel_rows, self.g.pads[0])
        column, _ = across.sources(tile.convolved_columns, part.kernel_columns, self.g.pads[1])
        chunks = -(-size(part.run) // p.rows)
        kernel_rows, kernel_columns = size(part.kernel_rows), size(part.kernel_columns)
        rows, columns = (self.kernel.windows(axis, results) for axis, results in enumerate(tile.convolved))
        used = source_rows(self.g, self.kernel, tile, part)
        start = source.address(used[0], source.elements[0])
        fields: dict[str, int] = {
            "first": first,
            "last": last,
            "parameters": first,
            "flush": flush,
            "tiles": len(group) - 1,
            "passes": kernel_rows * kernel_columns * chunks - 1,
            "kernel_rows": kernel_rows - 1,
            "kernel_columns": kernel_columns - 1,
            "chunks": chunks - 1,
            "rows": rows - 1,
            "columns": columns - 1,
            "padding": it.padding,
            "column": column * depth + part.run[0] + group[0].input - self.first_channel,
            "column_step": across.windows_apart * depth,
            "kernel_column_step": across.step * depth if across.phases == 1 else 1,
            "tile_step": group[1].input - group[0].input if len(group) > 1 else 0,
            "row": source.address(line, 0) % WRAP,
            "row_step": down.windows_apart * pitch % WRAP,
            "kernel_row_step": down.step * pitch % WRAP,
            "line": line,
            "line_step": down.windows_apart,
            "kernel_line_step": down.step,
            "lines": height,
            "row_elements": width * depth,
            **pass_fields(self.g, self.kernel, columns, p),
        }
        chip_reads = ((start, start + size(used) * pitch),)
        if self.g.of_a_pixel and pitch == depth:
            chip_reads = ((start + part.run[0], start + part.run[1]),)
        return [Instruction(Operation.ARRAY, self.number, fields, chip_reads)]

    # the vector unit

    def vector(self, group: Sequence[ChannelTile], tile: SpatialTile | None = None) -> list[Instruction]:
        """Everything behind the sums of ``group``'s channel tiles, or behind the source where there is no array; of
        ``tile``, if it is a piece of the emitter's."""
        made: list[Instruction] = self._load_tables() if self.it.affine else []
        for piece, scale in rectangles(self.it, tile or self.tile):
            made += self._setup(group, scale)
            made.append(self._results(group, piece))
        return made

    def _setup(self, group: Sequence[ChannelTile], scale: Pair) -> list[Instruction]:
        """Settings, if they are not those that the vector unit has already."""
        fields = settings(self.it, self.p, group, scale, self.depth, self._pixel_pitch(), self._operand_pitch())
        loading = self.it.tables is not None and self.turns.tables != self.number
        if not loading and fields == self.turns.settings:
            return []
        self.turns.settings = fields
        if not loading:
            return [Instruction(Operation.SETUP, self.number, fields)]
        chip, region = self._tables
        self.turns.tables = self.number
        return [
            *self._load_tables(),
            Instruction(
                Operation.SETUP,
                self.number,
                {**fields, "load_tables": 1, "tables": chip},
                chip_reads=((chip, chip + region.bytes),),
            ),
        ]

    def _load_tables(self) -> list[Instruction]:
        """Bring the layer's tables, or its channels' parameters, unless they are there."""
        if self.number in self.turns.tables_on_chip:
            return []
        self.turns.tables_on_chip.add(self.number)
        chip, region = self._tables
        start = self.plan.dram.regions["constants"].address + region.address
        fields = {"rows": 0, "bytes": region.bytes - 1, "dram": start, "dram_step": 0, "chip": chip, "chip_step": 0}
        return [Instruction(Operation.LOAD, self.number, fields, chip_writes=(chip, chip + region.bytes))]

    @property
    def _tables(self) -> tuple[int, Region]:
        """Where they are on chip, and in DRAM."""
        assert self.place.tables is not None
        return self.place.tables, self.plan.dram.tables[self.number]

    def _results(self, group: Sequence[ChannelTile], tile: SpatialTile) -> Instruction:
        it, p, source = self.it, self.p, self.source
        each = p.sum_elements if it.raw else 1
        pool = it.pool or Pool((1, 1), (1, 1), (0, 0, 0, 0))
        first_row = tile.rows[0] * pool.strides[0] - pool.pads[0] - tile.convolved_rows[0]
        first_column = tile.columns[0] * pool.strides[1] - pool.pads[1] - tile.convolved_columns[0]
        reads: list[Span] = []
        if it.on_array:
            pitch = size(tile.convolved_columns)
            start = first_row * pitch + first_column
        else:
            pitch = size(source.elements)
            row, column = tile.convolved_rows[0] + first_row, tile.convolved_columns[0] + first_column
            start = source.address(row, column * self.depth + group[0].input - self.first_channel)
            low = source.address(tile.convolved_rows[0], source.elements[0])
            reads.append((low, low + size(tile.convolved_rows) * pitch))
        operand = {}
        if it.operand:
            rows, column = ((0, 1), 0) if it.one_pixel else (tile.rows, tile.columns[0])
            added_pitch = size(self.added.elements)
            where = self.added.address(rows[0], column * self._operand_pitch()) + group[0].output
            where -= self.slice.outputs[0] if self.own_operand else 0
            operand = {"operand": where, "operand_row_step": 0 if it.one_pixel else added_pitch}
            low = self.added.address(rows[0], self.added.elements[0])
            reads.append((low, low + size(rows) * added_pitch))
        if it.affine:
            chip, region = self._tables
            operand = {"operand": chip + group[0].output // p.columns * AFFINE_ROWS * p.columns}
            reads.append((chip, chip + region.bytes))
        pixel, row_step = self._pixel_pitch(), self._row_pitch()
        written = p.lanes if it.raw else p.columns
        chip = self._output(tile) + (group[0].output - self.slice.outputs[0]) * each
        last = chip + (size(tile.rows) - 1) * row_step + (size(tile.columns) - 1) * pixel
        return Instruction(
            Operation.VECTOR,
            self.number,
            {
                "tiles": len(group) - 1,
                "rows": size(tile.rows) - 1,
                "columns": size(tile.columns) - 1,
                "first_row": first_row,
                "first_column": first_column,
                "map_rows": size(tile.convolved_rows),
                "map_columns": size(tile.convolved_columns),
                "source": start % WRAP,
                "source_row_step": pool.strides[0] * pitch % WRAP,
                "window_row_step": pitch,
                "chip": chip,
                "row_step": row_step,
                "channels": group[0].channels,
                "last_channels": group[-1].channels,
                **operand,
            },
            chip_reads=tuple(reads),
            chip_writes=(chip, last + (group[-1].output + group[-1].channels - group[0].output) * each),
            drained=tuple(Drained.of(self.number, tile, channels, written) for channels in group),
        )

    # the result

    def _pixel_pitch(self) -> int:
        if self.place.hands_on:
            return self.outputs
        if self.place.output is not None:
            return self.it.spread.column_step
        return pixel_pitch(self.it.geometry, self.p, self.it.spread.steps, self.outputs)

    def _operand_pitch(self) -> int:
        """Channels in a pixel of the map that is added, on chip."""
        return self.outputs if self.own_operand else self.it.target[0]

    def _row_pitch(self) -> int:
        if self.place.hands_on:
            return self.outputs * size(self.tile.columns)
        if self.place.output is not None:
            return self.it.spread.row_step
        return row_pitch(self.it.geometry, size(self.tile.columns), self.p, self.it.spread.steps, self.outputs)

    def _output(self, tile: SpatialTile) -> int:
        """Chip address of the slice's first channel of the first result of ``tile``, which lies in this tile."""
        if self.place.output is not None:
            return self.place.output + self._element(tile)
        slots = self.place.output_slots
        inside = (tile.rows[0] - self.tile.rows[0]) * self._row_pitch()
        inside += (tile.columns[0] - self.tile.columns[0]) * self._pixel_pitch()
        if self.place.hands_on:
            return slots[self.turn % len(slots)] + inside
        start, _ = self._output_dram()
        return slots[self.turn % len(slots)] + start // self.p.element_bytes % self.p.bus_elements + inside

    def _element(self, tile: SpatialTile) -> int:
        """Of the output tensor, the slice's first channel of the first result of ``tile``."""
        spread = self.it.spread
        inside = tile.rows[0] * spread.row_step + tile.columns[0] * spread.column_step
        return self.it.output_at + spread.first + inside + self.slice.outputs[0]

    def _output_dram(self) -> tuple[int, int]:
        """(byte address of the tile's first result, bytes from row to row)."""
        each = 4 if self.it.raw else self.p.element_bytes
        start = self.plan.dram.maps[self.it.output].address + self._element(self.tile) * each
        return start, self.it.spread.row_step * each

    def store(self) -> list[Instruction]:
        """The tile's result to DRAM, unless it is resident."""
        if self.place.output is not None:
            return []
        chip, pitch = self._output(self.tile), self._row_pitch()
        start, step = self._output_dram()
        each = 4 if self.it.raw else self.p.element_bytes
        rows, columns, pixel = size(self.tile.rows), size(self.tile.columns), size(self.slice.outputs) * each
        if size(self.slice.outputs) == self.it.spread.column_step:
            return [of_rows(rows, columns * pixel, start, step, chip, pitch).store(self.number, self.p.element_bytes)]
        steps = step, self.it.spread.column_step * each  # a part of each pixel
        spans = of_pixels((rows, columns), pixel, start, steps, chip, (pitch, self._pixel_pitch()))
        return [some.store(self.number, self.p.element_bytes) for some in spans]
