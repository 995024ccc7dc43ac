"""Operators that work on each value alone: additions, constants per channel, activation functions."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ..networks.expressions import Step
from ..networks.functions import DEFAULTS
from ..networks.layers import (
    INFINITY,
    Addition,
    Affine,
    Clamp,
    Concatenation,
    Floats,
    Function,
    Product,
    Slopes,
)
from .context import Built, Context, image_of
from .file import Attributes, refuse
from .mixtures import mixture
from .view import MOST_SPREAD


def add(context: Context) -> Built:
    """Add, and Sum of two: of two maps, or of a map and a constant for each channel."""
    if len(context.computed) == 2:
        return _sum(context, "adds")
    shift = for_each_channel(context)
    return _affine(context, np.ones_like(shift), shift)


def _sum(context: Context, verb: str) -> Built:
    sizes = [context.sizes[name] for name in context.computed]
    if sizes[0] != sizes[1]:
        raise refuse(context.node, f"{verb} maps of shapes {list(sizes[0])} and {list(sizes[1])}; they must be equal")
    return Addition(context.name, context.operator, context.computed, context.output), sizes[0]


def subtract(context: Context) -> Built:
    """Sub: of two maps, or of a map and a constant for each channel, in either order."""
    if len(context.computed) == 2:
        return _sum(context, "subtracts")
    shift = for_each_channel(context)
    ones = np.ones_like(shift)
    if context.node.input[0] == context.current:
        return _affine(context, ones, -shift)
    return _affine(context, -ones, shift)


def multiply(context: Context) -> Built:
    """Mul: of two maps, of which one may have a single row and column, or of a map and a constant for each channel."""
    if len(context.computed) == 2:
        return _product(context)
    scale = for_each_channel(context)
    return _affine(context, scale, np.zeros_like(scale))


def _product(context: Context) -> Built:
    first, second = (context.sizes[name] for name in context.computed)
    size = max(first, second)
    if not {first, second} <= {size, size[:2] + (1,) * len(size[2:])}:
        raise refuse(
            context.node,
            f"multiplies maps of shapes {list(first)} and {list(second)}; they must be equal, or one have a single row"
            " and column",
        )
    return Product(context.name, "Mul", context.computed, context.output), size


def divide(context: Context) -> Built:
    """Div by a constant for each channel; of a number, or of what depends on the same map, as a function."""
    if len(context.computed) == 2 or context.node.input[0] != context.current:
        return mixture(context)
    divisor = for_each_channel(context)
    if not divisor.all():
        raise refuse(context.node, "divides by 0")
    return _affine(context, 1 / divisor, np.zeros_like(divisor))


def negate(context: Context) -> Built:
    minus = -np.ones(context.dimensions[1])
    return _affine(context, minus, np.zeros_like(minus))


def batch_normalization(context: Context) -> Built:
    attributes = Attributes(context.node)
    epsilon = attributes.real("epsilon", 1e-5)
    if attributes.integer("training_mode", 0):
        raise refuse(context.node, "training_mode is 1; export the model for inference")
    if attributes.integer("spatial", 1) != 1:
        raise refuse(context.node, "spatial is 0; only statistics per channel work (spatial 1)")
    attributes.raw("momentum", 0.9)
    attributes.finish()
    if len(context.dimensions) < 2:
        raise refuse(context.node, f"its input has {len(context.dimensions)} dimensions; its channels are the second")
    channels = context.dimensions[1]
    roles = ("scale", "bias", "mean", "variance")
    found = [context.floats(index, role) for index, role in enumerate(roles, start=1)]
    for role, values in zip(roles, found, strict=True):
        if values is None or values.shape != (channels,):
            raise refuse(context.node, f"its {role} must have one value for each of {channels} channels")
    scale, bias, mean, variance = (np.asarray(values, np.float64) for values in found)
    if (variance + epsilon <= 0).any():
        raise refuse(context.node, "its variance plus epsilon is not positive; it must be")
    slope = scale / np.sqrt(variance + epsilon)
    shift = bias - mean * slope
    if context.view is None:
        return _affine(context, slope, shift)
    ones = (1,) * (len(context.dimensions) - 2)
    places = [context.view.to_map(values.reshape(-1, *ones), 4) for values in (slope, shift)]
    return _affine(replace(context, sizes={context.current: context.view.shape}), *map(_of_map, places))


def _of_map(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1, C, 1, 1) as (C,), one value for each channel; else (C, H, W)."""
    return values.reshape(-1) if values.shape[2:] == (1, 1) else values[0]


def _affine(context: Context, scale: NDArray[np.float64], shift: NDArray[np.float64]) -> Built:
    """``scale`` and ``shift`` have one value for each channel, or spread to (C, H, W)."""
    shape = image_of(context.dimensions)
    wanted = shape[:1] if scale.ndim == 1 else shape
    scale, shift = np.broadcast_to(scale, wanted), np.broadcast_to(shift, wanted)
    layer = Affine(context.name, context.operator, (context.current,), context.output, scale, shift)
    return layer, context.dimensions


