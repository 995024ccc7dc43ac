"""What each shape of a layer's spatial tiles takes: memory, and cycles as estimated from what each unit is busy with.

A tile's rows and columns are independent of each other, so what is said of all tiles together is a sum, or a maximum,
along one axis times one along the other; and NumPy does all shapes at once.  Every item of the arrays is one shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import Pair
from ..isa.parameters import BURST_BEATS, INSTRUCTION_BYTES, Parameters
from ..isa.program import AFFINE_ROWS, QUEUE
from .cutting import Partition, balanced, channel_tiles, divisions, inputs_of, own_loads, slices
from .geometry import Geometry
from .kernel_steps import Kernel, kernel, lines_fit
from .packing import pass_cycles, tile_words
from .sliding import Counts, interval, row_lead
from .span import Span, size

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
Numbers = TypeVar("Numbers", Integers, Reals)

ARRAY_GAP = 4
"""Cycles between two of the array's instructions, about."""

DRAIN_GAP = 6
"""Cycles between two channel tiles in the vector unit, about."""

AFFINE_GAP = AFFINE_ROWS + 25
"""The same where it reads the channels' parameters of a map, which it does while nothing is in its lanes."""

SHARED = 0.05
"""What a cycle of the vector unit or of the bus costs even while the array is busier: others may want it."""

TYPICAL_LATENCY = 40
"""Cycles that the choice of a tiling allows for memory's answer to a store, or a read."""

SPAN_READ = TYPICAL_LATENCY / 16
"""Cycles from one short span to the next that the loader asks for: there are at most 16 bursts on their way."""

SPAN_WRITTEN = 1
"""Cycles that the storer takes for each span beside its beats: that of its address."""


@dataclass(frozen=True)
class Traffic:
    """Which of a layer's tensors pass through DRAM.  ``steps``: elements from row to row, and from column to column,
    of its results in the output tensor."""

    load: bool
    operand: bool
    store: bool
    steps: Pair
    trailing: float = 0.0
    """Cycles of layers of the vector unit alone that follow row by row: some are left when the last tile ends."""
    begins: bool = False
    """Nothing runs before it: its first load takes turns on the bus with weights, until their FIFO is full."""
    trails: bool = False
    """No layer of the array follows: nothing hides its last tile."""


@dataclass(frozen=True, eq=False)
class Costs:
    """Of each shape, cycles: those that keep array, bus and loader busy, those before and behind, and all together.

    bus : the busier of its reads and the storer
    """

    array: Reals
    bus: Reals
    loader: Reals
    ends: Reals
    total: Reals


def drain(g: Geometry, p: Parameters, count: Counts, tiles: int, across: Counts) -> Counts:
    """Cycles of the vector unit for a layer of ``tiles`` channel tiles in ``count`` spatial ones, ``across`` a row."""
    results = g.target[1] * g.target[2]
    begun = across * (g.target[1] * row_lead(g, p))
    gap = AFFINE_GAP if g.scales else p.parameter_rows + DRAIN_GAP
    return tiles * (results * interval(g, p) + begun + count * gap)


def writing(g: Geometry, p: Parameters, beats: Reals, vectors: Integers | int) -> Reals:
    """Cycles to write the loader's beats and the vector unit's vectors: beside each other if a beat lies in one line,
    else in turns.
    """
    if g.source[0] % p.bus_elements:
        return beats + vectors
    return np.maximum(beats, vectors)


def in_turns(array: Reals | float, vector: Integers | float, turns: Integers | int, p: Parameters) -> Reals | float:
    """Cycles of ``turns`` channel tiles, with which two halves of the accumulators are filled and drained in turns.

    array, vector : cycles of all of them.  Where both are as many, neither unit hides how long a half is on its way
    from one to the other, R + C + 9 cycles: until the last column has settled, and until a freed half counts.
    """
    return (array + vector + turns * (p.rows + p.columns + 9)) / 2


