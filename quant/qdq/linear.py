"""QuantizeLinear and DequantizeLinear nodes: what grid they mean, and their arithmetic on constants (ONNX opset 21)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from ..onnx.file import Array, Attributes, describe, refuse
from ..onnx.foreign import foreign

# Storage types and the integers that they hold.
RANGES: Mapping[str, tuple[int, int]] = {
    "int4": (-8, 7),
    "uint4": (0, 15),
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-(2**15), 2**15 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True)
class StoredGrid:
    """``real = scale * (q - zero_point)`` with q in low..high, as a Q or a DQ node of one scale says."""

    scale: np.float32
    zero_point: int
    low: int
    high: int
    kind: str


@dataclass(frozen=True, eq=False)
class Scaling:
    """Scales and zero points of a Q or a DQ node of a constant, with as many dimensions as it, and the storage type."""

    scale: Array
    zero_point: Array
    kind: str


def scaling(
    node: onnx.NodeProto, constants: Mapping[str, Array], shape: tuple[int, ...], kind: str | None = None
) -> Scaling:
    """What ``node``, a Q or a DQ of a tensor of ``shape``, says; ``kind`` is the type of a DQ's input."""
    attributes = Attributes(node)
    axis = attributes.integer("axis", 1)
    if attributes.integer("block_size", 0):
        raise refuse(node, "block_size is set; only one scale for the tensor, or one for each channel, works")
    output_type = attributes.integer("output_dtype", 0)
    attributes.raw("saturate", 1)
    attributes.raw("precision", 0)
    attributes.finish()
    found = [_constant(node, constants, index) for index in (1, 2)]
    scale, zero_point = found
    name = f" '{node.input[1]}'" if len(node.input) > 1 else ""
    if scale is None or scale.dtype != np.float32 or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refuse(node, f"its scale{name} must be float32, finite and positive")
    if node.op_type == "QuantizeLinear":
        with foreign(f"{describe(node)}: its output_dtype is no type"):
            named = onnx.helper.tensor_dtype_to_np_dtype(output_type).name if output_type else "uint8"
        kind = zero_point.dtype.name if zero_point is not None else named
    if kind is None or kind not in RANGES:
        raise refuse(node, f"integers of type {kind} are not supported; {', '.join(RANGES)} are")
    if zero_point is None:
        zero_point = np.zeros(scale.shape, np.int64)
    if zero_point.shape != scale.shape and zero_point.size != 1:
        raise refuse(node, f"scale has shape {scale.shape} but zero point {zero_point.shape}; they must agree")
    if zero_point.dtype.name not in RANGES and zero_point.dtype.name != "int64":
        raise refuse(node, f"its zero point is {zero_point.dtype.name}; {', '.join(RANGES)} work")
    zero_point = np.broadcast_to(zero_point.astype(np.int64).reshape(-1), (scale.size,))
    rank = len(shape)
    if scale.size == 1:
        form = (1,) * rank
    elif scale.ndim == 1 and -rank <= axis < rank:
        form = tuple(scale.size if dimension == axis % rank else 1 for dimension in range(rank))
        if scale.size != shape[axis]:
            raise refuse(node, f"has {scale.size} scales for the {shape[axis]} channels of axis {axis}; one each works")
    else:
        raise refuse(node, f"scale has shape {scale.shape}; only one for the tensor, or one for each channel, works")
    return Scaling(scale.reshape(form), zero_point.reshape(form), kind)


def activation_grid(
    node: onnx.NodeProto, constants: Mapping[str, Array], shape: tuple[int, ...], kind: str | None = None
) -> StoredGrid:
    """The grid of a Q or a DQ node of a feature map.  Raises ModelError unless it has one scale and one zero point."""
    found = scaling(node, constants, shape, kind)
    if found.scale.size != 1:
        raise refuse(node, f"has {found.scale.size} scales; a feature map must have one")
    if found.kind == "int32":
        raise refuse(node, "integers of type int32 are not supported in feature maps; up to 16 bits are")
    return StoredGrid(np.float32(found.scale.item()), int(found.zero_point.item()), *RANGES[found.kind], found.kind)


def quantize_constant(node: onnx.NodeProto, constants: Mapping[str, Array], values: Array) -> Array:
    """QuantizeLinear of constant ``values``: float32 division, round half to even, saturate."""
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise refuse(node, f"quantizes a constant of {values.dtype}, which must be float and finite")
    found = scaling(node, constants, values.shape)
    low, high = RANGES[found.kind]
    with np.errstate(over="ignore"):
        steps = np.rint(values.astype(np.float32) / found.scale).astype(np.float64)
    integers = np.clip(steps + found.zero_point, low, high).astype(np.int64)
    # Four-bit types have no NumPy type of their own; int8 and uint8 hold them.
    return integers.astype({"int4": "int8", "uint4": "uint8"}.get(found.kind, found.kind))


def _constant(node: onnx.NodeProto, constants: Mapping[str, Array], index: int) -> Array | None:
    if index >= len(node.input) or not node.input[index]:
        return None
    name = node.input[index]
    if name not in constants:
        raise refuse(node, f"its {'scale' if index == 1 else 'zero point'} '{name}' is not constant; it must be")
    return constants[name]
