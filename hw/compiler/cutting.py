"""How a layer is cut: channel tiles, spatial tiles, and parts of the reduction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, product
from math import ceil

from ..isa.parameters import Parameters
from .geometry import Geometry, Neighbours
from .kernel_steps import Kernel, kernel
from .span import Span, size


@dataclass(frozen=True)
class ChannelTile:
    """Outputs ``output .. output + channels`` (at most C), which read inputs from ``input`` on."""

    output: int
    channels: int
    input: int


@dataclass(frozen=True)
class Part:
    """A part of the reduction: steps along kernel rows and columns, and elements of the run, as half-open ranges."""

    kernel_rows: Span
    kernel_columns: Span
    run: Span

    def passes(self, p: Parameters) -> int:
        """Weight tiles that it takes for each channel tile."""
        return size(self.kernel_rows) * size(self.kernel_columns) * ceil(size(self.run) / p.rows)


@dataclass(frozen=True)
class Partition:
    """The reduction cut along its three axes; a part for each combination, in order."""

    kernel_rows: tuple[Span, ...]
    kernel_columns: tuple[Span, ...]
    runs: tuple[Span, ...]

    def __len__(self) -> int:
        return len(self.kernel_rows) * len(self.kernel_columns) * len(self.runs)

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(*spans) for spans in product(self.kernel_rows, self.kernel_columns, self.runs))

    def passes(self, p: Parameters) -> int:
        """Weight tiles that all parts take for each channel tile."""
        return sum(part.passes(p) for part in self.parts)


@dataclass(frozen=True)
class SpatialTile:
    """A rectangle of the result, the convolution outputs and the source it needs (rows and columns, half open)."""

    rows: Span
    columns: Span
    convolved_rows: Span
    convolved_columns: Span

    @property
    def convolved(self) -> tuple[int, int]:
        """Rows and columns of convolution outputs."""
        return size(self.convolved_rows), size(self.convolved_columns)

    @property
    def positions(self) -> int:
        return self.convolved[0] * self.convolved[1]


def channel_tiles(g: Geometry, p: Parameters) -> list[list[ChannelTile]]:
    """Channel tiles in order of output, gathered in series that one instruction can step through.

    Groups that are small against the array share a tile, block-diagonally: as many as fit R rows and C columns.
    Of neighbours side by side, a tile begins where the windows of those that it has do.
    A layer of the vector unit reads C channels for each tile, among them a normalization's neighbours.
    """
    if not g.on_array:
        depth, size, before = g.target[0], 1, 0
        if g.normalized:
            size = g.normalized
            before = (size - 1) // 2
        step = p.columns - size + 1
        return [[ChannelTile(c, min(step, depth - c), g.first + c - before) for c in range(0, depth, step)]]
    outputs, inputs = g.outputs, g.inputs
    if g.neighbours is not None and g.whole_pixels:
        return _of_neighbours(g, g.neighbours, p)
    per_group = outputs // g.groups
    if g.groups > 1 and per_group <= p.columns and inputs <= p.rows:
        together = min(p.columns // per_group, p.rows // inputs, g.groups)
        return [
            [
                ChannelTile(n * per_group, min(together, g.groups - n) * per_group, g.first + n * inputs)
                for n in range(0, g.groups, together)
            ]
        ]
    if g.groups > 1 and per_group <= p.columns:
        return [[ChannelTile(n * per_group, per_group, g.first + n * inputs) for n in range(g.groups)]]
    return [
        [
            ChannelTile(n * per_group + first, min(p.columns, per_group - first), g.first + n * inputs)
            for first in range(0, per_group, p.columns)
        ]
        for n in range(g.groups)
    ]


@lru_cache(maxsize=1 << 12)
def tile_count(g: Geometry, p: Parameters) -> int:
    """How many channel tiles there are."""
    return sum(map(len, channel_tiles(g, p)))


@dataclass(frozen=True)
class Slice:
    """Consecutive channel tiles whose results have a slot of their own, and those of groups also what they read.

    series : channel tiles as ``channel_tiles`` has them;  inputs, outputs : channels of source and result, half open
    """

    series: tuple[tuple[ChannelTile, ...], ...]
    inputs: Span
    outputs: Span


@lru_cache(maxsize=1 << 12)
def slices(g: Geometry, p: Parameters, tiles: int) -> tuple[Slice, ...]:
    """Slices of ``tiles`` channel tiles, the last perhaps of fewer; 0 for one slice with all that a pixel has."""
    series = channel_tiles(g, p)
    if not tiles:
        inputs = (g.first, g.first + g.target[0]) if g.scales else (0, g.source[0])
        return (Slice(tuple(map(tuple, series)), inputs, (0, g.target[0])),)
    (every,) = series
    found = []
    for first in range(0, len(every), tiles):
        group = tuple(every[first : first + tiles])
        outputs = group[0].output, group[-1].output + group[-1].channels
        run = group[-1].channels if g.scales else run_length(g, p)
        inputs = (0, g.source[0]) if g.groups == 1 else (group[0].input, min(group[-1].input + run, g.source[0]))
        found.append(Slice((group,), inputs, outputs))
    return tuple(found)


def own_loads(g: Geometry, count: int) -> bool:
    """Whether each of ``count`` slices loads its own channels: of groups, or what the vector unit scales of a pixel."""
    return g.groups > 1 and (count > 1 or (g.scales and g.target[0] < g.source[0]))


def slicings(g: Geometry, p: Parameters) -> list[int]:
    """Channel tiles in a slice, largest first, 0 for all channels at once: what is worth trying."""
    series = channel_tiles(g, p)
    if not (g.on_array or g.scales) or len(series) > 1:
        return [0]
    count, found, n = len(series[0]), [0], 2
    while n <= count:
        if (tiles := ceil(count / n)) != found[-1]:
            found.append(tiles)
        n = max(n + 1, n * 3 // 2)
    return found if count == 1 or found[-1] == 1 else [*found, 1]


def _of_neighbours(g: Geometry, beside: Neighbours, p: Parameters) -> list[list[ChannelTile]]:
    spread = _neighbours_of_a_tile(g, beside, p)
    tiles = []
    for first in range(0, g.outputs, p.columns):
        channels = min(p.columns, g.outputs - first)
        # so that no run ends behind the kernel
        neighbour = min(_neighbours(beside, first, channels)[0], beside.count - 1 - spread)
        tiles.append(ChannelTile(first, channels, neighbour * beside.apart))
    series = [tiles[:1]]
    for tile in tiles[1:]:
        step, last = tile.input - series[-1][-1].input, series[-1]
        if step >= 0 and (len(last) == 1 or step == last[1].input - last[0].input):
            last.append(tile)
        else:
            series.append([tile])
    return series


def _neighbours(beside: Neighbours, first: int, channels: int) -> Span:
    """The first and the last neighbour that outputs ``first .. first + channels`` are of."""
    found = {output // beside.outputs % beside.count for output in range(first, first + channels)}
    return min(found), max(found)


@cache
def _neighbours_of_a_tile(g: Geometry, beside: Neighbours, p: Parameters) -> int:
    """How many neighbours the last of a channel tile is behind its first, at most."""
    firsts = range(0, g.outputs, p.columns)
    spans = [_neighbours(beside, first, min(p.columns, g.outputs - first)) for first in firsts]
    return max(map(size, spans))


def inputs_of(series: Sequence[Sequence[ChannelTile]]) -> Span:
    """The first and the last place where runs of channel tiles begin."""
    inputs = [tile.input for tiles in series for tile in tiles]
    return min(inputs), max(inputs)


def run_length(g: Geometry, p: Parameters) -> int:
    """Elements of a run: the reduction of a kernel row is one for each of its column steps, see ``kernel_steps``.

    Where windows take whole pixels, side by side, a kernel row is one run of kernel columns x channels; of neighbours
    beside each other, as long as a channel tile's are.
    """
    outputs, inputs = g.outputs, g.inputs
    if g.groups > 1:
        together = min(p.columns // (outputs // g.groups), p.rows // inputs, g.groups)
        return inputs * max(1, together)
    if not g.whole_pixels:
        return inputs
    whole_run = g.kernel[1] * inputs
    if g.neighbours is None:
        return whole_run
    return whole_run - (g.neighbours.count - 1 - _neighbours_of_a_tile(g, g.neighbours, p)) * g.neighbours.apart


def whole(g: Geometry, p: Parameters) -> Partition:
    """The reduction as one part; without the array, the channels of a pixel."""
    if not g.on_array:
        return Partition(((0, 1),), ((0, 1),), ((0, g.source[0]),))
    k = kernel(g, p)
    return Partition(((0, k.rows.count),), ((0, k.columns.count),), ((0, run_length(g, p)),))


def partitions(g: Geometry, p: Parameters) -> Iterator[Partition]:
    """Ways to cut the reduction, coarsest first: not at all, by kernel rows, by kernel columns, by run."""
    k, run = kernel(g, p), run_length(g, p)
    rows, steps = k.rows.count, k.columns.count
    for count in divisions(rows):
        yield Partition(even(rows, count), ((0, steps),), ((0, run),))
    single_rows, single_steps = even(rows, rows), even(steps, steps)
    for count in divisions(steps)[1:]:
        yield Partition(single_rows, even(steps, count), ((0, run),))
    chunks = ceil(run / p.rows)
    for count in divisions(chunks)[1:]:
        runs = tuple((first * p.rows, min(run, last * p.rows)) for first, last in even(chunks, count))
        yield Partition(single_rows, single_steps, runs)


def finest(g: Geometry, p: Parameters) -> Partition:
    """A part for each pass; without the array there is one."""
    if not g.on_array:
        return whole(g, p)
    k, run = kernel(g, p), run_length(g, p)
    rows, steps = k.rows.count, k.columns.count
    runs = tuple((first, min(run, first + p.rows)) for first in range(0, run, p.rows))
    return Partition(even(rows, rows), even(steps, steps), runs)


def divisions(count: int) -> list[int]:
    """1 .. count, thinned out so that sizes differ by a tenth or so."""
    chosen, n = [], 1
    while n < count:
        chosen.append(n)
        n = max(n + 1, n * 11 // 10)
    return [*chosen, count]


def even(length: int, count: int) -> tuple[Span, ...]:
    """``count`` ranges of at most ceil(length / count), covering ``length``; fewer when that covers it."""
    step = ceil(length / count)
    return tuple((first, min(length, first + step)) for first in range(0, length, step))


def balanced(length: int, count: int) -> tuple[Span, ...]:
    """``count`` ranges that cover ``length``, whose lengths differ by one at most, the longer ones first."""
    short, longer = divmod(length, count)
    starts = [n * short + min(n, longer) for n in range(count + 1)]
    return tuple(pairwise(starts))


def spatial_tile(g: Geometry, rows: Span, columns: Span) -> SpatialTile:
    """The tile that makes ``rows`` x ``columns`` of the result, with the convolution outputs that it pools."""
    _, height, width = g.convolved
    if g.pool is None:
        return SpatialTile(rows, columns, rows, columns)
    pool = g.pool

    def needed(span: Span, axis: int, limit: int) -> Span:
        first = span[0] * pool.strides[axis] - pool.pads[axis]
        last = (span[1] - 1) * pool.strides[axis] - pool.pads[axis] + pool.kernel[axis]
        return max(0, first), min(limit, last)

    return SpatialTile(rows, columns, needed(rows, 0, height), needed(columns, 1, width))


def source_rows(g: Geometry, k: Kernel, tile: SpatialTile, part: Part) -> Span:
    """Rows of the source map that the tile's part reads, without padding."""
    low, high = k.rows.sources(tile.convolved_rows, part.kernel_rows, g.pads[0])
    return _clipped(low, high, g.source[1])


