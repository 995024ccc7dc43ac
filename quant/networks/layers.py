"""The float network: what an ONNX model says before it is quantized, as a directed acyclic graph of layers.

Each layer reads tensors by name and makes one; layers stand in an order in which they can be computed.  Passes turn
whatever the exporter wrote into the kinds of layer that quantization knows.  Shapes are those of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..graph import ConvOperator, Pads, Pair, Shape, Steps
from ..graph.errors import ModelError
from ..graph.host import HostArray, told
from .expressions import Step

Floats = NDArray[np.float32]
INFINITY = float("inf")


@dataclass(frozen=True, eq=False)
class _Layer:
    """What every layer has: its node's name and operator, the tensors that it reads, and the one that it makes."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, eq=False)
class Clamped(_Layer):
    """What a layer has that may end in an activation function: ``y = clip(..., low, high)``."""

    low: float = field(default=-INFINITY, kw_only=True)
    high: float = field(default=INFINITY, kw_only=True)


@dataclass(frozen=True, eq=False)
class Convolution(Clamped):
    """``y[o] = bias[o] + sum of weights[o] * x``; ``operator`` is Conv, or Gemm if it is fully connected.

    weights : float32, (outputs, inputs / groups, kernel rows, kernel columns);  bias : float32, (outputs,)
    strides, dilations : (rows, columns);  pads : (top, left, bottom, right)
    """

    operator: ConvOperator
    weights: Floats
    bias: Floats
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class TransposedConvolution(Clamped):
    """Each input adds its weights to a window of the result: input (row, column) times weight (j, i) to the result

    ``(row * stride + j * dilation - pad, ...)``, if there is one.  Weights and bias as Convolution's.

    size : (rows, columns) of the result;  pads : (top, left)
    """

    weights: Floats
    bias: Floats
    size: Pair
    strides: Pair
    pads: Pair
    dilations: Pair = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class VolumeConvolution(Clamped):
    """Convolution of a volume, transposed or not.  A volume is a map whose channels are those of slice after slice.

    plane : what makes one slice, from all slices under the kernel; its inputs are those of one after another, of each
        group for itself: weights of float32, (outputs, slices * inputs / groups, rows, columns)
    slices : of the kernel;  taps : for each slice of the result, which of the input meet which of the kernel's
    """

    plane: Convolution | TransposedConvolution
    slices: int
    taps: tuple[tuple[Pair, ...], ...]


@dataclass(frozen=True, eq=False)
class Pooling(_Layer):
    """Maximum over windows; ``pads`` (top, left, bottom, right) include what ceil_mode adds."""

    kernel: Pair
    strides: Pair
    pads: Pads


@dataclass(frozen=True, eq=False)
class Average(Clamped):
    """Mean over windows; ``pads`` include what ceil_mode adds below and right, ``ceil``, which never counts.

    The divisor is the window's size if ``include_pad``, else the number of its elements inside the map.
    """

    kernel: Pair
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    include_pad: bool = False
    ceil: Pair = (0, 0)


@dataclass(frozen=True, eq=False)
class Addition(Clamped):
    """Elementwise sum of two tensors of one shape, or their difference if ``operator`` is Sub."""


@dataclass(frozen=True, eq=False)
class Product(Clamped):
    """Elementwise product of two tensors of one shape, or of which one has a single row and column."""


@dataclass(frozen=True, eq=False)
class Extreme(Clamped):
    """Elementwise maximum of two tensors of one shape, or minimum: ``operator`` is Max or Min."""


@dataclass(frozen=True, eq=False)
class Concatenation(_Layer):
    """Tensors joined along ``axis``: 1 the channels, 2 the rows, 3 the columns."""

    axis: int = 1


@dataclass(frozen=True, eq=False)
class Slicing(_Layer):
    """Some channels, in any order, rows and columns, (first, step, count) both: see graph.Selection."""

    channels: tuple[int, ...]
    rows: Steps
    columns: Steps


@dataclass(frozen=True, eq=False)
class PixelShuffle(_Layer):
    """Channels become rows and columns, ``block`` (rows, columns) of them: see graph.DepthToSpace."""

    block: Pair


@dataclass(frozen=True, eq=False)
class Function(Clamped):
    """A function of each value alone: ``operator`` of ``functions`` with its attributes, or ``steps`` in its place.

    Only steps may have several inputs, and only until ``fuse_chains`` has merged what makes those of one value.
    """

    attributes: Mapping[str, float | str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, eq=False)
