"""The quantized graph: the contract that ``golden`` computes and ``hw`` builds.

A feature map is integers with one scale and one zero point, ``real = scale * (q - zero_point)``
(ONNX QuantizeLinear-21).  Weights are signed and symmetric with one scale per output channel, biases are
int32 at ``scale_x * scale_w[c]``.  Nothing here knows about hardware, files or results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError

INT32 = np.iinfo(np.int32)
LARGEST_WEIGHT = 2**15 - 1
TABLE_BITS = 8
"""Widest map that an operator made of tables takes, in bits."""
SMALLEST_NORMAL = np.finfo(np.float32).tiny

Pair = tuple[int, int]
Shape = tuple[int, int, int]


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
    """Raw int32 sums of a last layer: ``real[c] = scales[c] * sum[c]``, scales (channels,) float32."""

    name: str
    shape: Shape
    scales: NDArray[np.float32]


Tensor = FeatureMap | Sums


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution; a fully connected layer is one whose kernel covers its whole input map.

    ``sum[o] = bias[o] + sum over (i, ky, kx) of weights[o, i, ky, kx] * (x - zero_point_x)`` with zero
    padding in the real domain, then requantized into ``output`` (or left as sums).

    weights : int16, (outputs, inputs / groups, kernel rows, kernel columns), in -2**15+1 .. 2**15-1
    weight_scales : float32, (outputs,);  bias : int64 within int32, (outputs,)
    strides, dilations : (rows, columns);  pads : (top, left, bottom, right)
    """

    name: str
    operator: str
    input: str
    output: str
    weights: NDArray[np.int16]
    weight_scales: NDArray[np.float32]
    bias: NDArray[np.int64]
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
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
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

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
    elements inside the map; ``pads`` are as MaxPool's, and what ceil_mode adds never counts: ``ceil`` is how much of
    the bottom and right pads it is.  A global average is one whose kernel covers the map.
    """

    name: str
    input: str
    output: str
    kernel: Pair
    strides: Pair = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    include_pad: bool = False
    ceil: Pair = (0, 0)
    operator: str = "AveragePool"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)


@dataclass(frozen=True)
class Add:
    """Elementwise sum of two maps of one shape, each with its own scale: ONNX Runtime's QLinearAdd, at most 8 bits.

    With ``r_a = fl32(s_a / s_y)``, ``r_b = fl32(s_b / s_y)`` and every multiply-add rounded once to float32:

        offset = fl32(zp_y - fl32(r_a * zp_a + fl32(r_b * zp_b)))
        y = clamp(rne(fl32(r_a * a + fl32(r_b * b + offset))))
    """

    name: str
    inputs: tuple[str, str]
    output: str

    operator = "Add"


@dataclass(frozen=True)
class Concat:
    """Maps of one size joined along the channels, each moved to the output's scale: ONNX Runtime's QLinearConcat.

    Where scale and zero point differ, ``y = clamp(rne(fl32(fl32(s_x * (x - zp_x)) / s_y)) + zp_y)``, at most 8 bits.
    """

    name: str
    inputs: tuple[str, ...]
    output: str

    operator = "Concat"


@dataclass(frozen=True, eq=False)
class Table:
    """Any function of one value: ``y = values[x - low]``, low being the input's, at most 8 bits.

    values : int32, (high - low + 1,), within the output's low..high
    operator, attributes : Tanh, Sigmoid, LeakyRelu, ... and what ONNX says of it: what the values were computed from
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
        i = S >> shift                                      (0 .. 4095)
        G = coarse[i >> 4] + fine[(i >> 8 << 4) + (i & 15)]   (0 .. 2**24 - 1)
        y = clamp(rne(fl32((x - zero_point_x) * G * 2**-exponent)) + zero_point_y)

    G is the factor ``s_x / s_y * (bias + alpha / size * s_x**2 * S)**-beta`` as a fraction, in bipartite tables (Das
    Sarma and Matula 1995); ``quant.normalization`` makes them and bounds their error.

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


