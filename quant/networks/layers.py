"""The float network: what an ONNX model says before it is quantized, as a directed acyclic graph of layers.

Each layer reads tensors by name and makes one; layers stand in an order in which they can be computed.  Passes turn
whatever the exporter wrote into the kinds of layer that quantization knows.  Shapes are those of one image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..graph import ConvOperator, Pads, Pair, Shape
from ..graph.errors import ModelError
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
    """Tensors joined along the channels."""


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
class Dense(_Layer):
    """``y = x @ weights.T + bias`` on a flat input.  weights : float32, (outputs, inputs);  bias : (outputs,)"""

    weights: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class Affine(_Layer):
    """``y[c] = scale[c] * x[c] + shift[c]``, float64, (channels,): batch norm, a constant added or multiplied."""

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
    """Zeros around the map; ``pads`` are (top, left, bottom, right)."""

    pads: Pads


@dataclass(frozen=True, eq=False)
class Flatten(_Layer):
    """(channels, rows, columns) to (channels * rows * columns, 1, 1), in that order."""


@dataclass(frozen=True, eq=False)
class Pass(_Layer):
    """Leaves values and their order as they are in inference: Dropout, Identity, a Reshape that only renames axes."""


@dataclass(frozen=True, eq=False)
class Softmax(_Layer):
    """Softmax or LogSoftmax over the channels, at the end only."""


Simple = Convolution | Pooling | Average | Addition | Product | Extreme | Concatenation | Function | LocalResponse
"""What passes leave, and quantization knows."""

Exported = Dense | Affine | Slopes | Clamp | Padding | Flatten | Pass | Softmax
"""What exporters write besides, and passes turn into those, or drop."""

FloatLayer = Simple | Exported


def simple(layer: FloatLayer) -> Simple:
    """``layer``, of a simplified network.  Raises TypeError, naming it and its kind, if passes leave none such."""
    if isinstance(layer, Simple):
        return layer
    raise TypeError(f"'{layer.name}' is of a kind that must be simplified away before, {type(layer).__name__}")


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """Float layers in an order of execution.  ``dropped`` says what was left to the host, such as the last softmax."""

    input: str
    shape: Shape
    output: str
    layers: tuple[FloatLayer, ...]
    dropped: tuple[str, ...] = ()

    def with_layers(self, layers: Iterable[FloatLayer]) -> FloatGraph:
        return replace(self, layers=tuple(layers))

    def producers(self) -> dict[str, FloatLayer]:
        """The layer that makes each tensor, by the tensor's name; none makes the input."""
        return {layer.output: layer for layer in self.layers}

    def readers(self) -> dict[str, list[FloatLayer]]:
        """The layers that read each tensor, by the tensor's name; a layer that reads it twice is there twice."""
        found: dict[str, list[FloatLayer]] = {self.input: []}
        found.update((layer.output, []) for layer in self.layers)
        for layer in self.layers:
            for name in layer.inputs:
                found[name].append(layer)
        return found

    def private(self) -> set[str]:
        """Tensors that exactly one layer reads, and that are not the output: what may be fused away."""
        return {name for name, layers in self.readers().items() if len(layers) == 1 and name != self.output}


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
    return replace(graph, layers=tuple(layers), output=names.get(graph.output, graph.output))


def refusal(layer: FloatLayer, reason: str) -> ModelError:
    """The error that names ``layer`` and its operator, and says why it cannot be used."""
    return ModelError(f"node '{layer.name}' ({layer.operator}): {reason}")
