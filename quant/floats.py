"""The float network: what an ONNX model says before it is quantized, as a chain of layers.

Passes turn a chain of whatever the exporter wrote into one of Convolution and Pooling only; each layer reads what
the layer before it wrote.  Shapes are those of one image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .graph import Pair, Shape, window_outputs

Floats = NDArray[np.float32]
Pads = tuple[int, int, int, int]
INFINITY = float("inf")


@dataclass(frozen=True, eq=False)
class Convolution:
    """``y[o] = clip(bias[o] + sum of weights[o] * x, low, high)``; ``operator`` is Conv, or Gemm if fully connected.

    weights : float32, (outputs, inputs / groups, kernel rows, kernel columns);  bias : float32, (outputs,)
    strides, dilations : (rows, columns);  pads : (top, left, bottom, right)
    """

    name: str
    output: str
    weights: Floats
    bias: Floats
    operator: str = "Conv"
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    low: float = -INFINITY
    high: float = INFINITY


@dataclass(frozen=True)
class Pooling:
    """Maximum over windows; ``pads`` (top, left, bottom, right) include what ceil_mode adds."""

    name: str
    output: str
    kernel: Pair
    strides: Pair
    pads: Pads

    operator = "MaxPool"


@dataclass(frozen=True, eq=False)
class Dense:
    """``y = x @ weights.T + bias`` on a flat input.  weights : float32, (outputs, inputs);  bias : (outputs,)"""

    name: str
    output: str
    operator: str
    weights: Floats
    bias: Floats


@dataclass(frozen=True, eq=False)
class Affine:
    """``y[c] = scale[c] * x[c] + shift[c]``, float64, (channels,): batch normalization, or a bias added (scale 1)."""

    name: str
    output: str
    operator: str
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class Clamp:
    """``y = min(max(x, low), high)``: Relu and Clip."""

    name: str
    output: str
    operator: str
    low: float
    high: float


@dataclass(frozen=True)
class Flatten:
    """(channels, rows, columns) to (channels * rows * columns, 1, 1), in that order."""

    name: str
    output: str
    operator: str


@dataclass(frozen=True)
class Pass:
    """Leaves values as they are in inference: Dropout, Identity."""

    name: str
    output: str
    operator: str


@dataclass(frozen=True)
class Softmax:
    """Softmax or LogSoftmax over the channels, at the end only."""

    name: str
    output: str
    operator: str


FloatLayer = Convolution | Pooling | Dense | Affine | Clamp | Flatten | Pass | Softmax


@dataclass(frozen=True, eq=False)
class FloatGraph:
    """A chain of float layers.  ``dropped`` says what was left to the host, such as the last softmax."""

    input: str
    shape: Shape
    layers: tuple[FloatLayer, ...]
    dropped: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        return self.layers[-1].output if self.layers else self.input

    def with_layers(self, layers: list[FloatLayer] | tuple[FloatLayer, ...]) -> FloatGraph:
        return replace(self, layers=tuple(layers))


def shapes(graph: FloatGraph) -> list[Shape]:
    """Shape of the input and of every layer's output, (channels, rows, columns).

    Raises ModelError, naming the layer, where weights or windows do not fit: this is the legality check that runs
    after import and after each pass.
    """
    found = [graph.shape]
    for layer in graph.layers:
        found.append(next_shape(layer, found[-1]))
    return found


def next_shape(layer: FloatLayer, source: Shape) -> Shape:
    """Shape that ``layer`` makes of ``source``, (channels, rows, columns) both.  Raises ModelError if it cannot."""
    channels, rows, columns = source
    if isinstance(layer, Convolution):
        outputs, inputs = layer.weights.shape[:2]
        if inputs * layer.groups != channels or outputs % layer.groups:
            raise refusal(
                layer,
                f"weights {layer.weights.shape} with group {layer.groups} do not fit its input of {channels} channels",
            )
        return outputs, *_windows(layer, source, layer.weights.shape[2:], layer.dilations)
    if isinstance(layer, Pooling):
        return channels, *_windows(layer, source, layer.kernel, (1, 1))
    if isinstance(layer, Dense):
        if (rows, columns) != (1, 1) or layer.weights.shape[1] != channels:
            raise refusal(
                layer, f"weights {layer.weights.shape} do not fit its input of shape {source}; flatten it before"
            )
        return layer.weights.shape[0], 1, 1
    if isinstance(layer, Affine) and layer.scale.shape != (channels,):
        raise refusal(layer, f"{layer.scale.size} parameters do not fit {channels} channels; it needs one for each")
    if isinstance(layer, Flatten):
        return channels * rows * columns, 1, 1
    return source


def _windows(layer: Convolution | Pooling, source: Shape, kernel: tuple[int, ...], dilations: Pair) -> Pair:
    top, left, bottom, right = layer.pads
    rows = window_outputs(source[1], kernel[0], layer.strides[0], top, bottom, dilations[0])
    columns = window_outputs(source[2], kernel[1], layer.strides[1], left, right, dilations[1])
    if rows < 1 or columns < 1:
        raise refusal(
            layer, f"kernel {tuple(kernel)} is larger than its padded input of shape {source}; use a larger image"
        )
    return rows, columns


def refusal(layer: FloatLayer, reason: str) -> ModelError:
    """The error that names ``layer`` and its operator, and says why it cannot be used."""
    return ModelError(f"node '{layer.name}' ({layer.operator}): {reason}")