def for_each_channel(context: Context) -> NDArray[np.float64]:
    """The constant input, float64: a value for each channel, (channels,), or for each of an image, (C, H, W)."""
    verb = {
        "Max": "takes the larger of",
        "Min": "takes the smaller of",
        "Add": "adds",
        "Sum": "adds",
        "Sub": "subtracts",
        "Mul": "multiplies by",
        "Div": "divides by",
    }
    if len(context.node.input) != 2:
        raise refuse(context.node, f"has {len(context.node.input)} inputs; it must have two")
    index = 1 if context.node.input[0] == context.current else 0
    values = context.floats(index, "constant")
    assert values is not None
    return _per_channel(context, values, f"{verb[context.operator]} a constant")


def _per_channel(context: Context, values: Floats, said: str) -> NDArray[np.float64]:
    """``values`` as (channels,) float64, as ONNX spreads them over the input."""
    channels, rank = context.dimensions[1], len(context.dimensions)
    shape = (1,) * (rank - values.ndim) + values.shape
    fits = len(shape) == rank and shape[0] == 1
    if not fits or any(size not in (1, whole) for size, whole in zip(shape, context.dimensions, strict=True)):
        raise refuse(
            context.node,
            f"{said} of shape {values.shape}; it must be one value for each of {channels} channels",
        )
    if any(size != 1 for size in shape[2:]):
        if prod(context.dimensions[1:]) > max(MOST_SPREAD, values.size):
            raise refuse(context.node, f"its constant of shape {values.shape} is spread over too many values")
        _, *inside = (shape[0], shape[1], *((1,) * (4 - rank)), *shape[2:])
        return np.broadcast_to(values.reshape(inside), image_of(context.dimensions)).astype(np.float64)
    return np.broadcast_to(values.reshape(-1), (channels,)).astype(np.float64)


def relu(context: Context) -> Built:
    return Clamp(context.name, "Relu", (context.current,), context.output, 0.0, INFINITY), context.dimensions


def clip(context: Context) -> Built:
    attributes = Attributes(context.node)
    low, high = attributes.real("min", -INFINITY), attributes.real("max", INFINITY)
    attributes.finish()
    for index, role in ((1, "min"), (2, "max")):
        bound = context.constant(index, role)
        if bound is None:
            continue
        if bound.size != 1 or bound.dtype.kind not in "iuf" or np.isnan(bound).any():
            raise refuse(context.node, f"its {role} must be one number")
        low, high = (float(bound.item()), high) if role == "min" else (low, float(bound.item()))
    if low > high:
        raise refuse(context.node, f"clips to {low:g}..{high:g}; its min must not be above its max")
    if not low <= 0 <= high:  # as a clamp it would move the zeros that pad a convolution
        steps = (Step("Clip", (0,), {"min": low, "max": high}),)
        layer = Function(context.name, "Clip", (context.current,), context.output, steps=steps)
        return layer, context.dimensions
    return Clamp(context.name, "Clip", (context.current,), context.output, low, high), context.dimensions


def function(context: Context) -> Built:
    """Any operator of ``functions.DEFAULTS``, with the attributes listed there."""
    attributes = Attributes(context.node)
    found = {
        name: attributes.text(name, value, "tanh") if isinstance(value, str) else attributes.real(name, value)
        for name, value in DEFAULTS[context.operator].items()
    }
    attributes.finish()
    layer = Function(context.name, context.operator, (context.current,), context.output, found)
    return layer, context.dimensions


def prelu(context: Context) -> Built:
    context.data_is_first()
    slope = context.floats(1, "slope")
    if slope is None or slope.size == 0:
        raise refuse(context.node, "has no slopes; one, or one for each channel, works")
    if (slope != slope.flat[0]).any():
        slopes = _per_channel(context, slope, "has slopes")
        return Slopes(context.name, "PRelu", (context.current,), context.output, slopes), context.dimensions
    alpha = {"alpha": float(slope.flat[0])}
    return Function(context.name, "LeakyRelu", (context.current,), context.output, alpha), context.dimensions


def concat(context: Context) -> Built:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", 1)
    attributes.finish()
    if len(context.computed) != len(context.node.input):
        constant = next(name for name in context.node.input if name not in context.computed)
        raise refuse(context.node, f"joins the constant '{constant}' to a map; only maps work")
    sizes = [context.sizes[name] for name in context.computed]
    rank = len(sizes[0])
    if len({len(size) for size in sizes}) > 1 or not -rank <= axis < rank or axis % rank == 0:
        raise refuse(context.node, f"axis is {axis}; only channels, rows and columns work")
    axis %= rank
    if len({(*size[:axis], *size[axis + 1 :]) for size in sizes}) > 1:
        shapes = ", ".join(str(list(size)) for size in sizes)
        raise refuse(context.node, f"joins maps of shapes {shapes}; only their axis {axis} may differ")
    dimensions = (*sizes[0][:axis], sum(size[axis] for size in sizes), *sizes[0][axis + 1 :])
    along = axis if axis == 1 or rank == 4 else 3  # (N, C, L) is one row
    return Concatenation(context.name, "Concat", context.computed, context.output, along), dimensions
