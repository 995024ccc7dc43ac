"""How a layer is cut to fit the memories: channel tiles, spatial tiles, and parts of the reduction."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import INSTRUCTION_BYTES, MAXIMUM_KIB, Parameters
from .lowering import EngineLayer
from .span import Span, size

ARRAY_GAP = 4
"""Cycles between two of the array's instructions, about."""

DRAIN_GAP = 6
"""Cycles between two channel tiles in the vector unit, about."""

PIECE = 2600
"""Cycles that a tile of the vector unit alone may take: so long the array, two channel tiles ahead, need not wait."""

CLOSE = 1.003
"""Tilings whose costs differ by less are equal; the smaller slots win, and leave room for the next layer's."""

SHARED = 0.05
"""What a cycle of the vector unit or of the bus costs even while the array is busier: others may want it."""

TYPICAL_LATENCY = 40
"""Cycles that the choice of a tiling allows for memory's answer to the last store."""


@dataclass(frozen=True)
class ChannelTile:
    """Outputs ``output .. output + channels`` (at most C), which read inputs from ``input`` on."""

    output: int
    channels: int
    input: int


@dataclass(frozen=True)
class Part:
    """A part of the reduction: kernel rows, kernel column steps, and elements of the run, as half-open ranges."""

    kernel_rows: Span
    kernel_columns: Span
    run: Span


@dataclass(frozen=True)
class SpatialTile:
    """A rectangle of the result, the convolution outputs and the source it needs (rows and columns, half open)."""

    rows: Span
    columns: Span
    convolved_rows: Span
    convolved_columns: Span

    @property
    def positions(self) -> int:
        return size(self.convolved_rows) * size(self.convolved_columns)


