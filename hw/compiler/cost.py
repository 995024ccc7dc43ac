"""What each shape of a layer's spatial tiles takes: memory, and cycles as estimated from what each unit is busy with.

A tile's rows and columns are independent of each other, so what is said of all tiles together is a sum, or a maximum,
along one axis times one along the other; and NumPy does all shapes at once.  Every item of the arrays is one shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import Pair
from ..isa.parameters import BURST_BEATS, INSTRUCTION_BYTES, Parameters
from .cutting import Partition, channel_tiles, divisions, inputs_of
from .geometry import Geometry
from .span import Span

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]
Numbers = TypeVar("Numbers", Integers, Reals)

ARRAY_GAP = 4
"""Cycles between two of the array's instructions, about."""

DRAIN_GAP = 6
"""Cycles between two channel tiles in the vector unit, about."""

SHARED = 0.05
"""What a cycle of the vector unit or of the bus costs even while the array is busier: others may want it."""

TYPICAL_LATENCY = 40
"""Cycles that the choice of a tiling allows for memory's answer to the last store."""


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


def reads(g: Geometry) -> int:
    """Vectors that the vector unit reads for each result."""
    window = g.pool.kernel[0] * g.pool.kernel[1] if g.pool else 1
    return window + g.adds


def interval(g: Geometry, p: Parameters) -> int:
    """Cycles from one result of the vector unit to the next, if no read of a map waits for its bank."""
    return max(reads(g), p.lane_groups)


def pixel_pitch(g: Geometry, p: Parameters, steps: Pair) -> int:
    """Elements from pixel to pixel of a slot that is stored: what is side by side in DRAM is dense; what is not lies in
    a bus beat as it does there.  ``steps``: as Traffic has them."""
    each = p.sum_elements if g.raw else 1
    depth = g.target[0] * each
    return depth + (steps[1] * each - depth) % p.bus_elements


def row_pitch(g: Geometry, columns: int, p: Parameters, steps: Pair) -> int:
    """Elements from row to row of a slot that is stored: every row must start as in DRAM within a bus beat."""
    pitch = columns * pixel_pitch(g, p, steps)
    return pitch + (steps[0] * (p.sum_elements if g.raw else 1) - pitch) % p.bus_elements


