"""What the host does to the arrays of the model's file before an input and behind an output.

The accelerator computes on maps of (channels, rows, columns).  What only arranges values, and the end of a network that
is not worth integers, are steps on arrays with the batch first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from operator import index
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """Each image's values, in their order, as an array of ``shape``: (N, *shape)."""

    shape: Sizes

    def __str__(self) -> str:
        return f"Reshape to N{''.join(f'x{size}' for size in self.shape)}"


@dataclass(frozen=True)
class Transpose:
    """Axes in another order: ``axes[i]`` becomes axis i; axis 0, the batch, stays."""

    axes: Sizes

    def __str__(self) -> str:
        return f"Transpose by {', '.join(map(str, self.axes))}"


@dataclass(frozen=True)
class Softmax:
    """``exp(x) / sum of exp(x)`` along ``axis``, or its logarithm (ONNX Softmax-13, LogSoftmax-13)."""

    axis: int
    log: bool = False

    @property
    def operator(self) -> str:
        return "LogSoftmax" if self.log else "Softmax"

    def __str__(self) -> str:
        return f"{self.operator} along axis {self.axis}"


@dataclass(frozen=True)
class ArgMax:
    """Where along ``axis`` the largest value is, int64; of several the first, or the ``last`` (ONNX ArgMax-13)."""

    axis: int
    keep_axis: bool = True
    last: bool = False

    def __str__(self) -> str:
        return f"ArgMax along axis {self.axis}"


HostStep = Reshape | Transpose | Softmax | ArgMax


@dataclass(frozen=True)
class HostArray:
    """An input or output as the model's file has it: ``shape`` without the batch, and the ``steps`` in between.

    An input's steps make (N, channels, rows, columns) of it, an output's make it of that.
    """

    shape: Sizes
    steps: tuple[HostStep, ...]


def told(arrays: Mapping[str, HostArray]) -> tuple[str, ...]:
    """What the host does, in words, by the names of ``arrays``."""
    return tuple(f"{step}, of '{name}'" for name, array in arrays.items() for step in array.steps)


def sizes_after(step: HostStep, sizes: Sizes) -> Sizes:
    """Sizes, the batch first, of what ``step`` makes of an array of ``sizes``.  Raises ModelError if it cannot."""
    match step:
        case Reshape():
            fits = prod(step.shape) == prod(sizes[1:])
            after = (sizes[0], *step.shape)
        case Transpose():
            fits = sorted(step.axes) == list(range(len(sizes))) and step.axes[0] == 0
            after = tuple(sizes[axis] for axis in step.axes) if fits else ()
        case Softmax():
            fits, after = 0 < step.axis < len(sizes), sizes
        case ArgMax():
            fits = 0 < step.axis < len(sizes)
            after = (*sizes[: step.axis], *((1,) if step.keep_axis else ()), *sizes[step.axis + 1 :])
        case unknown:
            assert_never(unknown)
    if not fits:
        raise ModelError(f"{step} does not fit an array of {'x'.join(map(str, sizes))}, whose images must stay apart")
    return after


def simplified(steps: tuple[HostStep, ...], sizes: Sizes) -> tuple[HostStep, ...]:
    """``steps`` on an array of ``sizes``, the batch first, without those that nobody needs."""
    kept: list[HostStep] = []
    shapes = [sizes]
    for step in steps:
        if isinstance(step, Reshape) and kept and isinstance(kept[-1], Reshape):
            kept.pop()
            shapes.pop()
        after = sizes_after(step, shapes[-1])
        same = after == shapes[-1] and isinstance(step, Reshape)
        if not same and not (isinstance(step, Transpose) and list(step.axes) == sorted(step.axes)):
            kept.append(step)
            shapes.append(after)
    return tuple(kept)


def apply_steps(steps: tuple[HostStep, ...], values: NDArray[Any]) -> NDArray[Any]:
    """``values``, the batch first, after ``steps``: of their type, float32 behind a Softmax, int64 behind an ArgMax."""
    for step in steps:
        match step:
            case Reshape():
                values = values.reshape(len(values), *step.shape)
            case Transpose():
                values = values.transpose(step.axes)
            case Softmax():
                values = _softmax(values, step)
            case ArgMax():
                values = _arg_max(values, step)
            case unknown:
                assert_never(unknown)
    return np.ascontiguousarray(values)


def _softmax(values: NDArray[Any], step: Softmax) -> NDArray[np.float32]:
    """Computed in float64, rounded once; the largest value is taken off before, so that nothing overflows."""
    less = values.astype(np.float64) - values.max(axis=step.axis, keepdims=True)
    powers = np.exp(less)
    total = powers.sum(axis=step.axis, keepdims=True)
    return np.asarray(less - np.log(total) if step.log else powers / total, np.float32)


def _arg_max(values: NDArray[Any], step: ArgMax) -> NDArray[np.int64]:
    """The first of equal values, or the last."""
    if not step.last:
        return np.asarray(values.argmax(axis=step.axis, keepdims=step.keep_axis), np.int64)
    backwards = np.flip(values, step.axis).argmax(axis=step.axis, keepdims=step.keep_axis)
    return np.asarray(values.shape[step.axis] - 1 - backwards, np.int64)


def onnx_operator(step: HostStep) -> tuple[str, dict[str, Any]]:
    """The ONNX operator that ``step`` is, and its attributes, a Reshape's ``shape`` among them."""
    match step:
        case Reshape():
            return "Reshape", {"shape": (0, *step.shape)}
        case Transpose():
            return "Transpose", {"perm": step.axes}
        case Softmax():
            return step.operator, {"axis": step.axis}
        case ArgMax():
            kept, last = int(step.keep_axis), int(step.last)
            return "ArgMax", {"axis": step.axis, "keepdims": kept, "select_last_index": last}
        case unknown:
            assert_never(unknown)


def step_of(operator: str, attributes: Mapping[str, Any]) -> HostStep:
    """The step whose ``onnx_operator`` these are, sequences as JSON has them among them.

    Raises ModelError where there is none.
    """
    try:
        if operator == "Reshape" and attributes["shape"][0] == 0:
            return Reshape(tuple(attributes["shape"][1:]))
        if operator == "Transpose" and attributes["perm"][0] == 0:
            return Transpose(tuple(attributes["perm"]))
        if operator in ("Softmax", "LogSoftmax"):
            return Softmax(index(attributes["axis"]), operator == "LogSoftmax")
        if operator == "ArgMax":
            kept, last = bool(attributes["keepdims"]), bool(attributes["select_last_index"])
            return ArgMax(index(attributes["axis"]), kept, last)
    except (KeyError, IndexError, TypeError):
        pass  # no such step either
    raise ModelError(f"the host has no step {operator} with {dict(attributes)}")