def channel_tiles(layer: EngineLayer, p: Parameters) -> list[list[ChannelTile]]:
    """Channel tiles in order of output, gathered in series that one instruction can step through.

    Groups that are small against the array share a tile, block-diagonally: as many as fit R rows and C columns.
    A layer of the vector unit reads C channels for each tile, among them a normalization's neighbours.
    """
    if not layer.on_array:
        depth, size, before = layer.target[0], 1, 0
        if layer.normalization is not None:
            size = layer.normalization.size
            before = (size - 1) // 2
        step = p.columns - size + 1
        return [[ChannelTile(c, min(step, depth - c), c - before) for c in range(0, depth, step)]]
    outputs, inputs = layer.weights.shape[:2]
    per_group = outputs // layer.groups
    if layer.groups > 1 and per_group <= p.columns and inputs <= p.rows:
        together = min(p.columns // per_group, p.rows // inputs, layer.groups)
        return [
            [
                ChannelTile(g * per_group, min(together, layer.groups - g) * per_group, g * inputs)
                for g in range(0, layer.groups, together)
            ]
        ]
    if layer.groups > 1 and per_group <= p.columns:
        return [[ChannelTile(g * per_group, per_group, g * inputs) for g in range(layer.groups)]]
    return [
        [
            ChannelTile(g * per_group + first, min(p.columns, per_group - first), g * inputs)
            for first in range(0, per_group, p.columns)
        ]
        for g in range(layer.groups)
    ]


def run_shape(layer: EngineLayer, p: Parameters) -> tuple[int, int]:
    """(kernel column steps, run): the reduction of a kernel row is that many runs of consecutive elements.

    Without dilation and groups a whole kernel row is one run of kernel columns x channels.
    """
    outputs, inputs = layer.weights.shape[:2]
    if layer.groups > 1:
        together = min(p.columns // (outputs // layer.groups), p.rows // inputs, layer.groups)
        return layer.kernel[1], inputs * max(1, together)
    if layer.dilations[1] == 1:
        return 1, layer.kernel[1] * inputs
    return layer.kernel[1], inputs


def whole(layer: EngineLayer, p: Parameters) -> Part:
    if not layer.on_array:
        return Part((0, 1), (0, 1), (0, layer.source[0]))
    steps, run = run_shape(layer, p)
    return Part((0, layer.kernel[0]), (0, steps), (0, run))


def partitions(layer: EngineLayer, p: Parameters) -> Iterator[list[Part]]:
    """Ways to cut the reduction, coarsest first: not at all, by kernel rows, by kernel columns, by run."""
    rows, (steps, run) = layer.kernel[0], run_shape(layer, p)
    for count in _divisions(rows):
        yield [Part(r, (0, steps), (0, run)) for r in _ranges(rows, count)]
    for count in _divisions(steps)[1:]:
        yield [Part((r, r + 1), s, (0, run)) for r in range(rows) for s in _ranges(steps, count)]
    chunks = ceil(run / p.rows)
    for count in _divisions(chunks)[1:]:
        yield [
            Part((r, r + 1), (s, s + 1), (c[0] * p.rows, min(run, c[1] * p.rows)))
            for r in range(rows)
            for s in range(steps)
            for c in _ranges(chunks, count)
        ]


def _divisions(count: int) -> list[int]:
    """1 .. count, thinned out so that sizes differ by a tenth or so."""
    chosen, n = [], 1
    while n < count:
        chosen.append(n)
        n = max(n + 1, n * 11 // 10)
    return [*chosen, count]


def _ranges(length: int, count: int) -> list[Span]:
    """``count`` ranges of at most ceil(length / count), covering ``length``; fewer when that covers it."""
    step = ceil(length / count)
    return [(first, min(length, first + step)) for first in range(0, length, step)]


def passes(part: Part, p: Parameters) -> int:
    """Weight tiles that a part takes for each channel tile."""
    return size(part.kernel_rows) * size(part.kernel_columns) * ceil(size(part.run) / p.rows)


def spatial_tile(layer: EngineLayer, rows: Span, columns: Span) -> SpatialTile:
    """The tile that makes ``rows`` x ``columns`` of the result, with the convolution outputs that it pools."""
    _, height, width = layer.convolved
    if layer.pool is None:
        return SpatialTile(rows, columns, rows, columns)
    pool = layer.pool

    def needed(span: Span, axis: int, limit: int) -> Span:
        first = span[0] * pool.strides[axis] - pool.pads[axis]
        last = (span[1] - 1) * pool.strides[axis] - pool.pads[axis] + pool.kernel[axis]
        return max(0, first), min(limit, last)

    return SpatialTile(rows, columns, needed(rows, 0, height), needed(columns, 1, width))


def source_rows(layer: EngineLayer, tile: SpatialTile, part: Part) -> Span:
    """Rows of the source map that the tile's part reads, without padding."""
    first, last = tile.convolved_rows
    step, dilation, top = layer.strides[0], layer.dilations[0], layer.pads[0]
    low = first * step - top + part.kernel_rows[0] * dilation
    high = (last - 1) * step - top + (part.kernel_rows[1] - 1) * dilation + 1
    return _clipped(low, high, layer.source[1])


def source_elements(layer: EngineLayer, tile: SpatialTile, part: Part, channels: Span) -> Span:
    """Elements of each of these rows that the part reads, from the row's start, without padding.

    ``channels``: where the channel tiles' runs begin, first and last (both 0 but for groups).
    """
    depth, _, width = layer.source
    first, last = tile.convolved_columns
    step, dilation, left = layer.strides[1], layer.dilations[1], layer.pads[1]
    low = (first * step - left + part.kernel_columns[0] * dilation) * depth + part.run[0] + channels[0]
    high = ((last - 1) * step - left + (part.kernel_columns[1] - 1) * dilation) * depth + part.run[1] + channels[1]
    return _clipped(low, high, width * depth)


def _clipped(low: int, high: int, limit: int) -> Span:
    """Never empty: a part that reads padding only still loads one element."""
    low, high = min(max(low, 0), limit), min(max(high, 0), limit)
    if low >= high:
        low = min(low, limit - 1)
        high = low + 1
    return low, high


def tiles_of(layer: EngineLayer, tile_rows: int, tile_columns: int) -> list[SpatialTile]:
    """The result cut into rectangles of at most tile_rows x tile_columns, in raster order."""
    _, height, width = layer.target
    return [
        spatial_tile(layer, rows, columns)
        for rows in _ranges(height, ceil(height / tile_rows))
        for columns in _ranges(width, ceil(width / tile_columns))
    ]


@dataclass(frozen=True)
class Tiling:
    """A choice for one layer: its spatial tiles, the parts of its reduction, and what they take.

    shape, count : rows and columns of a tile's result at most, and how many tiles there are
    input_slot, operand_slot, output_slot : elements that the largest tile takes of each, 0 if it is resident
    cost : estimated cycles, to choose by;  tiles : all of them, in raster order, of the one that was chosen
    """

    shape: Span
    count: int
    parts: tuple[Part, ...]
    input_slot: int
    operand_slot: int
    output_slot: int
    cost: float
    tiles: tuple[SpatialTile, ...] = ()

    @property
    def loads(self) -> int:
        """Slots for the input: two if there is more than one piece of it."""
        return 0 if not self.input_slot else 2 if self.count * len(self.parts) > 1 else 1

    @property
    def others(self) -> int:
        """Slots for the operand, and for the output."""
        return 2 if self.count > 1 else 1

    @property
    def space(self) -> int:
        """Elements of all slots."""
        return self.loads * self.input_slot + self.others * (self.operand_slot + self.output_slot)


@dataclass(frozen=True)
class Traffic:
    """Which of a layer's tensors pass through DRAM, and how many channels the map has that the output is a part of."""

    load: bool
    operand: bool
    store: bool
    output_channels: int
    trailing: float = 0.0
    """Cycles of layers of the vector unit alone that follow row by row: some are left when the last tile ends."""


def reads(layer: EngineLayer) -> int:
    """Vectors that the vector unit reads for each result."""
    window = layer.pool.kernel[0] * layer.pool.kernel[1] if layer.pool else 1
    return window + bool(layer.operand)


def interval(layer: EngineLayer, p: Parameters) -> int:
    """Cycles from one result of the vector unit to the next, if no read of a map waits for its bank."""
    return max(reads(layer), p.lane_groups)


def pixel_pitch(layer: EngineLayer, p: Parameters, output_channels: int) -> int:
    """Elements from pixel to pixel of a slot that is stored: whole pixels are dense; parts of pixels lie in a bus beat
    as they do in DRAM."""
    each = p.sum_elements if layer.raw else 1
    depth = layer.target[0] * each
    return depth + (output_channels * each - depth) % p.bus_elements


def row_pitch(layer: EngineLayer, tile: SpatialTile, p: Parameters, output_channels: int) -> int:
    """Elements from row to row of a slot that is stored: every row must start as in DRAM within a bus beat."""
    pitch = size(tile.columns) * pixel_pitch(layer, p, output_channels)
    whole_row = layer.target[2] * output_channels * (p.sum_elements if layer.raw else 1)
    return pitch + (whole_row - pitch) % p.bus_elements


def tilings(layer: EngineLayer, p: Parameters, space: int, traffic: Traffic) -> Iterator[Tiling]:
    """Tilings that fit ``space`` elements of activation memory, beside resident maps."""
    series = channel_tiles(layer, p)
    channels = (series[0][0].input, series[-1][-1].input) if layer.on_array else (0, 0)
    tile_passes = sum(map(len, series))
    for shape in _shapes(layer, p):
        kinds = _kinds(layer, shape)
        count = sum(kinds.values())
        if layer.on_array and max(t.positions for t in kinds) > p.accumulator_depth:
            continue
        out = operand = 0
        if traffic.store:  # a slot starts where its DRAM address falls in a bus beat
            out = max(size(t.rows) * row_pitch(layer, t, p, traffic.output_channels) for t in kinds) + p.bus_elements
            out += -out % p.bus_elements
        if traffic.operand:
            operand = max(size(t.rows) * size(t.columns) for t in kinds) * layer.target[0]
            operand += -operand % p.bus_elements
        others = (2 if count > 1 else 1) * (out + operand)
        for parts in partitions(layer, p) if layer.on_array and traffic.load else [[whole(layer, p)]]:
            slots = 2 if count * len(parts) > 1 else 1
            limit = (space - others) // slots
            load = _largest_load(layer, kinds, parts, channels, limit) if traffic.load else min(0, limit)
            if load is not None and load >= 0:
                cost = _cost(layer, p, kinds, parts, tile_passes, channels, traffic)
                yield Tiling(shape, count, tuple(parts), load, operand, out, cost)
                break


def _kinds(layer: EngineLayer, shape: Span) -> Counter[SpatialTile]:
    """One tile of each size, borders apart, and how many are like it: costs are added up over these."""
    _, height, width = layer.target
    spans = [_ranges(height, ceil(height / shape[0])), _ranges(width, ceil(width / shape[1]))]
    alike: list[dict[tuple[int, ...], list[Span]]] = []
    for axis, ranges in enumerate(spans):
        found: dict[tuple[int, ...], list[Span]] = defaultdict(list)
        for span in ranges:
            pair = (span, (0, 1)) if axis == 0 else ((0, 1), span)
            tile = spatial_tile(layer, *pair)
            low, high = (tile.convolved_rows, tile.convolved_columns)[axis]
            before = low * layer.strides[axis] - layer.pads[axis]
            after = (high - 1) * layer.strides[axis] - layer.pads[axis]
            after += (layer.kernel[axis] - 1) * layer.dilations[axis] + 1 - layer.source[1 + axis]
            found[size(span), high - low, min(before, 0), max(after, 0)].append(span)
        alike.append(found)
    return Counter(
        {
            spatial_tile(layer, rows[0], columns[0]): len(rows) * len(columns)
            for rows in alike[0].values()
            for columns in alike[1].values()
        }
    )


def _largest_load(
    layer: EngineLayer, tiles: Iterable[SpatialTile], parts: list[Part], channels: Span, limit: int
) -> int | None:
    """Elements of the largest piece of the source that a tile's part loads; None if one exceeds ``limit``."""
    largest = 0
    for tile in tiles:
        for part in parts:
            elements = size(source_rows(layer, tile, part)) * size(source_elements(layer, tile, part, channels))
            if elements > limit:
                return None
            largest = max(largest, elements)
    return largest


def _shapes(layer: EngineLayer, p: Parameters) -> Iterator[tuple[int, int]]:
    """Rectangles worth trying: full width first, then narrower; balanced heights."""
    _, height, width = layer.target
    for across in _divisions(width):
        columns = ceil(width / across)
        if across > 1 and ceil(width / columns) != across:
            continue
        heights = sorted({ceil(height / down) for down in _divisions(height)}, reverse=True)
        for rows in heights:
            yield rows, columns


def _cost(
    layer: EngineLayer,
    p: Parameters,
    kinds: Counter[SpatialTile],
    parts: list[Part],
    channel_count: int,
    channels: Span,
    traffic: Traffic,
) -> float:
    """Cycles that a tiling takes, estimated from what each unit is busy with (the schedule has the exact order)."""
    repeats = channel_count if len(parts) > 1 else 1  # each channel tile loads the parts of its reduction again
    steps = sum(passes(q, p) for q in parts) if layer.on_array else 0
    weights = channel_count * (steps * p.rows + p.parameter_rows) * p.weight_row_bits / 8 if layer.on_array else 0
    instructions = (2 if len(parts) == 1 else 2 * repeats * len(parts)) + traffic.load + traffic.operand
    instructions += traffic.store + 1
    step = interval(layer, p)
    array = drain = bus = 0.0
    for tile, count in kinds.items():
        vectors = size(tile.rows) * size(tile.columns)
        if layer.on_array:
            passing = channel_count * steps * max(tile.positions, p.pass_cycles)
            array += count * (passing + repeats * len(parts) * ARRAY_GAP)
        drain += count * channel_count * (vectors * step + p.parameter_rows + DRAIN_GAP)
        beats = (weights + instructions * INSTRUCTION_BYTES) / p.bus_bytes
        if traffic.load:
            beats += repeats * sum(_load_beats(layer, p, tile, q, channels) for q in parts)
        if traffic.operand:
            beats += vectors * layer.target[0] / p.bus_elements
        bus += count * beats
    tiles = list(kinds)
    first = _load_beats(layer, p, tiles[0], parts[0], channels) if traffic.load else 0.0
    last = drain / sum(kinds.values()) / channel_count
    last += traffic.trailing * size(tiles[-1].rows) / layer.target[1]
    if traffic.store:
        last += size(tiles[-1].rows) * size(tiles[-1].columns) * layer.target[0] / p.bus_elements + TYPICAL_LATENCY
    return max(array, drain, bus) + SHARED * (drain + bus) + first + last


def _load_beats(layer: EngineLayer, p: Parameters, tile: SpatialTile, part: Part, channels: Span) -> float:
    """Bus beats that bring a part's piece of the source; a row that starts within a beat takes one more."""
    row = size(source_elements(layer, tile, part, channels)) / p.bus_elements + 1
    return size(source_rows(layer, tile, part)) * row


def best_tiling(layer: EngineLayer, p: Parameters, space: int, traffic: Traffic, slack: float = CLOSE) -> Tiling | None:
    """The smallest of the tilings that fit and cost at most ``slack`` times the cheapest, or None.

    Without the array, the widest, then largest tile that takes no more than PIECE cycles: others need not wait for it,
    and who reads its rows can begin soon.
    """
    found = list(tilings(layer, p, space, traffic))
    if not found:
        return None
    if not layer.on_array:
        count = len(channel_tiles(layer, p)[0])

        def width_then_cycles(tiling: Tiling) -> Span:
            rows, columns = tiling.shape
            return columns, rows * columns * interval(layer, p) * count

        short = [t for t in found if width_then_cycles(t)[1] <= PIECE]
        chosen = max(short, key=width_then_cycles) if short else min(found, key=lambda t: width_then_cycles(t)[1])
    else:
        cheapest = min(t.cost for t in found)
        chosen = min((t for t in found if t.cost <= cheapest * slack), key=lambda t: (t.space, t.cost))
    return replace(chosen, tiles=tuple(tiles_of(layer, *chosen.shape)))


def refuse(layer: EngineLayer, p: Parameters, traffic: Traffic, tables: int) -> ConfigurationError:
    """Why no tiling fits beside ``tables`` elements: the memory that is too small, and the size that would do."""
    window = 1 if layer.pool is None else layer.pool.kernel[0] * layer.pool.kernel[1]
    if layer.on_array and window > p.accumulator_depth:
        kib = -(-window * 8 * p.columns // 1024)
        return ConfigurationError(
            f"layer '{layer.name}': one pooling window needs {window} accumulators a column, the accumulator memory of "
            f"{p.accumulator_kib} KiB holds {p.accumulator_depth}; {kib} KiB would do"
        )

    def fits(kib: int) -> bool:
        space = kib * 1024 // p.element_bytes - tables
        return next(tilings(layer, p, space, traffic), None) is not None

    sizes = range(p.activation_kib + 1, MAXIMUM_KIB + 1)
    kib = sizes[bisect_left(sizes, True, key=fits)] if fits(MAXIMUM_KIB) else 0
    would_do = f"{kib} KiB would do" if kib else f"even {MAXIMUM_KIB} KiB would not do"
    return ConfigurationError(
        f"layer '{layer.name}': no tile of it fits the activation memory of {p.activation_kib} KiB; {would_do}"
    )