def pixel_pitch(g: Geometry, p: Parameters, steps: Pair, channels: int) -> int:
    """Elements from pixel to pixel of a slot that is stored: what is side by side in DRAM is dense; what is not lies in
    a bus beat as it does there.  ``steps``: as Traffic has them;  ``channels``: in a pixel of the slot."""
    each = p.sum_elements if g.raw else 1
    depth = channels * each
    return depth + (steps[1] * each - depth) % p.bus_elements


def row_pitch(g: Geometry, columns: int, p: Parameters, steps: Pair, channels: int) -> int:
    """Elements from row to row of a slot that is stored: every row must start as in DRAM within a bus beat."""
    pitch = columns * pixel_pitch(g, p, steps, channels)
    return pitch + (steps[0] * (p.sum_elements if g.raw else 1) - pitch) % p.bus_elements


class Axis:
    """The result's rows, or its columns, cut into balanced spans in several ways; arrays have an item for each way.

    length, count : of the spans;  last : length of the last, which may be one less
    needed : convolution outputs that the largest of them needs
    """

    def __init__(self, g: Geometry, k: Kernel, axis: int, lengths: Sequence[int]) -> None:
        self.g, self.k, self.axis = g, k, axis
        size = g.target[1 + axis]
        self.length = np.array(lengths)
        self.count = -(-size // self.length)
        self.last = size // self.count
        self._first = np.cumsum(self.count) - self.count
        # of each span of each way, one way behind the other: the convolution's outputs that it needs
        spans = np.array([span for count in self.count.tolist() for span in balanced(size, count)])
        start, end = spans[:, 0], spans[:, 1]
        self._low, self._high = start, end
        if g.pool:
            stride, pad = g.pool.strides[axis], g.pool.pads[axis]
            self._low = np.maximum(start * stride - pad, 0)
            self._high = np.minimum((end - 1) * stride - pad + g.pool.kernel[axis], g.convolved[1 + axis])
        self.needed = np.maximum.reduceat(self._high - self._low, self._first)

    def lengths_needed(self) -> tuple[Integers, Integers]:
        """Numbers of convolution outputs that a span needs, (lengths,), and how often: (ways, lengths)."""
        lengths, which = np.unique(self._high - self._low, return_inverse=True)
        ways = np.repeat(np.arange(len(self.count)), self.count)
        times = np.bincount(ways * len(lengths) + which, minlength=len(self.count) * len(lengths))
        return lengths, times.reshape(len(self.count), -1)

    def sources(self, parts: Sequence[tuple[Span, Span]], depth: int) -> Integers:
        """How many elements each span needs for each part, (parts, spans): see cutting.source_elements.

        parts : steps along the kernel and, of each pixel's ``depth`` elements, the run
        """
        steps, pad = (self.k.rows, self.k.columns)[self.axis], self.g.pads[self.axis]
        reach = np.array([steps.reaching(span) for span, _ in parts])[:, :, None]
        run = np.array([span for _, span in parts])[:, :, None]
        low = (self._low * steps.stride - pad + reach[:, 0]) * depth + run[:, 0]
        high = ((self._high - 1) * steps.stride - pad + reach[:, 1] - 1) * depth + run[:, 1]
        end = self.g.source[1 + self.axis] * depth
        elements: Integers = np.maximum(np.clip(high, 0, end) - np.clip(low, 0, end), 1)
        return elements

    def whole_sources(self) -> Integers:
        """How many rows, or columns, of the source each span needs for the whole kernel, (1, spans)."""
        return self.sources([((0, (self.k.rows, self.k.columns)[self.axis].count), (0, 1))], 1)

    def first(self, values: Numbers) -> Numbers:
        """Of values (parts, spans): the first part's for each way's first span."""
        firsts: Numbers = values[0, self._first]
        return firsts

    def total(self, values: Numbers) -> Numbers:
        """Of values (parts, spans): the sum for each way."""
        return np.add.reduceat(values.sum(axis=0), self._first)

    def largest(self, values: Numbers) -> Numbers:
        """Of values (parts, spans): the largest for each way."""
        return np.maximum.reduceat(values.max(axis=0), self._first)


def _each(columns: Numbers, rows: Numbers) -> Numbers:
    """The product for each shape."""
    return np.outer(columns, rows).ravel()


def beyond_queue(instructions: Reals) -> Reals:
    """The share of ``instructions`` of one unit, one behind the other, that find its queue full."""
    share: Reals = np.maximum(0.0, 1 - QUEUE / np.maximum(instructions, 1))
    return share


@lru_cache(maxsize=64)
def _axes(g: Geometry, k: Kernel) -> tuple[Axis, Axis]:
    """Balanced heights, largest first, and widths."""
    _, height, width = g.target
    heights = sorted({ceil(height / down) for down in divisions(height)}, reverse=True)
    widths = [ceil(width / n) for n in divisions(width) if n == 1 or ceil(width / ceil(width / n)) == n]
    return Axis(g, k, 0, heights), Axis(g, k, 1, widths)


class Shapes:
    """Rectangles worth trying for a layer: full width first, then narrower; for each width, balanced heights.

    sliced : channel tiles in each of its slices, 0 for all channels at once;  slices : how many
    own_loads : each slice loads channels of its own
    rows, columns, count : of a tile's result at most, and how many tiles there are
    bands : how often its rows come
    possible : the accumulators hold its convolution outputs
    operand_slot, output_slot : elements that the largest slice of a tile takes of each, 0 if it is resident
    """

    def __init__(self, g: Geometry, p: Parameters, traffic: Traffic, sliced: int = 0) -> None:
        self.g, self.p, self.traffic, self.sliced = g, p, traffic, sliced
        self._slices = slices(g, p, sliced)
        self.slices = len(self._slices)
        self.own_loads = own_loads(g, self.slices)
        self.k = k = kernel(g, p)
        self._rows, self._columns = rows, columns = _axes(g, k)
        self.rows = np.tile(rows.length, len(columns.length))
        self.columns = np.repeat(columns.length, len(rows.length))
        self.count = _each(columns.count, rows.count)
        self.bands = np.tile(rows.count, len(columns.count))
        self._across = np.repeat(columns.count, len(rows.count))
        self._apart = self.slices > 1 or g.target[0] != traffic.steps[1]  # each pixel of a result is a span of its own
        series = channel_tiles(g, p)
        self._channel_tiles = sum(map(len, series))
        self._channels = inputs_of(series) if g.on_array else (0, 0)
        self.possible = np.full(len(self.count), True)
        if g.on_array:
            self.possible = _each(columns.needed, rows.needed) <= p.accumulator_depth
            lines = [lines_fit(k, k.windows(1, int(needed)), p) for needed in columns.needed]
            self.possible &= np.repeat(lines, len(rows.length))
        self.output_slot = self.operand_slot = np.zeros(len(self.count), np.int64)
        if traffic.store:  # a slot starts where its DRAM address falls in a bus beat
            pitches = [
                max(row_pitch(g, int(length), p, traffic.steps, size(self._slices[0].outputs)) for length in pair)
                for pair in zip(columns.length, columns.last, strict=True)
            ]
            self.output_slot = self.whole_beats(_each(np.array(pitches), rows.length) + p.bus_elements)
        if traffic.operand:
            self.operand_slot = self.whole_beats(self.rows * self.columns * size(self._slices[0].outputs))

    def whole_beats(self, elements: Integers) -> Integers:
        return elements + -elements % self.p.bus_elements

    def measured(self, partition: Partition, whole_rows: bool = False) -> tuple[Integers, Costs]:
        """Elements of the largest piece of the source that a part loads, and the cycles that all takes, about.

        whole_rows : a piece serves all tiles of the same rows
        """
        g, p, traffic = self.g, self.p, self.traffic
        load, first, beats, filling = (
            np.zeros(len(self.count), np.int64),
            np.zeros(1),
            np.zeros(1),
            np.zeros(1, np.int64),
        )
        if traffic.load and self.own_loads:
            load, first, beats = self._sliced_loads()
        elif traffic.load:
            low, high = self._channels
            runs = [(run[0] + low, run[1] + high) for run in partition.runs]
            rows = self._rows.sources([(kernel, (0, 1)) for kernel in partition.kernel_rows], 1)
            columns, ways = self._columns, len(self._columns.count)
            if whole_rows:
                columns, ways = Axis(g, self.k, 1, [g.target[2]]), 1
            elements = columns.sources([*product(partition.kernel_columns, runs)], g.source[0])
            # a row that starts within a beat takes one more
            of_row = elements / p.bus_elements + 1
            if g.skips:  # each pixel is a span
                of_row = np.ceil(elements / g.source[0]) * [
                    [max(SPAN_READ, self._span_beats(size(run), g.source[0]))] for run in runs
                ]
            every, down = np.ones(len(self._columns.count) // ways, np.int64), rows.astype(np.float64)  # each width's
            load = _each(columns.largest(elements) * every, self._rows.largest(rows))
            first = _each(columns.first(of_row) * every, self._rows.first(down))
            if traffic.begins:
                whole = columns.first(elements) == g.source[0] * g.source[2]  # one span, and not one a row
                bursts = columns.first(of_row) / BURST_BEATS
                spans: Reals = _each(np.where(whole, bursts, np.ceil(bursts)) * every, self._rows.first(down))
                most = min(p.weight_fifo_beats, self._weights(partition) / p.bus_bytes)
                first = first + np.minimum(np.ceil(spans) * BURST_BEATS, most)
                pieces = len(partition) * (self.bands if whole_rows else self.count)
                filling = np.where(pieces > 2, p.weight_fifo_beats, 0)  # loads go on while the FIFO fills
            beats = _each(columns.total(of_row) * every, self._rows.total(down))
        return load, self._cycles(partition, first, beats, filling)

    def _weights(self, partition: Partition) -> float:
        """Bytes of weights, with parameters, that a spatial tile takes."""
        words = partition.passes(self.p) * tile_words(self.g, self.p) + self.p.parameter_rows
        return self._channel_tiles * words * self.p.weight_row_bits / 8

    def _sliced_loads(self) -> tuple[Integers, Reals, Reals]:
        """Elements of the largest slice, and beats to load the first and all: some channels of each pixel."""
        rows, columns = self._rows.whole_sources(), self._columns.whole_sources()
        load = _each(self._columns.largest(columns), self._rows.largest(rows)) * size(self._slices[0].inputs)
        spans = [max(SPAN_READ, self._span_beats(size(each.inputs), self.g.source[0])) for each in self._slices]
        first = _each(self._columns.first(columns), self._rows.first(rows)).astype(np.float64) * spans[0]
        every = _each(self._columns.total(columns), self._rows.total(rows)).astype(np.float64) * sum(spans)
        return load, first, every

    def _span_beats(self, elements: int, step: int) -> float:
        """Beats of spans of ``elements``, ``step`` apart, on average where they begin anywhere in a beat."""
        bus = self.p.bus_elements
        return elements / bus if elements % bus == step % bus == 0 else (elements - 1) / bus + 1

    def _cycles(self, partition: Partition, first: Reals, beats: Reals, filling: Integers) -> Costs:
        """Estimated from what each unit is busy with; the cycle model has the exact order.

        first, beats : of the bus, to load the first piece, and the parts of all tiles once;  filling : a FIFO
        """
        g, p, traffic, count, parts = self.g, self.p, self.traffic, self.count, len(partition)
        # each channel tile loads the parts of its reduction again, each slice its own
        repeats = self._channel_tiles if parts > 1 else 1
        pieces = count * max(repeats * parts, self.slices)
        loads, (stores, storing) = self._loads(), self.stores()
        loads = loads * (pieces // count) if parts > 1 else loads
        operands, adding = self._operands()
        instructions = loads + operands + stores + count * (1 + self.slices) + pieces
        weights, array = 0.0, np.zeros(1)
        if g.on_array:
            steps = partition.passes(p)
            weights = self._weights(partition)
            passing = self._channel_tiles * steps * self._passing()
            array = (passing + pieces * ARRAY_GAP).astype(np.float64)
        results = g.target[1] * g.target[2]
        vector = drain(g, p, count, self._channel_tiles, self._across)
        loader = repeats * beats
        if traffic.operand:
            loader = loader + results * adding
        bus = (count * weights + instructions * INSTRUCTION_BYTES) / p.bus_bytes + loader + filling
        halves = in_turns(array, vector, count * self._channel_tiles, p) if g.on_array else np.zeros(1)
        writes = writing(g, p, loader, results * self._channel_tiles)
        last = vector / count / self._channel_tiles
        last = last + traffic.trailing * np.tile(self._rows.last, len(self._columns.last)) / g.target[1]
        if traffic.store:
            of_last = _each(self._columns.last, self._rows.last)
            last = last + (storing * of_last / (results * self.slices))
        # what waits for a full queue holds up the array's instructions behind it
        array = array + beats * beyond_queue(loads / pieces) + storing * beyond_queue(stores / pieces)
        busiest = np.maximum.reduce(np.broadcast_arrays(array, vector, bus, writes, storing, halves))
        total = busiest + SHARED * (vector + bus) + first + last
        bus = np.maximum(bus, storing)
        array, bus, loader, ends = (np.broadcast_to(c, count.shape) for c in (array, bus, loader, first + last))
        return Costs(array, bus, loader, ends, total)

    def _loads(self) -> Integers:
        """LOADs of the source; where only some channels are loaded, no step leads from one row to the next but in whole
        rows."""
        if not self.own_loads and not self.g.skips:
            return self.count * int(self.traffic.load)
        rows, columns = (axis.largest(axis.whole_sources()) for axis in (self._rows, self._columns))
        shorter = np.minimum(np.tile(rows, len(columns)), np.repeat(columns, len(rows)))
        if self.g.skips:
            return shorter * self.count
        return np.where(self._across > 1, shorter, 1) * self.count * self.slices * int(self.traffic.load)

    def _operands(self) -> tuple[Integers, float]:
        """LOADs of the map that is added, and beats of each of its pixels: each slice loads its own channels."""
        if not self.traffic.operand:
            return np.zeros_like(self.count), 0.0
        if self.slices == 1:
            return self.count, self.g.target[0] / self.p.bus_elements
        loads = np.where(self._across > 1, np.minimum(self.rows, self.columns), 1) * self.count * self.slices
        parts = [self._span_beats(size(part.outputs), self.g.target[0]) for part in self._slices]
        return loads, sum(max(SPAN_READ, beats) for beats in parts)

    def stores(self) -> tuple[Integers, Reals]:
        """STOREs, and the storer's cycles."""
        g, steps = self.g, self.traffic.steps
        if not self.traffic.store:
            return np.zeros_like(self.count), np.zeros(1)
        each = self.p.sum_elements if g.raw else 1
        gaps = (self._across > 1) | (steps[0] > g.target[2] * steps[1])  # between the rows of a tile, in DRAM
        stores, cycles = self.count, g.target[0] * each / self.p.bus_elements
        spans = np.where(gaps, self._across * g.target[1], self.count)
        if self._apart:
            stores = np.where(gaps, np.minimum(self.rows, self.columns), 1) * self.count * self.slices
            spans = np.full_like(spans, g.target[1] * g.target[2] * self.slices)
            cycles = sum(self._span_beats(size(part.outputs) * each, steps[1] * each) for part in self._slices)
        busy: Reals = g.target[1] * g.target[2] * cycles + spans * SPAN_WRITTEN + stores * TYPICAL_LATENCY
        return stores, busy

    def _passing(self) -> Integers:
        """Cycles of one pass of one channel tile, over all tiles."""
        (wide, across), (high, down) = self._columns.lengths_needed(), self._rows.lengths_needed()
        wide, high = (np.array([self.k.windows(n, int(i)) for i in lengths]) for n, lengths in ((1, wide), (0, high)))
        return (across @ np.maximum(np.outer(wide, high), pass_cycles(self.g, self.p)) @ down.T).ravel()
