"""What the cut of a layer depends on, and nothing else: layers of one geometry have the same tilings."""

from dataclasses import dataclass, replace
from functools import cached_property

from ...quant.graph import Pads, Pair, Shape


@dataclass(frozen=True)
class Window:
    """Of a pooling, rows before columns.

    runs : of an average, parts of a row of its results whose windows count alike; 0 of a maximum
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    runs: int = 0


@dataclass(frozen=True)
class Neighbours:
    """Results that lie side by side in one, see beside: output o is of neighbour ``o // outputs % count``.

    apart : elements of a source row from where one neighbour's windows begin to where the next one's do
    """

    count: int
    outputs: int
    apart: int


@dataclass(frozen=True)
class Geometry:
    """A layer without its numbers.

    on_array : it has weights, of ``kernel``, from ``inputs`` of each group to ``outputs``; without the array groups are
    channels that the vector unit scales
    source, convolved, target : (channels, rows, columns) of input, of what is pooled, of what is written
    first : channel of the input that is read first
    adds : another map is added;  raw : sums are written, not activations
    normalized : neighbouring channels that a normalization sums over, 0 without one
    neighbours : if its results are those of several windows
    skips : of the map in DRAM the source is some pixels alone, see ``taken``
    weight_bits : of its weights, the widest
    """

    on_array: bool
    source: Shape
    first: int
    convolved: Shape
    target: Shape
    outputs: int
    inputs: int
    kernel: Pair
    strides: Pair
    pads: Pads
    dilations: Pair
    groups: int
    pool: Window | None
    adds: bool
    raw: bool
    normalized: int
    neighbours: Neighbours | None = None
    skips: bool = False
    weight_bits: int = 16

    @property
    def whole_pixels(self) -> bool:
        """Each window takes all channels of its pixels, so that those of a kernel row are one run."""
        return self.groups == 1 and self.dilations[1] == 1 and self.inputs == self.source[0]

    @property
    def scales(self) -> bool:
        """The vector unit scales each channel by itself."""
        return not self.on_array and self.groups > 1

    @property
    def of_a_pixel(self) -> bool:
        """Whether the reduction is one run, the channels of the source's only pixel."""
        alone = self.source[1:] == self.kernel == (1, 1) and self.groups == 1
        return alone and self.whole_pixels and not any(self.pads)

    @cached_property
    def taken(self) -> "Geometry":
        """What it is where its source is loaded: of windows of one pixel that lie apart, these pixels alone."""
        skips = self.on_array and self.whole_pixels and self.kernel == (1, 1) and self.strides[1] > 1
        if not skips or any(self.pads):
            return self
        return replace(self, source=(self.source[0], *self.convolved[1:]), strides=(1, 1), skips=True)
