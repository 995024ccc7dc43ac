"""The quantized graph: the contract that ``golden`` computes and ``hw`` builds.

A feature map is integers with one scale and one zero point, ``real = scale * (q - zero_point)``
(ONNX QuantizeLinear-21).  Weights are signed and symmetric with one scale per output channel, biases are
int32 at ``scale_x * scale_w[c]``.  Nothing here knows about hardware, files or results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError, unknown_kind
from .host import HostArray
from .moves import DepthToSpace, Selection
from .of_two import Add, Extremum, Multiply

INT32 = np.iinfo(np.int32)
LARGEST_WEIGHT = 2**15 - 1
EXPONENTS = (20, 80)
"""Of a normalization's factor, the smallest and the largest."""

LOOKUP = "Gather"
"""Operator of a table that is no function of ONNX's, but an expression's: its file holds the table itself."""

Pair = tuple[int, int]
"""(rows, columns), or (first, count)."""

Pads = tuple[int, int, int, int]
"""(top, left, bottom, right)."""

Shape = tuple[int, int, int]

ConvOperator = Literal["Conv", "Gemm"]


@dataclass(frozen=True)
class FeatureMap:
    """Integers of one tensor, shape (channels, rows, columns) per image.

    ``low`` and ``high`` bound the integers inclusively: the storage type's range, or less where an
    activation function or a narrower width (2 to 16 bits) clamps them.
    """

    name: str
    shape: Shape
    scale: np.float32
    zero_point: int
    low: int
    high: int

    @property
    def bits(self) -> int:
        """Width that tells all integers from low to high apart, in bits."""
        return max(1, (self.high - self.low).bit_length())


@dataclass(frozen=True, eq=False)
class Sums:
    """Raw int32 sums of a last layer: ``real[c] = fl32(fl32(fl32(sum[c]) * scales[c]) + shifts[c])``.

    scales : float32, (channels,)
    shifts : float32, (channels,): a bias that stays real and that the host adds; None if the sums hold all of it
    """

    name: str
    shape: Shape
    scales: NDArray[np.float32]
    shifts: NDArray[np.float32] | None = None


Tensor = FeatureMap | Sums


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution; a fully connected layer is one whose kernel covers its whole input map.

    ``sum[o] = bias[o] + sum over (i, ky, kx) of weights[o, i, ky, kx] * (x - zero_point_x)`` with zero
    padding in the real domain, then requantized into ``output`` (or left as sums).

    operator : Gemm if it is fully connected, which makes its output flat in the file
    weights : int16, (outputs, inputs / groups, kernel rows, kernel columns), in -2**15+1 .. 2**15-1
    weight_scales : float32, (outputs,);  bias : int64 within int32, (outputs,)
    strides, dilations : (rows, columns);  pads : (top, left, bottom, right)
    """

    name: str
    operator: ConvOperator
    input: str
    output: str
    weights: NDArray[np.int16]
    weight_scales: NDArray[np.float32]
    bias: NDArray[np.int64]
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    @property
    def kernel(self) -> Pair:
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def weight_bits(self) -> int:
        """Width of the widest weight, two's complement, in bits."""
        return weight_width(self.weights)

    @cached_property
    def magnitudes(self) -> NDArray[np.int64]:
        """``sum |w|`` of each output's weights, (outputs,)."""
        return magnitudes(self.weights)

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """``sum w`` of each output's weights, (outputs,)."""
        return np.array([each.sum(dtype=np.int64) for each in self.weights], np.int64)


