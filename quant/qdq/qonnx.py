"""QONNX's ``Quant`` (Brevitas, FINN) as Clip between Q and DQ, or as integer constants and DQ."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from ..onnx.constants import Constants
from ..onnx.file import Array, Attributes, refuse

DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")


def spelled(node: onnx.NodeProto, constants: Constants) -> Iterator[onnx.NodeProto]:
    """``node`` itself, or if it is a Quant, what it means in ONNX.  Raises ModelError for what has no such meaning.

    ``y = s * (clamp(rne(x / s + z), low, high) - z)``, low..high the integers of so many bits.  A Trunc that rounds is
    the same at its output's scale: what it reads are integers already.
    """
    if node.domain not in DOMAINS:
        yield node
        return
    if node.op_type == "BipolarQuant":
        raise refuse(node, "values of -1 and 1 are not supported; a Quant of 2 bits, signed and narrow, has them")
    names = {"Quant": {4: (1, 2, 3)}, "Trunc": {6: (4, 2, 5)}}.get(node.op_type, {}).get(len(node.input))
    if names is None or not node.output:
        raise refuse(
            node,
            f"with {len(node.input)} inputs is not supported; of QONNX Quant with four and Trunc with six are, so put"
            " one where the values are to be rounded",
        )
    scale, zero, low, high = _grid(node, constants, [node.input[index] for index in names])
    kind = _storage(node, low, high)
    if not low <= zero <= high:
        raise refuse(
            node, f"its zero point '{node.input[names[1]]}' is {zero}; it must be one of its integers, {low} to {high}"
        )
    source, output = node.input[0], node.output[0]
    if source in constants:
        yield from _constant(node, constants, scale, zero, (low, high))
        return
    if scale.size != 1:
        raise refuse(node, f"has {scale.size} scales; a feature map must have one")
    grid = [
        _stored(node, constants, "scale", scale.reshape(())),
        _stored(node, constants, "zero_point", np.array(zero, kind)),
    ]
    integers = f"{output}_integers"
    yield helper.make_node("QuantizeLinear", [source, *grid], [integers], f"{node.name or output}_quantize")
    if (low, high) != (np.iinfo(kind).min, np.iinfo(kind).max):
        bounds = [
            _stored(node, constants, "low", np.array(low, kind)),
            _stored(node, constants, "high", np.array(high, kind)),
        ]
        yield helper.make_node("Clip", [integers, *bounds], [f"{output}_clipped"], f"{node.name or output}_clip")
        integers = f"{output}_clipped"
    yield helper.make_node("DequantizeLinear", [integers, *grid], [output], f"{node.name or output}_dequantize")


def _grid(node: onnx.NodeProto, constants: Constants, names: list[str]) -> tuple[Array, int, int, int]:
    """Scale, zero point, lowest and highest integer of ``node``; ``names`` of its scale, zero point and bit width."""
    attributes = Attributes(node)
    signed, narrow = bool(attributes.integer("signed", 1)), bool(attributes.integer("narrow", 0))
    attributes.text("rounding_mode", "ROUND", "round", "HALF_EVEN")
    attributes.finish()
    found = [constants.get(name) for name in names]
    for name, values in zip(names, found, strict=True):
        if values is None or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise refuse(node, f"its input '{name}' must be a finite constant")
    scale, zero, bits = (np.asarray(values, np.float32) for values in found)
    if not scale.size or not (scale > 0).all():
        raise refuse(node, f"its scale '{names[0]}' must be positive")
    if not zero.size or (zero != zero.flat[0]).any() or zero.flat[0] != np.rint(zero.flat[0]):
        raise refuse(node, f"its zero point '{names[1]}' must be one integer")
    if bits.size != 1 or bits.item() != np.rint(bits.item()) or not 2 <= bits.item() <= 32:
        raise refuse(node, f"its bit width '{names[2]}' must be an integer from 2 to 32")
    steps = 2 ** int(bits.item())
    low, high = (narrow - steps // 2, steps // 2 - 1) if signed else (0, steps - 1 - narrow)
    return scale, int(zero.flat[0]), low, high


def _storage(node: onnx.NodeProto, low: int, high: int) -> str:
    for kind in ("int8", "uint8", "int16", "uint16", "int32"):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return kind
    raise refuse(node, f"its integers reach {high}; at most 32 bits, signed, work")


def _constant(
    node: onnx.NodeProto, constants: Constants, scale: Array, zero: int, bounds: tuple[int, int]
) -> Iterator[onnx.NodeProto]:
    """The integers of a constant, stored, and their DequantizeLinear."""
    values = constants[node.input[0]]
    if values.dtype.kind != "f" or not np.isfinite(values).all():
        raise refuse(node, f"quantizes a constant of {values.dtype}, which must be float and finite")
    along = [axis for axis, size in enumerate(scale.shape) if size > 1]
    if len(along) > 1 or (along and (scale.ndim != values.ndim or scale.size != values.shape[along[0]])):
        raise refuse(node, f"scale has shape {scale.shape}; only one for the tensor, or one for each channel, works")
    shaped = scale if along else scale.reshape(-1)[:1]
    with np.errstate(over="ignore"):
        steps = np.rint(values.astype(np.float32) / shaped + np.float32(zero)).astype(np.float64)  # has all of int32
    steps = np.clip(steps, *bounds)
    if steps.shape != values.shape:
        raise refuse(node, f"scale has shape {scale.shape}, which does not fit values of shape {values.shape}")
    inputs = [
        _stored(node, constants, "integers", steps.astype(_storage(node, *bounds))),
        _stored(node, constants, "scale", scale.reshape(-1 if along else ())),
    ]
    if zero:
        inputs.append(_stored(node, constants, "zero_point", np.full(scale.size if along else (), zero, np.int64)))
    name = f"{node.name or node.output[0]}_dequantize"
    axis = along[0] if along else 0
    yield helper.make_node("DequantizeLinear", inputs, [node.output[0]], name, axis=axis)


def _stored(node: onnx.NodeProto, constants: Constants, role: str, values: Array) -> str:
    """A constant that ``node`` needs in its ONNX form, by name."""
    name = f"{node.output[0]}_{role}"
    constants.add(helper.make_node("Constant", [], [name], f"{node.name}_{role}"), np.asarray(values))
    return name