Layer = Conv | MaxPool | AveragePool | Add | Concat | Table | Normalization


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in execution order, with the tensors that they read and write by name; a tensor may have many readers."""

    input: str
    output: str
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Tensor]

    def map_of(self, name: str) -> FeatureMap:
        """The feature map called ``name``.  Raises GraphError if it is missing or raw sums."""
        tensor = self.tensors.get(name)
        if not isinstance(tensor, FeatureMap):
            raise GraphError(f"tensor '{name}' is not a quantized feature map")
        return tensor

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image, all layers."""
        return sum(macs(layer, self) for layer in self.layers)


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
    if isinstance(layer, Concat):
        return sum(shape[0] for shape in sources), height, width
    if not isinstance(layer, Conv | MaxPool | AveragePool):
        return sources[0]
    top, left, bottom, right = layer.pads
    dilation_y, dilation_x = layer.dilations if isinstance(layer, Conv) else (1, 1)
    rows = window_outputs(height, layer.kernel[0], layer.strides[0], top, bottom, dilation_y)
    columns = window_outputs(width, layer.kernel[1], layer.strides[1], left, right, dilation_x)
    return (layer.weights.shape[0] if isinstance(layer, Conv) else channels), rows, columns


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
    # Output by output: each stays in the cache, whereas a copy of all weights in int64 would not.
    absolute = np.array([np.abs(weights).sum(dtype=np.int64) for weights in layer.weights], np.int64)
    return np.asarray(absolute * reach + np.abs(layer.bias))


def check(graph: Graph) -> Graph:
    """Return ``graph`` if every rule of this contract holds.  Raises GraphError naming the first that fails."""
    known = {graph.input}
    _check_map(graph.map_of(graph.input))
    for layer in graph.layers:
        if missing := [name for name in layer.inputs if name not in known]:
            raise GraphError(f"layer '{layer.name}': its input '{missing[0]}' is not computed before it")
        if layer.output in known:
            raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is computed already")
        known.add(layer.output)
        _check_layer(layer, graph)
    if graph.output not in known or graph.output == graph.input:
        raise GraphError(f"no layer writes the graph's output '{graph.output}'")
    return graph


def _check_layer(layer: Layer, graph: Graph) -> None:
    sources = tuple(graph.map_of(name) for name in layer.inputs)
    target = graph.tensors.get(layer.output)
    if target is None:
        raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is not among the tensors")
    if not isinstance(target, FeatureMap) and layer.output != graph.output:
        raise GraphError(f"layer '{layer.name}': hands out raw sums; only the last layer may")
    if isinstance(layer, Conv | MaxPool | AveragePool):
        _check_window(layer)
    _check_shapes(layer, sources)
    shape = output_shape(layer, tuple(source.shape for source in sources))
    if min(shape) < 1:
        raise GraphError(f"layer '{layer.name}': its window does not fit its input of {sources[0].shape[1:]}")
    if target.shape != shape:
        raise GraphError(f"layer '{layer.name}': output shape is {target.shape}, its arithmetic gives {shape}")
    if isinstance(layer, Conv):
        if isinstance(target, FeatureMap):
            _check_map(target)
        _check_conv(layer, graph, sources[0])
        return
    if not isinstance(target, FeatureMap):
        raise GraphError(f"layer '{layer.name}': only a convolution hands out raw sums")
    _check_map(target)
    if isinstance(layer, MaxPool):
        _check_pool(layer, sources[0], target)
    elif isinstance(layer, AveragePool):
        _check_average(layer, sources[0])
    else:
        _check_pointwise(layer, sources, target)


def _check_shapes(layer: Layer, sources: tuple[FeatureMap, ...]) -> None:
    """All inputs of one layer have one size; those of an Add have the same channels too."""
    first = 1 if isinstance(layer, Concat) else 0
    if len({source.shape[first:] for source in sources}) > 1:
        shapes = ", ".join(str(source.shape) for source in sources)
        raise GraphError(f"layer '{layer.name}': its inputs {shapes} do not fit together")


def _check_map(tensor: FeatureMap) -> None:
    if not (np.isfinite(tensor.scale) and tensor.scale > 0):
        raise GraphError(f"tensor '{tensor.name}': scale must be finite and positive, not {tensor.scale}")
    if not tensor.low <= tensor.zero_point <= tensor.high:
        raise GraphError(
            f"tensor '{tensor.name}': zero point {tensor.zero_point} is outside {tensor.low}..{tensor.high}"
        )
    if not 1 <= tensor.bits <= 16:
        raise GraphError(f"tensor '{tensor.name}': activations have 2 to 16 bits, not {tensor.bits}")


def _check_window(layer: Conv | MaxPool | AveragePool) -> None:
    steps = {"kernel": layer.kernel, "strides": layer.strides}
    if isinstance(layer, Conv):
        steps |= {"dilations": layer.dilations, "groups": (layer.groups, layer.groups)}
    for what, values in steps.items():
        if min(values) < 1:
            raise GraphError(f"layer '{layer.name}': {what} {values} must be at least 1")
    if min(layer.pads) < 0:
        raise GraphError(f"layer '{layer.name}': pads {layer.pads} must not be negative")


