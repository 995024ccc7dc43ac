"""What each field of a tensor or a layer may hold, whatever stands around it; ``legality`` says what fits together."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from .errors import GraphError, unknown_kind
from .layers import (
    EXPONENTS,
    LARGEST_WEIGHT,
    AveragePool,
    Concat,
    Conv,
    ConvOperator,
    FeatureMap,
    Layer,
    MaxPool,
    Normalization,
    Sums,
    Table,
    Tensor,
)
from .moves import DepthToSpace, Selection
from .of_two import Add, ExtremeOperator, Extremum, Multiply, SumOperator

STORAGE = (np.iinfo(np.int16), np.iinfo(np.uint16))
"""The widest types of a feature map."""
LARGEST = float(np.finfo(np.float32).max)
FACTORS = 2**24
"""Beyond every factor of a normalization."""


def check_tensor(name: str, tensor: Tensor) -> None:
    """Raises GraphError, naming the field of ``tensor``, called ``name`` in its graph, that holds what it must not."""
    if not isinstance(tensor, Tensor):
        raise GraphError(f"tensor '{name}': its kind {type(tensor).__name__} is unknown; {_kinds(Tensor)} are known")
    if not _is_name(name) or tensor.name != name:
        raise GraphError(f"tensor {name!r}: it calls itself {tensor.name!r}; both names must be one, and not empty")
    where = f"tensor '{name}'"
    _integers(where, "shape", tensor.shape, 3, 1)
    match tensor:
        case FeatureMap():
            if not isinstance(tensor.scale, np.float32):
                raise GraphError(f"{where}: scale must be a float32, not {type(tensor.scale).__name__}")
            if not (np.isfinite(tensor.scale) and tensor.scale > 0):
                raise GraphError(f"{where}: scale must be finite and positive, not {tensor.scale}")
            _check_range(where, tensor)
        case Sums():
            _array(where, "scales", tensor.scales, np.float32, (tensor.shape[0],))
            if not (np.isfinite(tensor.scales).all() and (tensor.scales > 0).all()):
                raise GraphError(f"{where}: scales must be finite and positive")
            if tensor.shifts is not None:
                _array(where, "shifts", tensor.shifts, np.float32, (tensor.shape[0],))
                if not np.isfinite(tensor.shifts).all():
                    raise GraphError(f"{where}: shifts must be finite")
        case unknown:
            unknown_kind(unknown)


def _check_range(where: str, tensor: FeatureMap) -> None:
    for what, value in (("zero point", tensor.zero_point), ("low", tensor.low), ("high", tensor.high)):
        if type(value) is not int:
            raise GraphError(f"{where}: {what} must be an integer, not {value!r}")
    if not tensor.low <= tensor.zero_point <= tensor.high:
        raise GraphError(f"{where}: zero point {tensor.zero_point} is outside {tensor.low}..{tensor.high}")
    if not any(kind.min <= tensor.low and tensor.high <= kind.max for kind in STORAGE):
        raise GraphError(
            f"{where}: integers {tensor.low}..{tensor.high} have no type of 16 bits; they must be within"
            f" {' or '.join(f'{kind.min}..{kind.max}' for kind in STORAGE)}"
        )
    reach = max(tensor.high - tensor.zero_point, tensor.zero_point - tensor.low)
    if float(tensor.scale) * reach > LARGEST:
        raise GraphError(f"{where}: scale {tensor.scale:g} takes {reach} steps beyond float32; use smaller weights")


def check_layer(layer: Layer) -> None:
    """Raises GraphError, naming the field, if one of ``layer`` holds what it must not, or the kind if it is unknown."""
    if not isinstance(layer, Layer):
        name = getattr(layer, "name", "")
        raise GraphError(f"layer '{name}': its kind {type(layer).__name__} is unknown; {_kinds(Layer)} are known")
    if not _is_name(layer.name):
        raise GraphError(f"the layer that makes '{layer.output}' is called {layer.name!r}; give it a name")
    where = f"layer '{layer.name}'"
    named = isinstance(layer.inputs, tuple) and all(map(_is_name, (*layer.inputs, layer.output)))
    if not named or not layer.inputs:
        raise GraphError(
            f"{where}: reads {layer.inputs} and makes {layer.output!r}; it must be the names of tensors that it reads,"
            " at least one, and of one that it makes"
        )
    match layer:
        case Conv():
            _check_conv(where, layer)
        case MaxPool():
            _check_window(where, layer)
        case AveragePool():
            _check_window(where, layer)
            _integers(where, "ceil", layer.ceil, 2, 0)
            if type(layer.include_pad) is not bool:
                raise GraphError(f"{where}: include_pad must be True or False, not {layer.include_pad!r}")
        case Add() | Extremum():
            known = get_args(SumOperator if isinstance(layer, Add) else ExtremeOperator)
            if layer.operator not in known:
                raise GraphError(f"{where}: operator must be {' or '.join(known)}, not {layer.operator!r}")
            _check_two(where, layer, {"Add": "adds", "Sub": "subtracts"}.get(layer.operator, "compares"))
        case Multiply():
            _check_two(where, layer, "multiplies")
        case Concat():
            _integers(where, "axis", (layer.axis,), 1, 1, 3)
        case Table():
            _check_table(where, layer)
        case Normalization():
            _check_normalization(where, layer)
        case Selection():
            if not isinstance(layer.channels, tuple) or not layer.channels:
                raise GraphError(f"{where}: channels {layer.channels!r} must be a tuple of at least one integer")
            _integers(where, "channels", layer.channels, len(layer.channels), 0)
            for what, steps in (("rows", layer.rows), ("columns", layer.columns)):
                _integers(where, what, steps, 3, 0)
                if min(steps[1:]) < 1:
                    raise GraphError(f"{where}: {what} {steps} must be (first, step, count), the last two at least 1")
        case DepthToSpace():
            _integers(where, "block", layer.block, 2, 1)
        case unknown:
            unknown_kind(unknown)


def _check_two(where: str, layer: Layer, verb: str) -> None:
    if len(layer.inputs) != 2:
        raise GraphError(f"{where}: {verb} {len(layer.inputs)} maps; it must be 2")


def _check_window(where: str, layer: Conv | MaxPool | AveragePool) -> None:
    _integers(where, "kernel", layer.kernel, 2, 1)
    _integers(where, "strides", layer.strides, 2, 1)
    _integers(where, "pads", layer.pads, 4, 0)


def _check_conv(where: str, layer: Conv) -> None:
    if layer.operator not in get_args(ConvOperator):
        raise GraphError(f"{where}: operator must be {' or '.join(get_args(ConvOperator))}, not '{layer.operator}'")
    _array(where, "weights", layer.weights, np.int16)
    if layer.weights.ndim != 4 or 0 in layer.weights.shape:
        raise GraphError(
            f"{where}: weights have shape {layer.weights.shape}; it must be (outputs, inputs / groups, rows, columns),"
            " none of them 0"
        )
    _check_window(where, layer)
    _integers(where, "dilations", layer.dilations, 2, 1)
    _integers(where, "groups", (layer.groups,), 1, 1)
    outputs = (len(layer.weights),)
    _array(where, "weight scales", layer.weight_scales, np.float32, outputs)
    _array(where, "bias", layer.bias, np.int64, outputs)
    if not (np.isfinite(layer.weight_scales).all() and (layer.weight_scales > 0).all()):
        raise GraphError(f"{where}: weight scales must be finite and positive")
    if layer.weights.min() < -LARGEST_WEIGHT:  # int16 holds nothing above
        raise GraphError(f"{where}: weights must be within +-{LARGEST_WEIGHT}")


def _check_table(where: str, layer: Table) -> None:
    if not _is_name(layer.operator):
        raise GraphError(f"{where}: its operator {layer.operator!r} must be the name of a function")
    _array(where, "table", layer.values, np.int32)
    for name, value in layer.attributes.items():
        if not isinstance(value, float | str):
            raise GraphError(f"{where}: attribute '{name}' must be a float or text, not {value!r}")


def _check_normalization(where: str, layer: Normalization) -> None:
    _integers(where, "size", (layer.size,), 1, 1)
    _integers(where, "shift", (layer.shift,), 1, 0, 31)
    _integers(where, "exponent", (layer.exponent,), 1, *EXPONENTS)
    parameters = layer.alpha, layer.beta, layer.bias
    if not (np.isfinite(parameters).all() and layer.alpha >= 0 and layer.beta >= 0 and layer.bias > 0):
        raise GraphError(
            f"{where}: alpha {layer.alpha}, beta {layer.beta} and bias {layer.bias} must be finite, alpha and beta at"
            " least 0, bias above 0"
        )
    _array(where, "coarse table", layer.coarse, np.int32, (256,))
    _array(where, "fine table", layer.fine, np.int32, (256,))
    # Sums of entries that one index can meet: those whose upper four bits agree.
    coarse, fine = (table.reshape(16, 16).astype(np.int64) for table in (layer.coarse, layer.fine))
    least, most = (coarse.min(axis=1) + fine.min(axis=1)).min(), (coarse.max(axis=1) + fine.max(axis=1)).max()
    if least < 0 or most >= FACTORS:
        raise GraphError(f"{where}: its tables give factors of {least}..{most}; they must be 0..{FACTORS - 1}")


def _integers(where: str, what: str, values: Any, count: int, least: int, most: int | None = None) -> None:
    """Raises GraphError unless ``values`` is a tuple of ``count`` integers from ``least`` to ``most``."""
    good = isinstance(values, tuple) and len(values) == count and all(type(value) is int for value in values)
    if good and min(values) >= least and (most is None or max(values) <= most):
        return
    found = values[0] if count == 1 else values
    wanted = f"at least {least}" if most is None else f"{least} to {most}"
    kind = "an integer of" if count == 1 else f"a tuple of {count} integers of"
    raise GraphError(f"{where}: {what} {found} must be {kind} {wanted}")


def _array(where: str, what: str, values: Any, kind: type, shape: tuple[int, ...] | None = None) -> None:
    """Raises GraphError unless ``values`` is an array of type ``kind`` and, if one is given, of ``shape``."""
    found = f"{values.dtype} of {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
    if not isinstance(values, np.ndarray) or values.dtype != kind or (shape is not None and values.shape != shape):
        wanted = np.dtype(kind).name + ("" if shape is None else f" of {shape}")
        raise GraphError(f"{where}: {what} must be an array, {wanted}, not {found}")


def _is_name(name: object) -> bool:
    return isinstance(name, str) and bool(name)


def _kinds(union: Any) -> str:
    return ", ".join(kind.__name__ for kind in get_args(union))
