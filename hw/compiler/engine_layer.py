"""What the engine runs: a convolution with what follows it in the vector unit, or a layer of the vector unit alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import AveragePool, Normalization, Pads, Pair, Shape, magnitudes, weight_width
from ..isa.program import SHIFT_BASE, Combine
from .formats import ONE, Format
from .geometry import Geometry, Neighbours, Window
from .span import Span
from .spread import Rearranged, Spread, dense

NO_WEIGHTS = np.zeros((0, 0, 1, 1), np.int16)


@dataclass(frozen=True)
class Pool:
    """Windows that are reduced to one vector: their maximum, or their total, to be divided by what ``average`` counts.

    scales : for a total, (mantissa, shift) by the number of elements that count
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    average: AveragePool | None = None
    scales: Mapping[int, Pair] = field(default_factory=dict)

    def count(self, axis: int, place: int, length: int) -> int:
        """Elements that an average counts in its window ``place`` along one axis of ``length``."""
        assert self.average is not None
        before, after = self.pads[axis], self.pads[axis + 2]
        low, high = (-before, length + after - self.average.ceil[axis]) if self.average.include_pad else (0, length)
        first = place * self.strides[axis] - before
        return min(high, first + self.kernel[axis]) - max(low, first)

    def runs(self, axis: int, span: Span, length: int) -> list[tuple[Span, int]]:
        """``span`` of an average's results cut where windows count other numbers, along one axis of ``length``."""
        cuts: list[tuple[Span, int]] = []
        for place in range(*span):
            count = self.count(axis, place, length)
            if cuts and cuts[-1][1] == count:
                cuts[-1] = ((cuts[-1][0][0], place + 1), count)
            else:
                cuts.append(((place, place + 1), count))
        return cuts

    def window(self, results: int, length: int) -> Window:
        """What a cut depends on, of rows of ``results`` from rows of ``length``."""
        runs = len(self.runs(1, (0, results), length)) if self.average else 0
        return Window(self.kernel, self.strides, self.pads, runs)


@dataclass(frozen=True, eq=False)
class EngineLayer:
    """A convolution with what follows it in the vector unit, or a layer of the vector unit alone.

    name : the graph's layers', joined by plus signs;  input, output : tensors;  operand : the one that is added, or ""
    source, convolved, target : (channels, rows, columns) of input, of what is pooled, of what is written
    part : where its results lie in the output tensor, None if they are all of it
    first_channel : of the input, the first that is read
    weights : (outputs, inputs / groups, kernel rows, kernel columns), empty without the array
    bias : what is added to ``sum w * stored``;  mantissas, shifts : scales as program.CHANNEL has them
    padding : what stored pixels outside the map are;  source_zero : the zero point of a map that is read as it is
    pool : windows over the convolution's sums, or over the source
    format : of requantized values, None for raw sums;  combine, tables, final : tables behind them, and their clamp
    scale : mantissa and shift of a map's values, unless ``pool`` has them;  operand_zero : see Combine.MULTIPLY
    one_pixel : the operand has one pixel, for all results
    normalization : its tables are in ``tables``
    input_at, operand_at, output_at : first element in tensors that hold several images;  image : None for all of them
    tensor : the graph's name of the output, if ``output`` is another
    rearranged : how ``output``, which the graph does not have, holds ``tensor``
    own_weights : how many the graph's layer has, if ``weights`` has more, zeros among them
    neighbours : whose windows its outputs are, if they are several
    """

    name: str
    operator: str
    input: str
    output: str
    source: Shape
    convolved: Shape
    target: Shape
    format: Format | None
    weights: NDArray[np.int16] = field(default_factory=lambda: NO_WEIGHTS)
    bias: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    mantissas: NDArray[np.int64] | None = None
    shifts: NDArray[np.int64] | None = None
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    padding: int = 0
    source_zero: int = 0
    pool: Pool | None = None
    part: Spread | None = None
    first_channel: int = 0
    operand: str = ""
    combine: Combine = Combine.NONE
    tables: NDArray[np.int64] | None = None
    final: Pair = (0, 0)
    scale: Pair = ONE
    operand_zero: int = 0
    one_pixel: bool = False
    normalization: Normalization | None = None
    macs: int = 0
    input_at: int = 0
    operand_at: int = 0
    output_at: int = 0
    image: int | None = None
    tensor: str = ""
    rearranged: Rearranged | None = None
    own_weights: int = 0
    neighbours: Neighbours | None = None

    @property
    def affine(self) -> bool:
        """Its weights are factors of the channels, for the vector unit: there is no array."""
        return self.combine == Combine.AFFINE

    @property
    def on_array(self) -> bool:
        return self.weights.size > 0 and not self.affine

    @property
    def reads_maps(self) -> bool:
        """The vector unit reads a feature map."""
        return not self.on_array or bool(self.operand) or self.tables is not None

    @property
    def shifts_only(self) -> bool:
        """All its scales are powers of two."""
        scales = [] if self.mantissas is None else self.mantissas.tolist()
        scales += [mantissa for mantissa, _ in self.pool.scales.values()] if self.pool else [self.scale[0]]
        return self.normalization is None and all(mantissa == ONE[0] for mantissa in scales)

    @property
    def shifts_in_use(self) -> list[int]:
        """Of all its scales; none of raw sums."""
        if self.shifts is not None:
            return [int(shift) for shift in self.shifts]
        if self.on_array:
            return []
        if self.normalization is not None:
            return [self.normalization.exponent - SHIFT_BASE]
        return [shift for _, shift in self.pool.scales.values()] if self.pool and self.pool.scales else [self.scale[1]]

    @property
    def raw(self) -> bool:
        return self.format is None

    @property
    def kernel(self) -> Pair:
        """Of the convolution; 1x1 without one."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def spread(self) -> Spread:
        """Where its results lie in the output tensor."""
        return self.part or dense(self.target)

    @property
    def channels(self) -> Span:
        """Those of each pixel of the input that it reads."""
        count = self.weights.shape[1] * self.groups if self.on_array else self.convolved[0]
        return self.first_channel, self.first_channel + count

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that it reads."""
        return (self.input, self.operand) if self.operand else (self.input,)

    @cached_property
    def magnitudes(self) -> NDArray[np.int64]:
        """``sum |w|`` of each output's weights, (outputs,)."""
        return magnitudes(self.weights)

    @cached_property
    def geometry(self) -> Geometry:
        """What its cut depends on."""
        outputs, inputs = self.weights.shape[:2]
        return Geometry(
            self.on_array,
            self.source,
            self.first_channel,
            self.convolved,
            self.target,
            outputs,
            inputs,
            self.kernel,
            self.strides,
            self.pads,
            self.dilations,
            self.groups,
            self.pool.window(self.target[2], self.source[2]) if self.pool else None,
            bool(self.operand),
            self.raw,
            self.normalization.size if self.normalization else 0,
            self.neighbours,
            weight_bits=weight_width(self.weights),
        )
