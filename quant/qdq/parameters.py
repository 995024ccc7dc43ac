"""Quantized weights and biases of a QDQ model: integer constants behind a DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..graph import LARGEST_WEIGHT
from ..onnx.budget import INT32
from ..onnx.file import Array, Attributes, refuse
from .linear import RANGES, scaling


@dataclass(frozen=True, eq=False)
class Parameter:
    """``real = scale * (integers - zero_point)``: of any shape, at most int32; the others have as many dimensions."""

    integers: NDArray[np.integer[Any]]
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]

    def transposed(self, axes: tuple[int, ...]) -> Parameter:
        return Parameter(self.integers.transpose(axes), self.scale.transpose(axes), self.zero_point.transpose(axes))

    @property
    def centred(self) -> NDArray[np.integer[Any]]:
        """``integers - zero_point``, exactly."""
        if not self.zero_point.any():
            return self.integers
        return np.asarray(self.integers.astype(np.int64) - self.zero_point)

    @property
    def is_map(self) -> bool:
        """Whether it is quantized as a map is: to 8 bits, with one scale."""
        return self.scale.size == 1 and self.integers.dtype.itemsize == 1

    @property
    def reals(self) -> NDArray[np.float32]:
        return np.asarray(self.centred.astype(np.float32) * self.scale)


def dequantized(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Parameter:
    """The parameter that ``node``, a DequantizeLinear of a constant, makes."""
    values = constants[node.input[0]]
    found = scaling(node, constants, values.shape, values.dtype.name)
    if values.dtype.name not in ("int8", "uint8", "int16", "uint16", "int32"):
        values = values.astype(np.int8)  # four bits, for which NumPy has no type of its own
    return Parameter(values, found.scale.astype(np.float32), found.zero_point)


def moved(node: onnx.NodeProto, source: Parameter) -> Parameter:
    """``source`` after a Transpose or an Identity."""
    if node.op_type == "Identity":
        return source
    if node.op_type != "Transpose":
        raise refuse(node, f"{node.op_type} of dequantized weights is not supported; only Transpose is")
    attributes = Attributes(node)
    rank = source.integers.ndim
    axes = attributes.integers("perm", tuple(reversed(range(rank))), 0)
    attributes.finish()
    if sorted(axes) != list(range(rank)):
        raise refuse(node, f"perm is {list(axes)}; it must order {rank} dimensions")
    return source.transposed(axes)


def clipped(node: onnx.NodeProto, constants: Mapping[str, Array], values: Array) -> Array:
    """Clip of integer constants, as Brevitas writes for narrow weights."""
    low, high = integer_bounds(node, constants)
    if values.dtype.name not in RANGES:
        raise refuse(node, f"clips a constant of {values.dtype}; {', '.join(RANGES)} work")
    return np.clip(np.clip(values.astype(np.int64), low, high), *RANGES[values.dtype.name]).astype(values.dtype)


def integer_bounds(node: onnx.NodeProto, constants: Mapping[str, Array]) -> tuple[int, int]:
    """The bounds of a Clip between integers, which must be constant."""
    found = [INT32[0], INT32[-1]]
    for index in (1, 2):
        if index < len(node.input) and node.input[index]:
            if node.input[index] not in constants:
                raise refuse(node, f"its bound '{node.input[index]}' is not constant; it must be")
            bound = constants[node.input[index]]
            if bound.size != 1 or bound.dtype.kind not in "iu" or bound.item() not in INT32:
                raise refuse(node, f"its bound '{node.input[index]}' must be one integer of 32 bits")
            found[index - 1] = int(bound.item())
    return found[0], found[1]


def weights_of(
    node: onnx.NodeProto, parameter: Parameter, outputs_axis: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Weights with outputs first, centred, int16, and one scale for each output, float32."""
    rank = parameter.integers.ndim
    parameter = parameter.transposed((outputs_axis, *(axis for axis in range(rank) if axis != outputs_axis)))
    if any(size != 1 for size in parameter.scale.shape[1:]):
        raise refuse(
            node,
            f"its weights' scales lie along the wrong axis; one for each of {len(parameter.integers)} outputs works",
        )
    weights = parameter.centred
    reach = max(-int(weights.min(initial=0)), int(weights.max(initial=0)))
    if reach > LARGEST_WEIGHT:
        raise refuse(node, f"its weights reach {reach} from their zero point; at most {LARGEST_WEIGHT} works")
    scales = np.broadcast_to(parameter.scale.reshape(-1), (len(weights),))
    return weights.astype(np.int16, order="C"), scales.astype(np.float32)


def bias_of(node: onnx.NodeProto, found: Parameter | Array, scales: NDArray[np.float32]) -> NDArray[np.float64]:
    """The bias in steps of ``scales`` (outputs,), those of the sums: integers, if its own scales agree with them."""
    outputs = len(scales)
    values = found.integers if isinstance(found, Parameter) else found
    if values.size not in (1, outputs) or (values.ndim and values.shape[-1] != values.size):
        raise refuse(node, f"its bias has shape {values.shape}; it must have one value for each of {outputs} outputs")
    if isinstance(found, Parameter):
        given = np.broadcast_to(found.scale.reshape(-1), (outputs,)).astype(np.float64)
        values = np.broadcast_to(found.centred.reshape(-1), (outputs,)).astype(np.float64)
        agree = np.abs(given - scales) <= 1e-5 * scales.astype(np.float64)
        with np.errstate(all="ignore"):
            return np.asarray(np.where(agree, values, values * given / scales))
    if not np.isfinite(values).all():
        raise refuse(node, "its bias contains NaN or infinity; all must be finite")
    with np.errstate(all="ignore"):
        return np.asarray(np.broadcast_to(values.reshape(-1), (outputs,)).astype(np.float64) / scales)