@dataclass(frozen=True)
class MaxPool:
    """Maximum over windows; elements outside the map never win.  Input and output share scale and zero point.

    ``pads`` are (top, left, bottom, right) and already include what ceil_mode adds below and right, so
    that the output is ``(size + pads - kernel) // stride + 1`` exactly.
    """

    name: str
    input: str
    output: str
    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)

    operator = "MaxPool"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class AveragePool:
    """Mean over windows, from exact integer sums.

    ``sum = sum over the window of (x - zero_point_x)``, elements outside the map counting as 0, then
    ``y = clamp(rne(fl32(fl32(sum) * s)) + zero_point_y)`` with ``s = fl32(s_x / fl32(s_y * fl32(count)))``:
    ONNX Runtime's QLinearGlobalAveragePool.  ``count`` is the window's size if ``include_pad``, else the number of its
    elements inside the map; ``pads`` are as MaxPool's, and what ceil_mode adds never counts: with ``include_pad``
    ``ceil`` is how much of the bottom and right pads it is.  A global average is one whose kernel covers the map.
    """

    name: str
    input: str
    output: str
    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    include_pad: bool = False
    ceil: Pair = (0, 0)

    operator = "AveragePool"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class Concat:
    """Maps joined along ``axis``, each moved to the output's scale: ONNX Runtime's QLinearConcat.

    axis : as ONNX counts, 1 the channels, 2 the rows, 3 the columns; the other two are alike in all inputs

    Where scale and zero point differ, ``y = clamp(rne(fl32(fl32(s_x * (x - zp_x)) / s_y)) + zp_y)``, at most 8 bits.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    axis: int = 1

    operator = "Concat"


@dataclass(frozen=True, eq=False)
class Table:
    """Any function of one value: ``y = values[x - low]``, low being the input's, at most 8 bits.

    values : int32, (high - low + 1,), within the output's low..high
    operator, attributes : Tanh, Sigmoid, LeakyRelu, ... and what ONNX says of it: what the values were computed from;
    or LOOKUP: the values are all there is to say
    """

    name: str
    operator: str
    input: str
    output: str
    values: NDArray[np.int32]
    attributes: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True, eq=False)
class Normalization:
    """Local response normalization over channels (Krizhevsky et al. 2012; ONNX LRN-13), at most 8 bits.

    With ``before = (size - 1) // 2`` and channels outside the map counting as 0:

        S = sum over channels c - before .. c - before + size - 1 of (x - zero_point_x)**2
        t = S >> shift                                      (0 .. 65535)
        i = t if t < 512 else (e << 9) + (t >> (e - 1) & 511), e = bits of t - 9    (0 .. 4095)
        G = coarse[i >> 4] + fine[(i >> 8 << 4) + (i & 15)]   (0 .. 2**24 - 1)
        y = clamp(rne(fl32((x - zero_point_x) * G * 2**-exponent)) + zero_point_y)

    i is t as a float of 3 bits of exponent and 9 of mantissa: small sums, whose factors differ most, count best.
    G is the factor ``s_x / s_y * (bias + alpha / size * s_x**2 * S)**-beta`` as a fraction, in bipartite tables (Das
    Sarma and Matula 1995); ``quant.arithmetic`` makes them and bounds their error.

    coarse, fine : int32, (256,)
    """

    name: str
    input: str
    output: str
    size: int
    alpha: float
    beta: float
    bias: float
    shift: int
    exponent: int
    coarse: NDArray[np.int32]
    fine: NDArray[np.int32]

    operator = "LRN"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


Layer = (
    Conv | MaxPool | AveragePool | Add | Extremum | Multiply | Concat | Table | Normalization | Selection | DepthToSpace
)


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in execution order, with the tensors that they read and write by name; a tensor may have many readers.

    inputs, outputs : what the host writes and reads, in the model's order; layers may read an output too
    arrays : how those of them lie in the model's file that are not just their maps
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]
    arrays: Mapping[str, HostArray] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Graph: {len(self.layers)} layers, {self.macs:,} MACs an image>"

    def map_of(self, name: str) -> FeatureMap:
        """The feature map called ``name``.  Raises GraphError if it is missing or raw sums."""
        tensor = self.tensors.get(name)
        if not isinstance(tensor, FeatureMap):
            raise GraphError(f"tensor '{name}' is not a quantized feature map")
        return tensor

    @property
    def input(self) -> str:
        """The only input.  Raises GraphError, naming them, if there are several."""
        return only("inputs", self.inputs)

    @property
    def output(self) -> str:
        """The only output.  Raises GraphError, naming them, if there are several."""
        return only("outputs", self.outputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, all layers."""
        return sum(macs(layer, self) for layer in self.layers)


