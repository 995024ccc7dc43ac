"""Operators that only say how a tensor is looked at: Reshape, Flatten, Transpose, Squeeze, Unsqueeze, copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from .context import Context, Dimensions
from .file import FLOATS, TYPES, Attributes, describe, refuse
from .foreign import foreign
from .view import View

Views = Mapping[str, View]
MOST_AXES = 32
"""Of a tensor; NumPy knows 64, of which an axis of its own for each part of one may need half."""


def dropout(context: Context) -> Dimensions:
    context.data_is_first()
    attributes = Attributes(context.node)
    for name in ("ratio", "seed", "is_test"):
        attributes.raw(name, None)
    attributes.finish()
    training = context.constant(2, "training_mode")
    if training is not None and training.any():
        raise refuse(context.node, "training_mode is true; export the model for inference")
    return context.dimensions


def flatten(context: Context) -> Dimensions:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", 1)
    attributes.finish()
    sizes = context.dimensions
    if not -len(sizes) <= axis <= len(sizes):
        raise refuse(context.node, f"axis is {axis}, beyond the {len(sizes)} axes of its input")
    axis = axis % len(sizes) if axis < 0 else axis
    return prod(sizes[:axis]), prod(sizes[axis:])


def identity(context: Context) -> Dimensions:
    return context.dimensions


def reshape(context: Context) -> Dimensions:
    context.data_is_first()
    attributes = Attributes(context.node)
    keeps_zero = attributes.integer("allowzero", 0)
    wanted = context.integers(attributes, "shape", 5)
    attributes.finish()
    if wanted is None:
        raise refuse(context.node, "its shape is missing; it must be a constant of integers")
    resolved = [
        context.dimensions[axis] if size == 0 and not keeps_zero and axis < len(context.dimensions) else size
        for axis, size in enumerate(wanted)
    ]
    count = prod(context.dimensions)
    known = prod(size for size in resolved if size != -1)
    if resolved.count(-1) == 1 and known > 0 and count % known == 0:
        resolved[resolved.index(-1)] = count // known
    if min(resolved, default=1) < 1 or prod(resolved) != count:
        raise refuse(context.node, f"shape is {wanted} for an input of {list(context.dimensions)}; it does not fit")
    return tuple(resolved)


def squeeze(context: Context) -> Dimensions:
    context.data_is_first()
    sizes = context.dimensions
    axes = _axes(context, len(sizes))
    taken = set(axes) if axes else {i for i, size in enumerate(sizes) if i and size == 1}
    if any(sizes[axis] != 1 for axis in taken):
        raise refuse(context.node, f"axes are {axes} of an input of {list(sizes)}; only axes of size 1 can go")
    return tuple(size for axis, size in enumerate(sizes) if axis not in taken)


def unsqueeze(context: Context) -> Dimensions:
    context.data_is_first()
    rank = len(context.dimensions)
    count = len(context.integers(Attributes(context.node), "axes", 13) or ())
    new, old = _axes(context, rank + count), iter(context.dimensions)
    return tuple(1 if axis in new else next(old) for axis in range(rank + count))


def _axes(context: Context, rank: int) -> list[int]:
    attributes = Attributes(context.node)
    found = context.axes(attributes, 13, rank)
    attributes.finish()
    return found


RENAMED: Mapping[str, Callable[[Context], Dimensions]] = {
    "Dropout": dropout,
    "Flatten": flatten,
    "Identity": identity,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
}
"""Operators that leave values in their order: the dimensions that a node makes of them."""


def permutation(context: Context) -> list[int]:
    """Axis ``n`` of what a Transpose makes is axis ``permutation[n]`` of its input."""
    attributes = Attributes(context.node)
    rank = len(context.dimensions)
    order = attributes.listed("perm") or list(range(rank))[::-1]
    attributes.finish()
    if sorted(order) != list(range(rank)):
        raise refuse(context.node, f"perm is {order}; it must have each of {rank} axes once")
    return order


def dimensions_after(context: Context) -> Dimensions:
    """What a node of ``RENAMED`` makes.  Raises ModelError, naming it, for no axes, and for more than MOST_AXES."""
    found = RENAMED[context.operator](context)
    if not 1 <= len(found) <= MOST_AXES:
        raise refuse(context.node, f"makes a tensor of {len(found)} axes; 1 to {MOST_AXES} work")
    return found


def renamed(context: Context, views: Views) -> View:
    wanted = dimensions_after(context)
    found = views[context.current].reshaped(wanted)
    if found is None:
        raise refuse(
            context.node,
            f"makes {list(wanted)} of {list(context.dimensions)}, which cuts across axes; sizes that split or join"
            " whole axes work",
        )
    return found


def transposed(context: Context, views: Views) -> View:
    return views[context.current].transposed(permutation(context))


def cast(context: Context, views: Views) -> View:
    """Cast and CastLike between types of reals: all of them are float32 here."""
    context.data_is_first()
    attributes = Attributes(context.node)
    kind = attributes.integer("to", TYPES.FLOAT)
    attributes.raw("saturate", 1)  # of float8 only
    attributes.raw("round_mode", b"up")
    attributes.finish()
    if kind not in FLOATS:
        name = TYPES.DataType.Name(kind) if kind in TYPES.DataType.values() else kind
        raise refuse(context.node, f"casts to {name}; only types of reals work (float, float16, bfloat16, double)")
    return views[context.current]


def where(context: Context, views: Views) -> View:
    """Where with a condition that is the same everywhere: one of its inputs, as it is."""
    condition = context.constants[context.node.input[0]]
    chosen = context.node.input[1 if condition.all() else 2]
    if chosen not in context.sizes:
        raise refuse(context.node, f"always takes the constant '{chosen}'; only a map works")
    dimensions = context.sizes[chosen]
    shapes = [context.constants[n].shape if n in context.constants else context.sizes[n] for n in context.node.input]
    with foreign(f"{describe(context.node)}: its inputs do not fit"):
        spread = np.broadcast_shapes(*shapes)
    if spread != dimensions:
        raise refuse(context.node, f"spreads {list(dimensions)} to {list(spread)}; only a choice of one shape works")
    return views[chosen]


SHAPING: Mapping[str, Callable[[Context, Views], View]] = {
    **dict.fromkeys(RENAMED, renamed),
    "Cast": cast,
    "CastLike": cast,
    "Transpose": transposed,
    "Where": where,
}
"""Operators of which a node makes no layer."""


def only_seen(context: Context) -> bool:
    """Whether the node makes no layer, so that ``SHAPING`` has it."""
    if context.operator != "Where":
        return context.operator in SHAPING
    condition = context.constants.get(context.node.input[0])
    return condition is not None and bool(condition.all() == condition.any())
