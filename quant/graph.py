"""The quantized graph: the contract that ``golden`` computes and ``hw`` builds.

A feature map is integers with one scale and one zero point, ``real = scale * (q - zero_point)``
(ONNX QuantizeLinear-21).  Weights are signed and symmetric with one scale per output channel, biases are
int32 at ``scale_x * scale_w[c]``.  Nothing here knows about hardware, files or results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import GraphError

INT32 = np.iinfo(np.int32)
LARGEST_WEIGHT = 2**15 - 1
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


Layer = Conv | MaxPool


@dataclass(frozen=True, eq=False)
class Graph:
    """A chain of layers in execution order, with the tensors that they read and write by name."""

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


def output_shape(layer: Layer, source: Shape) -> Shape:
    """Shape (channels, rows, columns) that ``layer`` makes of one of shape ``source``."""
    channels, height, width = source
    top, left, bottom, right = layer.pads
    dilation_y, dilation_x = layer.dilations if isinstance(layer, Conv) else (1, 1)
    rows = window_outputs(height, layer.kernel[0], layer.strides[0], top, bottom, dilation_y)
    columns = window_outputs(width, layer.kernel[1], layer.strides[1], left, right, dilation_x)
    return (layer.weights.shape[0] if isinstance(layer, Conv) else channels), rows, columns


def macs(layer: Layer, graph: Graph) -> int:
    """Multiply-accumulates of ``layer`` for one image (0 for pooling)."""
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
    absolute = np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3))
    return np.asarray(absolute * reach + np.abs(layer.bias))


def check(graph: Graph) -> Graph:
    """Return ``graph`` if every rule of this contract holds.  Raises GraphError naming the first that fails."""
    known = {graph.input}
    source = graph.map_of(graph.input)
    _check_map(source)
    for number, layer in enumerate(graph.layers):
        if layer.input not in known:
            raise GraphError(f"layer '{layer.name}': its input '{layer.input}' is not computed before it")
        expected = graph.layers[number - 1].output if number else graph.input
        if layer.input != expected:
            raise GraphError(
                f"layer '{layer.name}': reads '{layer.input}'; only chains are supported, so it must read '{expected}'"
            )
        known.add(layer.output)
        source = graph.map_of(layer.input)
        target = graph.tensors.get(layer.output)
        if target is None:
            raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is not among the tensors")
        if not isinstance(target, FeatureMap) and layer.output != graph.output:
            raise GraphError(f"layer '{layer.name}': hands out raw sums; only the last layer may")
        _check_window(layer)
        shape = output_shape(layer, source.shape)
        if min(shape) < 1:
            raise GraphError(
                f"layer '{layer.name}': a window of {layer.kernel} does not fit its input of {source.shape[1:]}"
            )
        if target.shape != shape:
            raise GraphError(
                f"layer '{layer.name}': output shape is {target.shape}, its window arithmetic gives {shape}"
            )
        if isinstance(target, FeatureMap):
            _check_map(target)
        if isinstance(layer, MaxPool):
            _check_pool(layer, source, target)
        else:
            _check_conv(layer, graph, source)
    if not graph.layers or graph.layers[-1].output != graph.output:
        raise GraphError(f"the last layer does not write the graph's output '{graph.output}'")
    return graph


def _check_map(tensor: FeatureMap) -> None:
    if not (np.isfinite(tensor.scale) and tensor.scale > 0):
        raise GraphError(f"tensor '{tensor.name}': scale must be finite and positive, not {tensor.scale}")
    if not tensor.low <= tensor.zero_point <= tensor.high:
        raise GraphError(
            f"tensor '{tensor.name}': zero point {tensor.zero_point} is outside {tensor.low}..{tensor.high}"
        )
    if not 1 <= tensor.bits <= 16:
        raise GraphError(f"tensor '{tensor.name}': activations have 2 to 16 bits, not {tensor.bits}")


def _check_window(layer: Layer) -> None:
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
    for pad, size in zip(layer.pads, layer.kernel * 2, strict=True):
        if pad >= size:
            raise GraphError(f"layer '{layer.name}': pads {layer.pads} must be smaller than the kernel {layer.kernel}")


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
    if np.abs(layer.weights.astype(np.int32)).max(initial=0) > LARGEST_WEIGHT:
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
