"""Operators of which constants are one number each: Pow, Where, comparisons, and Swish of opset 24."""

from __future__ import annotations

import numpy as np

from ..networks.expressions import Operand, Step
from ..networks.layers import Function
from .context import Built, Context, Dimensions
from .file import Attributes, refuse

NODES = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Pow", "Where")
"""Operators that ``mixture`` takes as they are."""


def mixture(context: Context) -> Built:
    """A function of maps of one size and of numbers."""
    Attributes(context.node).finish()
    inputs = tuple(dict.fromkeys(context.computed))
    operands: tuple[Operand, ...] = tuple(
        inputs.index(name) if name in inputs else number_of(context, index)
        for index, name in enumerate(context.node.input)
    )
    steps = (Step(context.operator, operands),)
    return Function(context.name, context.operator, inputs, context.output, steps=steps), common_size(context)


def swish(context: Context) -> Built:
    """``x * sigmoid(alpha * x)`` (ONNX Swish-24)."""
    attributes = Attributes(context.node)
    alpha = attributes.real("alpha", 1.0)
    attributes.finish()
    steps = Step("Mul", (0, alpha)), Step("Sigmoid", (1,)), Step("Mul", (0, 2))
    layer = Function(context.name, "Swish", (context.current,), context.output, steps=steps)
    return layer, context.dimensions


def common_size(context: Context) -> Dimensions:
    """The size of all maps that the node reads."""
    sizes = [context.sizes[name] for name in context.computed]
    if len(set(sizes)) > 1:
        shapes = " and ".join(str(list(size)) for size in sizes)
        raise refuse(context.node, f"reads maps of shapes {shapes}; they must be equal")
    return sizes[0]


def number_of(context: Context, index: int) -> float:
    """Input ``index``, one finite number."""
    value = context.constant(index, "constant")
    if value is None or value.size != 1 or value.dtype.kind not in "biuf" or not np.isfinite(value).all():
        raise refuse(context.node, f"its constant '{context.node.input[index]}' must be one finite number")
    return float(value.item())
