"""How a layer is cut to fit the memories: channel tiles, spatial tiles, and parts of the reduction."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from ..quant.errors import ConfigurationError
from .lowering import EngineLayer
from .parameters import INSTRUCTION_BYTES, MAXIMUM_KIB, Parameters

Range = tuple[int, int]

ARRAY_GAP = 4
"""Cycles between two of the array's instructions, about."""

DRAIN_GAP = 6
"""Cycles between two channel tiles in the vector unit, about."""

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

    kernel_rows: Range
    kernel_columns: Range
    run: Range


@dataclass(frozen=True)
class SpatialTile:
    """A rectangle of the result, the convolution outputs and the source it needs (rows and columns, half open)."""

    rows: Range
    columns: Range
    convolved_rows: Range
    convolved_columns: Range

    @property
    def positions(self) -> int:
        return size(self.convolved_rows) * size(self.convolved_columns)


def size(span: Range) -> int:
    return span[1] - span[0]


def channel_tiles(layer: EngineLayer, p: Parameters) -> list[list[ChannelTile]]:
    """Channel tiles in order of output, gathered in series that one instruction can step through.

    Groups that are small against the array share a tile, block-diagonally: as many as fit R rows and C columns.
    """
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


def _ranges(length: int, count: int) -> list[Range]:
    """``count`` ranges of at most ceil(length / count), covering ``length``; fewer when that covers it."""
    step = ceil(length / count)
    return [(first, min(length, first + step)) for first in range(0, length, step)]


def passes(part: Part, p: Parameters) -> int:
    """Weight tiles that a part takes for each channel tile."""
    return size(part.kernel_rows) * size(part.kernel_columns) * ceil(size(part.run) / p.rows)


def spatial_tile(layer: EngineLayer, rows: Range, columns: Range) -> SpatialTile:
    """The tile that makes ``rows`` x ``columns`` of the result, with the convolution outputs that it pools."""
    _, height, width = layer.convolved
    if layer.pool is None:
        return SpatialTile(rows, columns, rows, columns)
    pool = layer.pool

    def needed(span: Range, axis: int, limit: int) -> Range:
        first = span[0] * pool.strides[axis] - pool.pads[axis]
        last = (span[1] - 1) * pool.strides[axis] - pool.pads[axis] + pool.kernel[axis]
        return max(0, first), min(limit, last)

    return SpatialTile(rows, columns, needed(rows, 0, height), needed(columns, 1, width))


def source_rows(layer: EngineLayer, tile: SpatialTile, part: Part) -> Range:
    """Rows of the source map that the tile's part reads, without padding."""
    first, last = tile.convolved_rows
    step, dilation, top = layer.strides[0], layer.dilations[0], layer.pads[0]
    low = first * step - top + part.kernel_rows[0] * dilation
    high = (last - 1) * step - top + (part.kernel_rows[1] - 1) * dilation + 1
    return _clipped(low, high, layer.source[1])


def source_elements(layer: EngineLayer, tile: SpatialTile, part: Part, channels: Range) -> Range:
    """Elements of each of these rows that the part reads, from the row's start, without padding.

    ``channels``: where the channel tiles' runs begin, first and last (both 0 but for groups).
    """
    depth, _, width = layer.source
    first, last = tile.convolved_columns
    step, dilation, left = layer.strides[1], layer.dilations[1], layer.pads[1]
    low = (first * step - left + part.kernel_columns[0] * dilation) * depth + part.run[0] + channels[0]
    high = ((last - 1) * step - left + (part.kernel_columns[1] - 1) * dilation) * depth + part.run[1] + channels[1]
    return _clipped(low, high, width * depth)


def _clipped(low: int, high: int, limit: int) -> Range:
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

    input_slot, output_slot : elements that the largest tile takes on either side
    cost : estimated cycles, to choose by
    """

    tiles: tuple[SpatialTile, ...]
    parts: tuple[Part, ...]
    input_slot: int
    output_slot: int
    cost: float


def output_elements(layer: EngineLayer, tile: SpatialTile, p: Parameters) -> int:
    """Elements that a tile's result takes in activation memory."""
    each = p.sum_elements if layer.raw else 1
    return size(tile.rows) * size(tile.columns) * layer.target[0] * each


