"""Operators of which constants are one number each: Max, Min, Pow, Where, comparisons, and Swish of opset 24."""

from __future__ import annotations

import numpy as np

from ..networks.expressions import Operand, Step
from ..networks.layers import INFINITY, Clamp, Extreme, Function
from .context import Built, Context, Dimensions
from .file import Attributes, refuse

NODES = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Pow", "Where")
"""Operators that ``mixture`` takes as they are."""


def extreme(context: Context) -> Built:
    """Max or Min of two maps, or of a map and a number: a clamp, if 0 stays 0."""
    if (count := len(context.node.input)) != 2:
        raise refuse(context.node, f"has {count} inputs; of two it works, so write it as nodes of two")
    if len(context.computed) == 1:
        index = 1 if context.node.input[0] == context.current else 0
        bound = _number(context, index)
        names = context.name, "Clip", (context.current,), context.output
        if context.operator == "Max" and bound <= 0:
            return Clamp(*names, bound, INFINITY), context.dimensions
        if context.operator == "Min" and bound >= 0:
            return Clamp(*names, -INFINITY, bound), context.dimensions
        return mixture(context)
    return Extreme(context.name, context.operator, context.computed, context.output), _common_size(context)


def mixture(context: Context) -> Built:
    """A function of maps of one size and of numbers."""
    Attributes(context.node).finish()
    inputs = tuple(dict.fromkeys(context.computed))
    operands: tuple[Operand, ...] = tuple(
        inputs.index(name) if name in inputs else _number(context, index)
        for index, name in enumerate(context.node.input)
    )
    steps = (Step(context.operator, operands),)
    return Function(context.name, context.operator, inputs, context.output, steps=steps), _common_size(context)


def swish(context: Context) -> Built:
    """``x * sigmoid(alpha * x)`` (ONNX Swish-24)."""
    attributes = Attributes(context.node)
    alpha = attributes.real("alpha", 1.0)
    attributes.finish()
    steps = Step("Mul", (0, alpha)), Step("Sigmoid", (1,)), Step("Mul", (0, 2))
    layer = Function(context.name, "Swish", (context.current,), context.output, steps=steps)
    return layer, context.dimensions


def _common_size(context: Context) -> Dimensions:
    sizes = [context.sizes[name] for name in context.computed]
    if len(set(sizes)) > 1:
        shapes = " and ".join(str(list(size)) for size in sizes)
        raise refuse(context.node, f"reads maps of shapes {shapes}; they must be equal")
    return sizes[0]


def _number(context: Context, index: int) -> float:
    value = context.constant(index, "constant")
    if value is None or value.size != 1 or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise refuse(context.node, f"its constant '{context.node.input[index]}' must be one finite number")
    return float(value.item())
