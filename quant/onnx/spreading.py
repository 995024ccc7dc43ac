"""Maps that broadcast: what has one channel, row or column for several is repeated; Expand and Tile only do that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from ..networks.layers import FloatLayer
from ..networks.picking import MOST, repeat
from .budget import check_dimensions
from .context import Context, Dimensions, image_of
from .file import Attributes, describe, integer_list, refuse
from .rearranging import Composed
from .view import VOLUME

SPREADING = frozenset(("Add", "Max", "Min", "Mul", "Sub", "Sum"))
"""Operators on two maps, or a map and a constant, that repeat the smaller one."""

EXPANDING = ("Expand", "Tile")


def spread(context: Context) -> tuple[dict[str, tuple[str, Dimensions]], list[FloatLayer]]:
    """What a node of ``SPREADING`` reads, each as large as what it makes: name and dimensions by input; and the layers.

    A vector stays, as a factor: products spread it as they are computed.
    """
    sizes = {name: context.sizes[name] for name in context.computed}
    inputs = {name: (name, size) for name, size in sizes.items()}
    made: list[FloatLayer] = []
    target = _common(context, list(sizes.values()))
    if target is None or all(size == target for size in sizes.values()):
        return inputs, made
    check_dimensions(describe(context.node), target)
    for number, (name, size) in enumerate(sizes.items()):
        stays = context.operator == "Mul" and len(sizes) == 2 and prod(size[2:]) == 1
        wanted = target[:2] + size[2:] if stays else target
        if size != wanted:
            output = f"{context.output}/{number}"
            made += _repeated(context, f"{context.name}/{number}", name, output, size, wanted)
            inputs[name] = output, wanted
    return inputs, made


def _common(context: Context, sizes: list[Dimensions]) -> Dimensions | None:
    """What maps of ``sizes``, and constants, broadcast to; None if they do not, or not as maps do."""
    constants = [context.constants[name].shape for name in context.node.input if name in context.constants]
    ranks = {len(size) for size in sizes}
    if len(ranks) != 1 or ranks == {VOLUME} or any(len(shape) > min(ranks) for shape in constants):
        return None
    try:
        target = np.broadcast_shapes(*sizes, *constants)
    except ValueError:
        return None
    return target if {size[0] for size in sizes} == {target[0]} else None


def narrowed(context: Context) -> Context:
    """``context`` with its constants as small as they can be: 1 along each axis on which all is the same."""
    found = {}
    for name in context.node.input:
        value = context.constants.get(name) if name else None
        if value is None or value.size < 2 or _common(context, [context.dimensions]) != context.dimensions:
            continue
        for axis in range(value.ndim):
            first = value.take([0], axis)
            value = first if (value == first).all() else value
        found[name] = value
    return replace(context, constants={**context.constants, **found}) if found else context


def expand(context: Context) -> Composed:
    wanted = _listed(context, "shape")
    sizes = context.dimensions
    try:
        target = np.broadcast_shapes(sizes, tuple(wanted))
    except ValueError:
        target = ()
    if len(target) != len(sizes):
        raise refuse(context.node, f"expands {list(sizes)} to {wanted}; as many axes, each as it is or of 1, work")
    return _enlarged(context, target)


def tile(context: Context) -> Composed:
    repeats = _listed(context, "repeats")
    sizes = context.dimensions
    if len(repeats) != len(sizes) or min(repeats) < 1:
        raise refuse(context.node, f"repeats {list(sizes)} {repeats} times; it must be at least once, along each axis")
    return _enlarged(context, tuple(size * times for size, times in zip(sizes, repeats, strict=True)))


def _listed(context: Context, name: str) -> list[int]:
    context.data_is_first()
    Attributes(context.node).finish()
    found = context.constant(1, name)
    if found is None or found.ndim != 1 or found.dtype.kind not in "iu":
        raise refuse(context.node, f"its {name} must be a constant list of integers")
    return integer_list(context.node, name, found)


def _enlarged(context: Context, target: Dimensions) -> Composed:
    if target[0] != context.dimensions[0]:
        raise refuse(context.node, "repeats the images; only channels, rows and columns can be repeated")
    check_dimensions(describe(context.node), target)
    sizes, wanted = context.own(context.dimensions), context.own(target)
    return _repeated(context, context.name, context.current, context.output, sizes, wanted), {context.output: wanted}


def _repeated(
    context: Context, name: str, source: str, output: str, sizes: Dimensions, wanted: Dimensions
) -> list[FloatLayer]:
    """Layers that make ``output``, of the dimensions ``wanted``, of the map ``source``, of ``sizes``."""
    shape = image_of(sizes)
    channels, rows, columns = (now // before for now, before in zip(image_of(wanted), shape, strict=True))
    try:
        return repeat(name, context.operator, source, output, shape, (channels, rows, columns))
    except ValueError as error:
        raise refuse(context.node, f"joins {error} of rows or columns; at most {MOST} work") from error


def unexpanded(context: Context, expanded: Mapping[str, str]) -> Context:
    """``context``, reading tensors before they were ``expanded`` where its node makes the same of them."""
    target = _common(context, [context.sizes[name] for name in context.computed])
    for name in dict.fromkeys(context.computed):
        tried = context.reading({name: expanded.get(name, name)})
        if target is not None and _common(tried, [context.sizes[one] for one in tried.computed]) == target:
            context = tried
    return context
