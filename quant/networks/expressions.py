"""Expressions of one value: ONNX's operators with numbers among their operands, in float64, rounded once at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .functions import DEFAULTS, Attributes, Wide, wide

Operand = int | float
"""An integer is the number of a value known before, a float a constant."""

BLOCK = 2**16
"""Values that go through all steps together, so that they stay in the cache."""

# Truth is 1, what is not is 0.
SEVERAL: Mapping[str, Callable[..., Wide]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": np.divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Pow": np.power,
    "Sub": np.subtract,
    "Where": lambda condition, yes, no: _where(condition, yes, no),
}
"""Operators that are no function of ``functions``, most of several operands."""


def _where(condition: Wide, yes: Wide, no: Wide) -> Wide:
    return np.where(condition != 0, yes, no)


@dataclass(frozen=True)
class Step:
    """One operator.  The values that its operands count are the inputs, and then what each step makes."""

    operator: str
    operands: tuple[Operand, ...]
    attributes: Attributes = field(default_factory=dict)


def evaluate(steps: Sequence[Step], inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """What the last of ``steps`` makes of ``inputs``, all of one shape, each value apart."""
    flat = [values.reshape(-1) for values in inputs]
    result = np.empty(flat[0].shape, np.float32)
    for start in range(0, len(result), BLOCK):
        known: list[Wide] = [values[start : start + BLOCK].astype(np.float64) for values in flat]
        with np.errstate(all="ignore"):
            for step in steps:
                known.append(_value(step, known))
            result[start : start + BLOCK] = known[-1]
    return result.reshape(inputs[0].shape)


def _value(step: Step, known: Sequence[Wide]) -> Wide:
    operands = [known[operand] if type(operand) is int else operand for operand in step.operands]
    if step.operator in DEFAULTS:
        return wide(step.operator, step.attributes, np.asarray(operands[0], np.float64))
    return np.asarray(SEVERAL[step.operator](*operands), np.float64)
