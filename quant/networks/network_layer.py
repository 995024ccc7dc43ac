"""One layer of a described network: what it reads and makes, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, assert_never

from ..graph import Pair, Shape

Kind = Literal["conv", "relu", "max_pool", "average_pool", "fully_connected"]


@dataclass(frozen=True)
class NetworkLayer:
    """One layer of a Network: what it reads and makes, and what that costs.

    source, shape : (channels, rows, columns) of its input and output;  kernel : (rows, columns)
    """

    name: str
    kind: Kind
    source: Shape
    shape: Shape
    kernel: Pair = (1, 1)
    stride: int = 1
    padding: int = 0

    @property
    def neurons(self) -> int:
        """Activations in the output volume."""
        return prod(self.shape)

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """(filters, channels, kernel rows, kernel columns); (outputs, inputs) if fully connected; else ()."""
        match self.kind:
            case "conv":
                return self.shape[0], self.source[0], *self.kernel
            case "fully_connected":
                return self.shape[0], prod(self.source)
            case "relu" | "max_pool" | "average_pool":
                return ()
            case unknown:
                assert_never(unknown)

    @property
    def weights(self) -> int:
        return prod(self.weights_shape) if self.weights_shape else 0

    @property
    def biases(self) -> int:
        return self.shape[0] if self.weights_shape else 0

    @property
    def parameters(self) -> int:
        """Weights and biases, shared by all positions of the output."""
        return self.weights + self.biases

    @property
    def unshared_parameters(self) -> int:
        """What ``parameters`` would be if every neuron had weights and a bias of its own."""
        return self.macs + self.neurons if self.weights_shape else 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.neurons * prod(self.weights_shape[1:]) if self.weights_shape else 0

    def activation_bytes(self, value_bytes: int = 1) -> int:
        """Memory that the output takes at ``value_bytes`` a value; none for a ReLU, which works in place."""
        return 0 if self.kind == "relu" else self.neurons * value_bytes

    def parameter_bytes(self, weight_bytes: int = 1, bias_bytes: int = 4) -> int:
        """Memory of weights and biases; by default 8-bit weights and int32 biases, as quantized."""
        return self.weights * weight_bytes + self.biases * bias_bytes