def tilings(layer: EngineLayer, p: Parameters, space: int, *, load: bool, store: bool) -> Iterator[Tiling]:
    """Tilings that fit ``space`` elements of activation memory, beside resident maps.

    load : the source comes from DRAM, in slots (two when there is more than one load)
    store : the result goes to DRAM, in slots (two when there is more than one tile)
    """
    series = channel_tiles(layer, p)
    channels = (series[0][0].input, series[-1][-1].input)
    tile_passes = sum(map(len, series))
    for tile_rows, tile_columns in _shapes(layer, p):
        tiles = tiles_of(layer, tile_rows, tile_columns)
        if max(t.positions for t in tiles) > p.accumulator_depth:
            continue
        # a slot starts where its DRAM address falls in a bus beat, and each row again
        slack = p.bus_elements * (1 if tile_columns == layer.target[2] else 1 + tile_rows)
        out = (max(output_elements(layer, t, p) for t in tiles) + slack) if store else 0
        out += -out % p.bus_elements
        outs = out * (2 if len(tiles) > 1 else 1)
        if not load:
            if outs <= space:
                parts = [whole(layer, p)]
                cost = _cost(layer, p, tiles, parts, tile_passes, channels, load, store)
                yield Tiling(tuple(tiles), tuple(parts), 0, out, cost)
            continue
        for parts in partitions(layer, p):
            slots = 2 if len(tiles) * len(parts) > 1 else 1
            loads = _largest_load(layer, tiles, parts, channels, limit=(space - outs) // slots)
            if loads is not None:
                cost = _cost(layer, p, tiles, parts, tile_passes, channels, load, store)
                yield Tiling(tuple(tiles), tuple(parts), loads, out, cost)
                break


def _largest_load(
    layer: EngineLayer, tiles: list[SpatialTile], parts: list[Part], channels: Range, limit: int
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
    tiles: list[SpatialTile],
    parts: list[Part],
    channel_count: int,
    channels: Range,
    load: bool,
    store: bool,
) -> float:
    """Cycles that a tiling takes, estimated from what each unit is busy with (the schedule has the exact order)."""
    repeats = channel_count if len(parts) > 1 else 1  # each channel tile loads the parts of its reduction again
    steps = sum(passes(q, p) for q in parts)
    weights = channel_count * (steps * p.rows + p.parameter_rows) * p.weight_row_bits / 8
    instructions = (2 if len(parts) == 1 else 2 * repeats * len(parts)) + load + store + 1
    window = layer.pool.kernel[0] * layer.pool.kernel[1] if layer.pool else 1
    array = drain = bus = 0.0
    for tile in tiles:
        vectors = size(tile.rows) * size(tile.columns)
        array += channel_count * steps * max(tile.positions, p.pass_cycles) + repeats * len(parts) * ARRAY_GAP
        drain += channel_count * (vectors * max(window, p.lane_groups) + p.parameter_rows + DRAIN_GAP)
        bus += (weights + instructions * INSTRUCTION_BYTES) / p.bus_bytes
        if load:
            bus += repeats * sum(_load_beats(layer, p, tile, q, channels) for q in parts)
    first = _load_beats(layer, p, tiles[0], parts[0], channels) if load else 0.0
    last = drain / len(tiles) / channel_count
    if store:
        last += output_elements(layer, tiles[-1], p) / p.bus_elements + TYPICAL_LATENCY
    return max(array, drain, bus) + first + last


def _load_beats(layer: EngineLayer, p: Parameters, tile: SpatialTile, part: Part, channels: Range) -> float:
    """Bus beats that bring a part's piece of the source; a row that starts within a beat takes one more."""
    row = size(source_elements(layer, tile, part, channels)) / p.bus_elements + 1
    return size(source_rows(layer, tile, part)) * row


def best_tiling(layer: EngineLayer, p: Parameters, space: int, *, load: bool, store: bool) -> Tiling | None:
    """The cheapest tiling that fits, or None."""
    return min(tilings(layer, p, space, load=load, store=store), key=lambda t: t.cost, default=None)


def refuse(layer: EngineLayer, p: Parameters) -> ConfigurationError:
    """Why no tiling fits: the memory that is too small, and the size that would do."""
    window = 1 if layer.pool is None else layer.pool.kernel[0] * layer.pool.kernel[1]
    if window > p.accumulator_depth:
        kib = -(-window * 8 * p.columns // 1024)
        return ConfigurationError(
            f"layer '{layer.name}': one pooling window needs {window} accumulators a column, the accumulator memory of "
            f"{p.accumulator_kib} KiB holds {p.accumulator_depth}; {kib} KiB would do"
        )

    def fits(kib: int) -> bool:
        return next(tilings(layer, p, kib * 1024 // p.element_bytes, load=True, store=True), None) is not None

    sizes = range(p.activation_kib + 1, MAXIMUM_KIB + 1)
    kib = sizes[bisect_left(sizes, True, key=fits)] if fits(MAXIMUM_KIB) else 0
    would_do = f"{kib} KiB would do" if kib else f"even {MAXIMUM_KIB} KiB would not do"
    return ConfigurationError(
        f"layer '{layer.name}': no tile of it fits the activation memory of {p.activation_kib} KiB; {would_do}"
    )