def _check_pool(layer: MaxPool, source: FeatureMap, target: Tensor) -> None:
    if not isinstance(target, FeatureMap) or (target.scale, target.zero_point) != (source.scale, source.zero_point):
        raise GraphError(f"layer '{layer.name}': max pooling must keep its input's scale and zero point")
    if target.low > source.low or target.high < source.high:
        raise GraphError(f"layer '{layer.name}': max pooling must not clamp")
    _check_pads(layer)


def _check_pads(layer: MaxPool | AveragePool) -> None:
    for pad, size in zip(layer.pads, layer.kernel * 2, strict=True):
        if pad >= size:
            raise GraphError(f"layer '{layer.name}': pads {layer.pads} must be smaller than the kernel {layer.kernel}")


def _check_average(layer: AveragePool, source: FeatureMap) -> None:
    _check_pads(layer)
    if not (0 <= layer.ceil[0] <= layer.pads[2] and 0 <= layer.ceil[1] <= layer.pads[3]):
        raise GraphError(f"layer '{layer.name}': ceil {layer.ceil} must lie within the pads {layer.pads}")
    reach = max(source.high - source.zero_point, source.zero_point - source.low)
    worst = layer.kernel[0] * layer.kernel[1] * reach
    if worst > INT32.max:
        raise GraphError(f"layer '{layer.name}': a sum can reach {worst}, beyond int32")


def _check_pointwise(
    layer: Add | Concat | Table | Normalization, sources: tuple[FeatureMap, ...], target: FeatureMap
) -> None:
    """What runs through tables of all inputs: at most 8 bits on either side."""
    for tensor in (*sources, target):
        if tensor.bits > TABLE_BITS and not _same_grid(layer, sources, target):
            raise GraphError(
                f"layer '{layer.name}': '{tensor.name}' has {tensor.bits} bits; {layer.operator} works"
                f" up to {TABLE_BITS}"
            )
    if isinstance(layer, Table):
        if layer.values.shape != (sources[0].high - sources[0].low + 1,):
            raise GraphError(
                f"layer '{layer.name}': its table has shape {layer.values.shape}; it needs a value for each input"
            )
        if layer.values.min() < target.low or layer.values.max() > target.high:
            raise GraphError(f"layer '{layer.name}': its table leaves the output's {target.low}..{target.high}")
    if isinstance(layer, Normalization):
        if layer.coarse.shape != (256,) or layer.fine.shape != (256,):
            raise GraphError(f"layer '{layer.name}': its tables must have 256 values each")
        reach = max(sources[0].high - sources[0].zero_point, sources[0].zero_point - sources[0].low)
        if layer.size < 1 or (layer.size * reach**2) >> layer.shift > 4095:
            raise GraphError(f"layer '{layer.name}': a sum of {layer.size} squares exceeds its tables")


def _same_grid(layer: Layer, sources: tuple[FeatureMap, ...], target: FeatureMap) -> bool:
    """A concatenation of maps that have the output's scale already is a copy, at any width."""
    return isinstance(layer, Concat) and all(
        (source.scale, source.zero_point) == (target.scale, target.zero_point) for source in sources
    )


def _check_conv(layer: Conv, graph: Graph, source: FeatureMap) -> None:
    outputs, inputs = layer.weights.shape[:2]
    if inputs * layer.groups != source.shape[0] or outputs % layer.groups:
        raise GraphError(
            f"layer '{layer.name}': weights {layer.weights.shape} with {layer.groups} groups do not fit"
            f" {source.shape[0]} input channels"
        )
    if layer.weight_scales.shape != (outputs,) or layer.bias.shape != (outputs,):
        raise GraphError(f"layer '{layer.name}': needs one weight scale and one bias for each of {outputs} outputs")
    if not (np.isfinite(layer.weight_scales).all() and (layer.weight_scales > 0).all()):
        raise GraphError(f"layer '{layer.name}': weight scales must be finite and positive")
    if layer.weights.min(initial=0) < -LARGEST_WEIGHT or layer.weights.max(initial=0) > LARGEST_WEIGHT:
        raise GraphError(f"layer '{layer.name}': weights must be within +-{LARGEST_WEIGHT}")
    if layer.output != graph.output or isinstance(graph.tensors[layer.output], FeatureMap):
        scales = requantization_scales(layer, graph)
        if not (np.isfinite(scales).all() and (scales >= SMALLEST_NORMAL).all()):
            raise GraphError(
                f"layer '{layer.name}': its scales leave the range of float32; rescale the model's weights"
            )
    worst = int(sum_bounds(layer, graph).max())
    if worst > INT32.max:
        raise GraphError(
            f"layer '{layer.name}': a sum can reach {worst}, beyond int32; use fewer weight or activation bits"
        )