def source_elements(g: Geometry, k: Kernel, tile: SpatialTile, part: Part, channels: Span) -> Span:
    """Elements of each of these rows that the part reads, from the row's start, without padding.

    ``channels``: where the channel tiles' runs begin, first and last (both 0 but for groups and neighbours).
    """
    depth, _, width = g.source
    low, high = k.columns.sources(tile.convolved_columns, part.kernel_columns, g.pads[1])
    first, last = part.run[0] + channels[0], part.run[1] + channels[1]
    return _clipped(low * depth + first, (high - 1) * depth + last, width * depth)


def source_columns(g: Geometry, k: Kernel, tile: SpatialTile, part: Part) -> Span:
    """Columns of the source map that the tile's part reads, without padding."""
    low, high = k.columns.sources(tile.convolved_columns, part.kernel_columns, g.pads[1])
    return _clipped(low, high, g.source[2])


def _clipped(low: int, high: int, limit: int) -> Span:
    """Never empty: a part that reads padding only still loads one element."""
    low, high = min(max(low, 0), limit), min(max(high, 0), limit)
    if low >= high:
        low = min(low, limit - 1)
        high = low + 1
    return low, high


def tiles_of(g: Geometry, tile_rows: int, tile_columns: int) -> list[SpatialTile]:
    """The result cut into rectangles of at most tile_rows x tile_columns, in raster order."""
    _, height, width = g.target
    return [
        spatial_tile(g, rows, columns)
        for rows in balanced(height, ceil(height / tile_rows))
        for columns in balanced(width, ceil(width / tile_columns))
    ]