class Axis:
    """The result's rows, or its columns, cut into equal spans in several ways; arrays have an item for each way.

    length, count : of the spans;  last : length of the last, which may be shorter
    needed : convolution outputs that the largest of them needs
    """

    def __init__(self, g: Geometry, axis: int, lengths: Sequence[int]) -> None:
        self.g, self.axis = g, axis
        size = g.target[1 + axis]
        self.length = np.array(lengths)
        self.count = -(-size // self.length)
        self.last = size - (self.count - 1) * self.length
        self._first = np.cumsum(self.count) - self.count
        # of each span of each way, one way behind the other: the convolution's outputs that it needs
        start = np.concatenate([np.arange(0, size, length) for length in lengths])
        end = np.minimum(start + np.repeat(self.length, self.count), size)
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

        parts : kernel steps and, of each pixel's ``depth`` elements, the run
        """
        step, dilation, pad = self.g.strides[self.axis], self.g.dilations[self.axis], self.g.pads[self.axis]
        kernel, run = (np.array(spans)[:, :, None] for spans in zip(*parts, strict=True))
        low = (self._low * step - pad + kernel[:, 0] * dilation) * depth + run[:, 0]
        high = ((self._high - 1) * step - pad + (kernel[:, 1] - 1) * dilation) * depth + run[:, 1]
        end = self.g.source[1 + self.axis] * depth
        elements: Integers = np.maximum(np.clip(high, 0, end) - np.clip(low, 0, end), 1)
        return elements

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


class Shapes:
    """Rectangles worth trying for a layer: full width first, then narrower; for each width, balanced heights.

    rows, columns, count : of a tile's result at most, and how many tiles there are
    bands : how often its rows come
    possible : the accumulators hold its convolution outputs
    operand_slot, output_slot : elements that the largest tile takes of each, 0 if it is resident
    """

    def __init__(self, g: Geometry, p: Parameters, traffic: Traffic) -> None:
        self.g, self.p, self.traffic = g, p, traffic
        _, height, width = g.target
        heights = sorted({ceil(height / down) for down in divisions(height)}, reverse=True)
        widths = [ceil(width / n) for n in divisions(width) if n == 1 or ceil(width / ceil(width / n)) == n]
        self._rows, self._columns = rows, columns = Axis(g, 0, heights), Axis(g, 1, widths)
        self.rows, self.columns = np.tile(rows.length, len(widths)), np.repeat(columns.length, len(heights))
        self.count = _each(columns.count, rows.count)
        self.bands = np.tile(rows.count, len(widths))
        series = channel_tiles(g, p)
        self._channel_tiles = sum(map(len, series))
        self._channels = inputs_of(series) if g.on_array else (0, 0)
        self.possible = np.full(len(self.count), True)
        if g.on_array:
            self.possible = _each(columns.needed, rows.needed) <= p.accumulator_depth
        self.output_slot = self.operand_slot = np.zeros(len(self.count), np.int64)
        if traffic.store:  # a slot starts where its DRAM address falls in a bus beat
            pitches = [
                max(row_pitch(g, int(length), p, traffic.steps) for length in pair)
                for pair in zip(columns.length, columns.last, strict=True)
            ]
            self.output_slot = self._whole_beats(_each(np.array(pitches), rows.length) + p.bus_elements)
        if traffic.operand:
            self.operand_slot = self._whole_beats(self.rows * self.columns * g.target[0])

    def _whole_beats(self, elements: Integers) -> Integers:
        return elements + -elements % self.p.bus_elements

    def measured(self, partition: Partition, whole_rows: bool = False) -> tuple[Integers, Reals]:
        """Elements of the largest piece of the source that a part loads, and the cycles that all takes, about.

        whole_rows : a piece serves all tiles of the same rows
        """
        g, p, traffic = self.g, self.p, self.traffic
        load, first, beats = np.zeros(len(self.count), np.int64), np.zeros(1), np.zeros(1)
        if traffic.load:
            low, high = self._channels
            runs = [(run[0] + low, run[1] + high) for run in partition.runs]
            rows = self._rows.sources([(kernel, (0, 1)) for kernel in partition.kernel_rows], 1)
            columns, ways = self._columns, len(self._columns.count)
            if whole_rows:
                columns, ways = Axis(g, 1, [g.target[2]]), 1
            elements = columns.sources([*product(partition.kernel_columns, runs)], g.source[0])
            # a row that starts within a beat takes one more
            of_row = elements / p.bus_elements + 1
            every = np.ones(len(self._columns.count) // ways, np.int64)  # of each width the same
            load = _each(columns.largest(elements) * every, self._rows.largest(rows))
            down = rows.astype(np.float64)
            first = _each(columns.first(of_row) * every, self._rows.first(down))
            if traffic.begins:
                whole = columns.first(elements) == g.source[0] * g.source[2]  # one span, and not one a row
                bursts = columns.first(of_row) / BURST_BEATS
                spans: Reals = _each(np.where(whole, bursts, np.ceil(bursts)) * every, self._rows.first(down))
                first = first + np.minimum(np.ceil(spans) * BURST_BEATS, p.weight_fifo_beats)
            beats = _each(columns.total(of_row) * every, self._rows.total(down))
        return load, self._cycles(partition, first, beats)

    def _cycles(self, partition: Partition, first: Reals, beats: Reals) -> Reals:
        """Estimated from what each unit is busy with; the cycle model has the exact order.

        first, beats : of the bus, to load the first piece, and the parts of all tiles once
        """
        g, p, traffic, count, parts = self.g, self.p, self.traffic, self.count, len(partition)
        repeats = self._channel_tiles if parts > 1 else 1  # each channel tile loads the parts of its reduction again
        instructions = (2 if parts == 1 else 2 * repeats * parts) + traffic.load + traffic.operand + traffic.store + 1
        weights, array = 0.0, np.zeros(1)
        if g.on_array:
            steps = partition.passes(p)
            weights = self._channel_tiles * (steps * p.rows + p.parameter_rows) * p.weight_row_bits / 8
            passing = self._channel_tiles * steps * self._passing()
            array = (passing + count * repeats * parts * ARRAY_GAP).astype(np.float64)
        results = g.target[1] * g.target[2]
        drain = self._channel_tiles * (results * interval(g, p) + count * (p.parameter_rows + DRAIN_GAP))
        bus = count * (weights + instructions * INSTRUCTION_BYTES) / p.bus_bytes + repeats * beats
        if traffic.operand:
            bus = bus + results * g.target[0] / p.bus_elements
        last = drain / count / self._channel_tiles
        last = last + traffic.trailing * np.tile(self._rows.last, len(self._columns.last)) / g.target[1]
        if traffic.store:
            results = _each(self._columns.last, self._rows.last)
            last = last + (results * g.target[0] / p.bus_elements + TYPICAL_LATENCY)
        return np.maximum(np.maximum(array, drain), bus) + SHARED * (drain + bus) + first + last

    def _passing(self) -> Integers:
        """Cycles of one pass of one channel tile, over all tiles."""
        (wide, across), (high, down) = self._columns.lengths_needed(), self._rows.lengths_needed()
        return (across @ np.maximum(np.outer(wide, high), self.p.pass_cycles) @ down.T).ravel()