def only(what: str, names: Sequence[str]) -> str:
    """The one of ``names``.  Raises GraphError, naming them as ``what``, if there are several."""
    if len(names) != 1:
        raise GraphError(f"the network has {len(names)} {what}, {', '.join(map(repr, names))}; this works on one alone")
    return names[0]


def weight_width(weights: NDArray[np.int16]) -> int:
    """Width of the widest of ``weights``, two's complement, at least 2, in bits."""
    low, high = int(weights.min(initial=0)), int(weights.max(initial=0))
    return max(2, max(high, ~low).bit_length() + 1)


def window_outputs(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """``(W - F + 2P) / S + 1``, rounded down (Dumoulin and Visin 2016, relationship 14 with dilation)."""
    return (size + before + after - (dilation * (kernel - 1) + 1)) // stride + 1


def output_shape(layer: Layer, sources: tuple[Shape, ...]) -> Shape:
    """Shape (channels, rows, columns) that ``layer`` makes of inputs of these shapes."""
    channels, height, width = sources[0]
    match layer:
        case Conv():
            return layer.weights.shape[0], *_windows(layer, (height, width), layer.dilations)
        case MaxPool() | AveragePool():
            return channels, *_windows(layer, (height, width), (1, 1))
        case Concat():
            joined = sum(shape[layer.axis - 1] for shape in sources)
            channels, height, width = (joined if n == layer.axis - 1 else size for n, size in enumerate(sources[0]))
            return channels, height, width
        case Selection():
            return len(layer.channels), layer.rows[2], layer.columns[2]
        case DepthToSpace():
            high, wide = layer.block
            return channels // (high * wide), height * high, width * wide
        case Multiply():
            return channels, *max(shape[1:] for shape in sources)
        case Add() | Extremum() | Table() | Normalization():
            return sources[0]
        case unknown:
            unknown_kind(unknown)


def _windows(layer: Conv | MaxPool | AveragePool, size: Pair, dilations: Pair) -> Pair:
    """How many windows ``layer`` has down and across a map of ``size``, (rows, columns)."""
    top, left, bottom, right = layer.pads
    rows = window_outputs(size[0], layer.kernel[0], layer.strides[0], top, bottom, dilations[0])
    return rows, window_outputs(size[1], layer.kernel[1], layer.strides[1], left, right, dilations[1])


def macs(layer: Layer, graph: Graph) -> int:
    """Multiply-accumulates of ``layer`` for one image (0 for all but convolutions)."""
    if not isinstance(layer, Conv):
        return 0
    _, rows, columns = graph.tensors[layer.output].shape
    return layer.weights.size * rows * columns


def requantization_scales(layer: Conv, graph: Graph) -> NDArray[np.float32]:
    """``fl32(fl32(s_x * s_w) / s_y)`` per output channel, (outputs,) float32: ONNX Runtime's QLinearConv."""
    target = graph.map_of(layer.output)
    return (graph.map_of(layer.input).scale * layer.weight_scales) / target.scale


def sum_bounds(layer: Conv, graph: Graph) -> NDArray[np.int64]:
    """Largest magnitude that each output channel's sum can reach, ``sum |w| * max |x - zp| + |b|``, (outputs,)."""
    source = graph.map_of(layer.input)
    reach = max(abs(source.low - source.zero_point), abs(source.high - source.zero_point))
    return np.asarray(layer.magnitudes * reach + np.abs(layer.bias))


def magnitudes(weights: NDArray[np.int16]) -> NDArray[np.int64]:
    """``sum |w|`` of each output's weights, (outputs,)."""
    # output by output: each stays in the cache, whereas a copy of all weights in int64 would not
    return np.array([np.abs(each).sum(dtype=np.int64) for each in weights], np.int64)