class LocalResponse(Clamped):
    """Local response normalization over channels (ONNX LRN-13)."""

    size: int
    alpha: float
    beta: float
    bias: float


@dataclass(frozen=True, eq=False)
class Affine(_Layer):
    """``y = scale * x + shift``, float64: batch norm, a constant added or multiplied.

    scale, shift : (channels,), one value for each channel, or (channels, rows, columns), one for each of an image
    """

    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slopes(_Layer):
    """``y[c] = x[c] if x[c] > 0 else slopes[c] * x[c]``, float64, (channels,): PRelu."""

    slopes: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Clamp(_Layer):
    """``y = min(max(x, low), high)``: Relu and Clip."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Padding(_Layer):
    """``value`` around the map, 0 or -infinity; ``pads`` are (top, left, bottom, right)."""

    pads: Pads
    value: float = 0.0


Moving = Pooling | Slicing | PixelShuffle
"""What hands on some of its input's values, or all, as they are."""

Simple = Convolution | Moving | Average | Addition | Product | Extreme | Concatenation | Function | LocalResponse
"""What passes leave, and quantization knows."""

Exported = TransposedConvolution | VolumeConvolution | Affine | Slopes | Clamp | Padding
"""What exporters write besides, and passes turn into those, or drop."""

FloatLayer = Simple | Exported


def simple(layer: FloatLayer) -> Simple:
    """``layer``, of a simplified network.  Raises TypeError, naming it and its kind, if passes leave none such."""
    if isinstance(layer, Simple):
        return layer
    raise TypeError(f"'{layer.name}' is of a kind that must be simplified away before, {type(layer).__name__}")


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """Float layers in an order of execution.

    inputs : shape of each by name, (channels, rows, columns);  outputs : in the model's order
    arrays : how those of inputs and outputs lie in the model's file that are not just their maps
    """

    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    layers: tuple[FloatLayer, ...]
    arrays: Mapping[str, HostArray] = field(default_factory=dict)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What is left to the host, in words."""
        return told(self.arrays)

    def with_layers(self, layers: Iterable[FloatLayer]) -> FloatGraph:
        return replace(self, layers=tuple(layers))

    def producers(self) -> dict[str, FloatLayer]:
        """The layer that makes each tensor, by the tensor's name; none makes the input."""
        return {layer.output: layer for layer in self.layers}

    def readers(self) -> dict[str, list[FloatLayer]]:
        """The layers that read each tensor, by the tensor's name; a layer that reads it twice is there twice."""
        found: dict[str, list[FloatLayer]] = {name: [] for name in self.inputs}
        found.update((layer.output, []) for layer in self.layers)
        for layer in self.layers:
            for name in layer.inputs:
                found[name].append(layer)
        return found

    def private(self) -> set[str]:
        """Tensors that exactly one layer reads, and that are no output: what may be fused away."""
        return {name for name, layers in self.readers().items() if len(layers) == 1 and name not in self.outputs}


def renamed(graph: FloatGraph, names: Mapping[str, str]) -> FloatGraph:
    """``graph`` with tensors renamed wherever they are read or made."""
    layers = [
        replace(
            layer,
            inputs=tuple(names.get(name, name) for name in layer.inputs),
            output=names.get(layer.output, layer.output),
        )
        for layer in graph.layers
    ]
    outputs = tuple(names.get(name, name) for name in graph.outputs)
    arrays = {names.get(name, name): array for name, array in graph.arrays.items()}
    return replace(graph, layers=tuple(layers), outputs=outputs, arrays=arrays)


def needed(layers: Sequence[FloatLayer], outputs: Iterable[str]) -> list[FloatLayer]:
    """Those of ``layers``, in execution order, that ``outputs`` depend on."""
    wanted, found = set(outputs), []
    for layer in reversed(layers):
        if layer.output in wanted:
            wanted |= set(layer.inputs)
            found.append(layer)
    return found[::-1]


def as_float32(layer: FloatLayer, values: NDArray[np.float64]) -> Floats:
    """``values``, weights or biases that ``layer`` leads to.  Raises ModelError, naming it, beyond float32."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise refusal(layer, "leads to weights or biases beyond float32; rescale the model")
    return found


def refusal(layer: FloatLayer, reason: str) -> ModelError:
    """The error that names ``layer`` and its operator, and says why it cannot be used."""
    return ModelError(f"node '{layer.name}' ({layer.operator}): {reason}")
