"""Networks described layer by layer in Python: their sizes, parameters and memory, and the ONNX model to quantize.

The pattern is CS231n's: INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import assert_never

import numpy as np
import onnx
from numpy.typing import NDArray

from ..graph import Pair, Shape
from ..graph.errors import ModelError
from .built_model import onnx_model
from .network_layer import Kind, NetworkLayer
from .size_rule import window_counts

NAMES = {"conv": "conv", "relu": "relu", "max_pool": "pool", "average_pool": "pool", "fully_connected": "fc"}


@dataclass(frozen=True)
class Network:
    """A chain of layers on images of ``shape``, (channels, rows, columns); each method returns a longer Network.

    ``Network((3, 32, 32)).conv(16, 3, padding=1).relu().max_pool(2).fully_connected(10)``

    A layer whose sizes do not fit is refused as it is added, by ModelError.
    """

    shape: Shape
    layers: tuple[NetworkLayer, ...] = ()

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ModelError(f"input shape {self.shape}: it must be (channels, rows, columns), each at least 1")

    @classmethod
    def pattern(
        cls,
        shape: Shape,
        filters: Sequence[Sequence[int]],
        *,
        classes: int,
        hidden: Sequence[int] = (),
        kernel: int = 3,
        pools: Sequence[bool] | None = None,
    ) -> Network:
        """INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC.

        filters : of each convolution, a sequence for each of the M blocks;  pools : whether block m ends in a 2x2 max
        pooling of stride 2, by default all do;  hidden : outputs of the K fully connected layers before the last
        Convolutions have stride 1 and padding (kernel - 1) / 2, so that poolings alone change the size.
        """
        pools = [True] * len(filters) if pools is None else pools
        if len(pools) != len(filters):
            raise ModelError(f"pools has {len(pools)} values; it needs one for each of {len(filters)} blocks")
        network = cls(shape)
        for block, pooled in zip(filters, pools, strict=True):
            for count in block:
                network = network.conv(count, kernel, padding=(kernel - 1) // 2).relu()
            network = network.max_pool(2) if pooled else network
        for count in hidden:
            network = network.fully_connected(count).relu()
        return network.fully_connected(classes)

    @property
    def output_shape(self) -> Shape:
        """(channels, rows, columns) that the last layer makes."""
        return self.layers[-1].shape if self.layers else self.shape

    def conv(
        self, filters: int, kernel: int | Pair, stride: int = 1, padding: int = 0, name: str | None = None
    ) -> Network:
        """Convolution by ``filters`` kernels, zero-padded by ``padding`` on each side."""
        pair = (kernel, kernel) if isinstance(kernel, int) else kernel
        return self._windowed("conv", filters, pair, stride, padding, name)

    def relu(self, name: str | None = None) -> Network:
        """``max(0, x)``"""
        return self._add("relu", self.output_shape, name)

    def max_pool(
        self, kernel: int | Pair, stride: int | None = None, padding: int = 0, name: str | None = None
    ) -> Network:
        """Maximum over windows; ``stride`` is the kernel's side by default.  Padding never wins."""
        return self._pool("max_pool", kernel, stride, padding, name)

    def average_pool(
        self, kernel: int | Pair | None = None, stride: int | None = None, padding: int = 0, name: str | None = None
    ) -> Network:
        """Mean over windows, by default over the whole map.  Padding does not count."""
        return self._pool("average_pool", self.output_shape[1:] if kernel is None else kernel, stride, padding, name)

    def fully_connected(self, outputs: int, name: str | None = None) -> Network:
        """``outputs`` neurons that each read the whole volume."""
        return self._add("fully_connected", (outputs, 1, 1), name)

    def as_convolutions(self) -> Network:
        """The same network with each fully connected layer as a convolution whose kernel covers its input.

        Its weights are the same numbers in the same order, so one seed gives both networks the same ones.  ``on`` a
        larger input, it computes the original at every position that fits.
        """
        network = Network(self.shape)
        for layer in self.layers:
            if layer.kind == "fully_connected":
                network = network.conv(layer.shape[0], network.output_shape[1:], name=layer.name)
            else:
                network = network._again(layer)
        return network

    def on(self, shape: Shape) -> Network:
        """The same layers on images of another ``shape``; refused where they do not fit it."""
        network = Network(shape)
        for layer in self.layers:
            network = network._again(layer)
        return network

    @property
    def receptive_field(self) -> Pair:
        """Input (rows, columns) that one neuron of the last layer sees, if the image is large enough."""
        field, step = (1, 1), 1
        for layer in self.layers:
            if layer.kind == "fully_connected":
                return self.shape[1], self.shape[2]
            field = (field[0] + (layer.kernel[0] - 1) * step, field[1] + (layer.kernel[1] - 1) * step)
            step *= layer.stride
        return field

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    def activation_bytes(self, value_bytes: int = 1) -> int:
        """Memory of the input and of all layers' outputs of one image, forward; 4 bytes are the lecture's float32."""
        return prod(self.shape) * value_bytes + sum(layer.activation_bytes(value_bytes) for layer in self.layers)

    def parameter_bytes(self, weight_bytes: int = 1, bias_bytes: int = 4) -> int:
        """Memory of all weights and biases; by default 8-bit weights and int32 biases, as quantized."""
        return sum(layer.parameter_bytes(weight_bytes, bias_bytes) for layer in self.layers)

    def lines(self) -> list[str]:
        """A table for people: a line for each layer, then what the network needs, 8-bit and as float32."""
        heads = ("layer", "output", "neurons", "parameters", "if not shared", "MACs", "activations, B", "parameters, B")
        pixels = f"{prod(self.shape):,}"
        rows: list[tuple[str, ...]] = [("input", _volume(self.shape), pixels, "0", "0", "0", pixels, "0")]
        for layer in self.layers:
            counts = (layer.neurons, layer.parameters, layer.unshared_parameters, layer.macs)
            memory = (layer.activation_bytes(), layer.parameter_bytes())
            rows.append((layer.name, _volume(layer.shape), *(f"{count:,}" for count in (*counts, *memory))))
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        table = [
            "  ".join(cell.rjust(width) if index > 1 else cell.ljust(width) for index, (cell, width) in enumerate(line))
            for line in (zip(row, widths, strict=True) for row in (heads, *rows))
        ]
        return [
            *table,
            f"{self.parameters:,} parameters, {self.macs:,} MACs an image",
            f"memory as quantized: activations {self.activation_bytes():,} B, parameters {self.parameter_bytes():,} B",
            f"memory as float32: activations {self.activation_bytes(4):,} B, parameters {4 * self.parameters:,} B",
        ]

    def to_onnx(
        self, *, seed: int = 0, parameters: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None
    ) -> onnx.ModelProto:
        """The network as a float ONNX model, ready for ``quantize``.

        parameters : weights, of the layer's ``weights_shape``, and bias, (outputs,), by layer name; the others are
        drawn from ``seed``, weights scaled by sqrt(2 / fan-in) (He et al. 2015), biases by 0.1.
        Raises ModelError if a name is not a layer's, or a shape not its parameters'.
        """
        return onnx_model(self.shape, self.layers, seed, parameters or {})

    def _pool(self, kind: Kind, kernel: int | Pair, stride: int | None, padding: int, name: str | None) -> Network:
        pair = (kernel, kernel) if isinstance(kernel, int) else kernel
        return self._windowed(kind, self.output_shape[0], pair, min(pair) if stride is None else stride, padding, name)

    def _windowed(
        self, kind: Kind, channels: int, kernel: Pair, stride: int, padding: int, name: str | None
    ) -> Network:
        name = name or self._next_name(kind)
        if self._flat:
            raise ModelError(f"{name}: reads a fully connected layer's vector; use as_convolutions() for maps after it")
        for what, value, least in (("kernel", min(kernel), 1), ("stride", stride, 1), ("padding", padding, 0)):
            if value < least:
                raise ModelError(f"{name}: {what} must be at least {least}, not {value}")
        if kind != "conv" and padding >= min(kernel):
            raise ModelError(
                f"{name}: a pooling's padding must be smaller than its kernel {min(kernel)}, not {padding}"
            )
        size = window_counts(name, self.output_shape[1:], kernel, stride, padding)
        return self._add(kind, (channels, *size), name, kernel, stride, padding)

    @property
    def _flat(self) -> bool:
        return any(layer.kind == "fully_connected" for layer in self.layers)

    def _again(self, layer: NetworkLayer) -> Network:
        """``layer`` on this network's output, which may have another size than the one it was made for."""
        match layer.kind:
            case "relu":
                return self.relu(layer.name)
            case "fully_connected":
                return self.fully_connected(layer.shape[0], layer.name)
            case "conv" | "max_pool" | "average_pool" as kind:
                return self._windowed(kind, layer.shape[0], layer.kernel, layer.stride, layer.padding, layer.name)
            case unknown:
                assert_never(unknown)

    def _add(
        self,
        kind: Kind,
        shape: Shape,
        name: str | None,
        kernel: Pair = (1, 1),
        stride: int = 1,
        padding: int = 0,
    ) -> Network:
        name = name or self._next_name(kind)
        if shape[0] < 1:
            raise ModelError(f"{name}: it must have at least 1 output, not {shape[0]}")
        if any(layer.name == name for layer in self.layers):
            raise ModelError(f"{name}: a layer before it has this name already; names must differ")
        layer = NetworkLayer(name, kind, self.output_shape, shape, kernel, stride, padding)
        return replace(self, layers=(*self.layers, layer))

    def _next_name(self, kind: Kind) -> str:
        return f"{NAMES[kind]}{sum(NAMES[layer.kind] == NAMES[kind] for layer in self.layers) + 1}"


def _volume(shape: Shape) -> str:
    """Rows x columns x channels, as the lecture writes it."""
    channels, rows, columns = shape
    return f"{rows}x{columns}x{channels}"
