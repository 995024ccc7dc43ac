"""What a builder of layers is given: one ONNX node, the constants known before it, and the tensor that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from .floats import FloatLayer, Floats
from .onnx_file import Array, node_name, refuse

Dimensions = tuple[int, ...]
Built = tuple[FloatLayer, Dimensions]


@dataclass(frozen=True)
class Context:
    """A node, the constants known before it, and the tensor that it reads: its name and (N, C, H, W) or (N, K)."""

    node: onnx.NodeProto
    constants: Mapping[str, Array]
    current: str
    dimensions: Dimensions
    opset: int

    @property
    def name(self) -> str:
        return node_name(self.node)

    @property
    def output(self) -> str:
        return str(self.node.output[0])

    def constant(self, index: int, role: str) -> Array | None:
        """Input ``index`` as an array, None if it is left out.  Raises ModelError if it is computed from the image."""
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        name = self.node.input[index]
        if name not in self.constants:
            raise refuse(self.node, f"its {role} '{name}' is not constant; only constant {role} works")
        return self.constants[name]

    def floats(self, index: int, role: str) -> Floats | None:
        """Input ``index`` as finite float32, None if it is left out."""
        value = self.constant(index, role)
        if value is None:
            return None
        if value.dtype.kind != "f":
            raise refuse(self.node, f"its {role} '{self.node.input[index]}' is {value.dtype}; it must be float32")
        if not np.isfinite(value).all():
            raise refuse(
                self.node, f"its {role} '{self.node.input[index]}' contains NaN or infinity; all must be finite"
            )
        return value.astype(np.float32)

    def image(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of the input, which must be an image."""
        if len(self.dimensions) != 4:
            raise refuse(self.node, f"its input has {len(self.dimensions)} dimensions; it must have 4 (NxCxHxW)")
        return self.dimensions[1], self.dimensions[2], self.dimensions[3]

    def data_is_first(self) -> None:
        if self.node.input[0] != self.current:
            raise refuse(self.node, f"its first input must be the image '{self.current}', not '{self.node.input[0]}'")
