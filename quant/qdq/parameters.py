"""Quantized weights and biases of a QDQ model: integer constants behind a DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..onnx.budget import INT32
from ..onnx.file import Array, Attributes, refuse
from .linear import RANGES, scaling

LARGEST_WEIGHT = 2**15 - 1


@dataclass(frozen=True, eq=False)
class Parameter:
    """``real = scale * integers``: of any shape, at most int32, and float32 scales with as many dimensions."""

    integers: NDArray[np.integer[Any]]
    scale: NDArray[np.float32]

    def transposed(self, axes: tuple[int, ...]) -> Parameter:
        return Parameter(self.integers.transpose(axes), self.scale.transpose(axes))


def dequantized(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Parameter:
    """The parameter that ``node``, a DequantizeLinear of a constant, makes.  Raises ModelError if it is asymmetric."""
    values = constants[node.input[0]]
    found = scaling(node, constants, values.shape, values.dtype.name)
    if found.zero_point.any():
        raise refuse(
            node, f"zero point {found.zero_point[found.zero_point != 0][0]} makes the weights asymmetric; it must be 0"
        )
    if values.dtype.name not in ("int8", "uint8", "int16", "uint16", "int32"):
        values = values.astype(np.int8)  # four bits, for which NumPy has no type of its own
    return Parameter(values, found.scale.astype(np.float32))


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
    """Weights with outputs first, int16, and one scale for each output, float32."""
    moved_axes = (outputs_axis, *(axis for axis in range(parameter.integers.ndim) if axis != outputs_axis))
    parameter = parameter.transposed(moved_axes)
    if any(size != 1 for size in parameter.scale.shape[1:]):
        raise refuse(
            node,
            f"its weights' scales lie along the wrong axis; one for each of {len(parameter.integers)} outputs works",
        )
    reach = max(-int(parameter.integers.min(initial=0)), int(parameter.integers.max(initial=0)))
    if reach > LARGEST_WEIGHT:
        raise refuse(node, f"its weights reach {reach}; at most {LARGEST_WEIGHT} works")
    scales = np.broadcast_to(parameter.scale.reshape(-1), (len(parameter.integers),))
    return parameter.integers.astype(np.int16, order="C"), scales.astype(np.float32)


def bias_of(node: onnx.NodeProto, found: Parameter | Array, scales: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bias at ``scales`` (outputs,), those of the sums; a float bias is rounded to them, as ONNX Runtime does."""
    outputs = len(scales)
    values = found.integers.astype(np.int64) if isinstance(found, Parameter) else found
    if values.size not in (1, outputs) or (values.ndim and values.shape[-1] != values.size):
        raise refuse(node, f"its bias has shape {values.shape}; it must have one value for each of {outputs} outputs")
    if isinstance(found, Parameter):
        given = np.broadcast_to(found.scale.reshape(-1), (outputs,))
        integers = np.broadcast_to(values.reshape(-1), (outputs,))
        off = np.abs(given.astype(np.float64) - scales) - 1e-5 * scales.astype(np.float64)
        if (off > 0).any():
            worst = int(np.argmax(off / given))
            raise refuse(
                node,
                f"its bias has scale {given[worst]:g} in channel {worst};"
                f" it must be input scale times weight scale, {scales[worst]:g}",
            )
    else:
        if not np.isfinite(values).all():
            raise refuse(node, "its bias contains NaN or infinity; all must be finite")
        reals = np.broadcast_to(values.reshape(-1), (outputs,)).astype(np.float64)
        with np.errstate(all="ignore"):
            integers = np.rint(reals / scales)
    if not np.abs(integers).max(initial=0) <= INT32[-1]:
        raise refuse(node, "its bias does not fit int32 at the scale of its sums; use larger weight scales")
    return integers.astype(np.int64)
