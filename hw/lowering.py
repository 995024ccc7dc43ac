"""From the quantized graph to what the engine runs: convolutions, each with an optional pooling behind it."""

from dataclasses import dataclass, replace
from math import frexp

import numpy as np
from numpy.typing import NDArray

from ..quant.errors import ConfigurationError
from ..quant.graph import Conv, FeatureMap, Graph, MaxPool, Sums, requantization_scales
from .program import SHIFT_BASE

Pair = tuple[int, int]


@dataclass(frozen=True)
class Format:
    """How the engine stores a feature map: ``stored = q - offset``, signed; all other numbers are stored ones."""

    offset: int
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class Pool:
    """Maximum over windows of the convolution's outputs."""

    kernel: Pair
    strides: Pair
    pads: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class EngineLayer:
    """One convolution with its pooling, in the engine's terms.

    name : the graph's layer's, and its pooling's behind a plus sign
    source, convolved, target : (channels, rows, columns) of input, of the convolution's outputs, of the result
    weights : (outputs, inputs / groups, kernel rows, kernel columns);  bias : what is added to ``sum w * stored``
    mantissas, shifts : scales as program.CHANNEL has them; None for raw sums
    padding : what stored pixels outside the map are;  format : of the result, None for raw sums
    """

    name: str
    operator: str
    input: str
    output: str
    source: tuple[int, int, int]
    convolved: tuple[int, int, int]
    target: tuple[int, int, int]
    weights: NDArray[np.int16]
    bias: NDArray[np.int64]
    strides: Pair
    pads: tuple[int, int, int, int]
    dilations: Pair
    groups: int
    pool: Pool | None
    mantissas: NDArray[np.int64] | None
    shifts: NDArray[np.int64] | None
    padding: int
    format: Format | None
    macs: int

    @property
    def raw(self) -> bool:
        return self.format is None

    @property
    def kernel(self) -> Pair:
        return self.weights.shape[2], self.weights.shape[3]


def storage(tensor: FeatureMap, bits: int) -> Format:
    """How ``tensor`` is stored in ``bits``-bit signed elements.  Raises ConfigurationError if it does not fit."""
    reach = 1 << (bits - 1)
    if tensor.bits > bits:
        raise ConfigurationError(
            f"tensor '{tensor.name}' needs {tensor.bits} bits; generate with at least {tensor.bits} activation bits"
        )
    offset = 0 if -reach <= tensor.low and tensor.high < reach else tensor.low + reach
    return Format(offset, tensor.zero_point - offset, tensor.low - offset, tensor.high - offset)


def fixed_scales(scales: NDArray[np.float32], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas (24 bits, leading bit set) and shifts of float32 ``scales``, exactly.

    Raises ConfigurationError for a scale of 16 or more.  A scale so small that any int32 stays 0 becomes 2**-57.
    """
    mantissas, shifts = [], []
    for scale in scales:
        fraction, exponent = frexp(float(scale))
        mantissa, shift = int(fraction * 2**24), 24 - exponent - SHIFT_BASE
        if shift < 0:
            raise ConfigurationError(
                f"layer '{name}': its requantization scale {float(scale):g} is not below 16; "
                "calibrate with data that uses the output's range"
            )
        if shift > 60:
            mantissa, shift = 1 << 23, 60
        mantissas.append(mantissa)
        shifts.append(shift)
    return np.array(mantissas, np.int64), np.array(shifts, np.int64)


def lower(graph: Graph, bits: int) -> tuple[EngineLayer, ...]:
    """The engine's layers for ``graph`` with ``bits``-bit activations, in order."""
    layers: list[EngineLayer] = []
    for layer in graph.layers:
        if isinstance(layer, Conv):
            layers.append(_convolution(layer, graph, bits))
        elif layers and layers[-1].pool is None and layers[-1].output == layer.input and not layers[-1].raw:
            layers[-1] = _pooled(layers[-1], layer, graph)
        else:
            layers.append(_pooled(_identity(layer, graph, bits), layer, graph))
    return tuple(_flattened(layer) for layer in layers)


def _convolution(layer: Conv, graph: Graph, bits: int) -> EngineLayer:
    source, target = graph.map_of(layer.input), graph.tensors[layer.output]
    stored = storage(source, bits)
    weights = layer.weights.astype(np.int64)
    if isinstance(target, Sums):
        mantissas, shifts, form = None, None, None
    else:
        mantissas, shifts = fixed_scales(requantization_scales(layer, graph), layer.name)
        form = storage(target, bits)
    return EngineLayer(
        name=layer.name,
        operator=layer.operator,
        input=layer.input,
        output=layer.output,
        source=source.shape,
        convolved=target.shape,
        target=target.shape,
        weights=layer.weights,
        bias=layer.bias - stored.zero_point * weights.sum(axis=(1, 2, 3)),
        strides=layer.strides,
        pads=layer.pads,
        dilations=layer.dilations,
        groups=layer.groups,
        pool=None,
        mantissas=mantissas,
        shifts=shifts,
        padding=stored.zero_point,
        format=form,
        macs=int(layer.weights.size) * target.shape[1] * target.shape[2],
    )


def _identity(layer: MaxPool, graph: Graph, bits: int) -> EngineLayer:
    """A 1x1 depthwise convolution with weight 1 and scale 1: a pooling that stands alone pools its outputs."""
    channels = graph.map_of(layer.input).shape[0]
    ones = np.ones(channels, np.float32)
    weights, bias = np.ones((channels, 1, 1, 1), np.int16), np.zeros(channels, np.int64)
    copy = Conv(layer.name, layer.operator, layer.input, layer.input, weights, ones, bias, groups=channels)
    return replace(_convolution(copy, graph, bits), macs=0)


def _pooled(before: EngineLayer, layer: MaxPool, graph: Graph) -> EngineLayer:
    return replace(
        before,
        name=layer.name if before.operator == layer.operator else f"{before.name}+{layer.name}",
        output=layer.output,
        target=graph.tensors[layer.output].shape,
        pool=Pool(layer.kernel, layer.strides, layer.pads),
    )


def _flattened(layer: EngineLayer) -> EngineLayer:
    """A kernel that covers its whole map reads it as one run: a fully connected layer on a 1x1 map."""
    channels, height, width = layer.source
    if layer.kernel != (height, width) or any(layer.pads) or layer.groups != 1 or (height, width) == (1, 1):
        return layer
    if layer.pool is not None:
        return layer
    outputs = layer.weights.shape[0]
    weights = layer.weights.transpose(0, 2, 3, 1).reshape(outputs, -1, 1, 1)
    return replace(layer, source=(channels * height * width, 1, 1), weights=weights, strides=(1, 1), dilations=(1, 1))


def needed_sum_bits(layer: EngineLayer, bits: int) -> int:
    """Accumulator width that every partial sum of ``layer`` fits, two's complement, in bits."""
    worst = int(np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max()) << (bits - 1)
    return worst.bit_length() + 1
