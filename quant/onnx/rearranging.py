"""Operators that put values elsewhere: Slice, Gather, Split, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..graph import Shape
from ..networks.layers import Concatenation, FloatLayer, PixelShuffle
from ..networks.picking import MOST, pick
from .budget import INT32
from .context import Context, Dimensions, image_of
from .file import Attributes, check_parts, integer_list, refuse
from .view import VOLUME

Composed = tuple[list[FloatLayer], Mapping[str, Dimensions]]
"""Layers in order, and the dimensions of each of the node's outputs."""


def picked(context: Context, output: str, indices: Mapping[int, Sequence[int]], name: str = "") -> Composed:
    """The input's values at ``indices`` along axes of its dimensions, as ``output``."""
    node, sizes = context.node, context.dimensions
    images = indices.get(0, [])
    if len(images) not in (0, sizes[0]) or any(place != image for image, place in enumerate(images)):
        raise refuse(node, "takes some of the images; only channels, rows and columns can be selected")
    if any(not len(places) for places in indices.values()):
        raise refuse(node, "takes nothing; at least one value must be left")
    dimensions = tuple(len(indices[axis]) if axis and axis in indices else size for axis, size in enumerate(sizes))
    shape, wanted = image_of(context.own(sizes)), _of_image(context, indices)
    try:
        made = pick(name or context.name, context.operator, context.current, output, shape, wanted)
    except ValueError as error:
        raise refuse(node, f"takes rows or columns in {error} of evenly spaced ones; at most {MOST} work") from error
    return made, {output: context.own(dimensions)}


def _of_image(context: Context, indices: Mapping[int, Sequence[int]]) -> dict[int, Sequence[int]]:
    """``indices`` along axes of the input as those along channels, rows and columns, 0 to 2, of its map."""
    sizes = context.dimensions
    if len(sizes) != VOLUME:
        return {context.places[axis] - 1: places for axis, places in indices.items() if axis}
    found = {axis - 2: places for axis, places in indices.items() if axis > 2}
    if {1, 2} & set(indices):
        channels, slices = (indices.get(axis, range(sizes[axis])) for axis in (1, 2))
        found[0] = [number * sizes[1] + channel for number in slices for channel in channels]
    return found


def slice_(context: Context) -> Composed:
    context.data_is_first()
    node, sizes = context.node, context.dimensions
    attributes = Attributes(node)
    starts, ends = (_places(context, attributes, name, n) for n, name in ((1, "starts"), (2, "ends")))
    axes = context.axes(attributes, 10, len(sizes), 3) or list(range(len(starts)))
    steps = (context.integers(attributes, "steps", 10, 4) if context.opset >= 10 else None) or [1] * len(starts)
    attributes.finish()
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(starts) > len(sizes) or not all(steps):
        raise refuse(node, f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit {list(sizes)}")
    indices = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        indices[axis] = range(*slice(start, _end(end, sizes[axis], step), step).indices(sizes[axis]))
    return picked(context, context.output, indices)


def _places(context: Context, attributes: Attributes, name: str, index: int) -> list[int]:
    """``starts`` or ``ends``; exporters write the largest of 64 bits for "up to the end"."""
    found = attributes.raw(name, None) if context.opset < 10 else context.constant(index, name)
    places = np.asarray([] if found is None else found)
    if not places.size or places.dtype.kind not in "iu":
        raise refuse(context.node, f"its {name} are missing; they must be constants of integers")
    return integer_list(context.node, name, places.clip(INT32.start, INT32.stop - 1))


def _end(end: int, size: int, step: int) -> int | None:
    """ONNX's ``end`` as Python's: with a negative step, one before the first is none."""
    return None if step < 0 and end < -size else end


def dropped(context: Context) -> int | None:
    """The axis that falls away as a Gather takes one index of it; None if none does."""
    indices = context.constants.get(context.node.input[1]) if context.operator == "Gather" else None
    axis = next((item.i for item in context.node.attribute if item.name == "axis"), 0)
    return axis % len(context.dimensions) if indices is not None and indices.ndim == 0 else None


def gather(context: Context) -> Composed:
    context.data_is_first()
    node, sizes = context.node, context.dimensions
    attributes = Attributes(node)
    axis = attributes.integer("axis", 0)
    attributes.finish()
    indices = context.constant(1, "indices")
    if indices is None or indices.dtype.kind not in "iu" or indices.ndim > 1 or not -len(sizes) <= axis < len(sizes):
        raise refuse(node, "its indices must be a constant, a list of integers or one, along an axis that there is")
    axis %= len(sizes)
    size = sizes[axis]
    places = [index + size if index < 0 else index for index in indices.reshape(-1).tolist()]
    if not all(0 <= place < size for place in places):
        raise refuse(node, f"its indices {indices.tolist()} must be -{size} to {size - 1}")
    layers, made = picked(context, context.output, {axis: places})
    if indices.ndim or context.view is not None:  # of a view, placing knows which axis falls away
        return layers, made
    kept = made[context.output]
    left = (*kept[:axis], *kept[axis + 1 :])  # one index: its axis falls away
    if axis == 0 or len(left) < 2 or image_of(left) != image_of(kept):
        raise refuse(node, f"turns {list(sizes)} into {list(left)}, other axes; a list of one index keeps them")
    return layers, {context.output: left}


def split(context: Context) -> Composed:
    context.data_is_first()
    node, sizes = context.node, context.dimensions
    attributes = Attributes(node)
    axis = attributes.integer("axis", 0)
    count = attributes.integer("num_outputs", len(node.output))
    lengths = context.integers(attributes, "split", 13)
    attributes.finish()
    if not -len(sizes) <= axis < len(sizes) or count != len(node.output):
        raise refuse(node, f"axis is {axis} and num_outputs {count}; they must fit {list(sizes)} and its outputs")
    axis %= len(sizes)
    each = -(-sizes[axis] // count)
    if lengths is None:
        lengths = [min(each, sizes[axis] - n * each) for n in range(count)]
    if len(lengths) != count or sum(lengths) != sizes[axis] or min(lengths) < 1:
        raise refuse(node, f"splits {sizes[axis]} into {lengths}; they must be as many as its outputs, and add up")
    made: list[FloatLayer] = []
    dimensions: dict[str, Dimensions] = {}
    for number, (output, length) in enumerate(zip(node.output, lengths, strict=True)):
        first = sum(lengths[:number])
        if output:
            layers, size = picked(context, output, {axis: range(first, first + length)}, f"{context.name}/{number}")
            made += layers
            dimensions |= size
    return made, dimensions


def depth_to_space(context: Context) -> Composed:
    attributes = Attributes(context.node)
    block = attributes.integer("blocksize", 0)
    mode = attributes.text("mode", "DCR", "CRD")
    high, wide = attributes.integers("block", (block, block), 1)
    attributes.finish()
    shape = _whole_blocks(context, high, wide, channels=True)
    return shuffled(context, shape, (high, wide), rows_first=mode == "DCR")


def shuffled(context: Context, shape: Shape, block: tuple[int, int], *, rows_first: bool) -> Composed:
    """Channels as rows and columns.  rows_first: they are (block rows, block columns, C), else C comes first."""
    count = block[0] * block[1]
    channels = shape[0] // count
    source, made = context.current, []
    if not rows_first and channels > 1:
        order = [channel * count + place for place in range(count) for channel in range(channels)]
        source = f"{context.output}/channels"
        made += pick(f"{context.name}/channels", context.operator, context.current, source, shape, {0: order})
    layer = PixelShuffle(context.name, context.operator, (source,), context.output, block)
    size = channels, shape[1] * block[0], shape[2] * block[1]
    return [*made, layer], {context.output: context.like_input(size)}


def space_to_depth(context: Context) -> Composed:
    attributes = Attributes(context.node)
    block = attributes.integer("blocksize", 0)
    mode = attributes.text("mode", "DCR", "CRD")
    attributes.finish()
    channels, rows, columns = _whole_blocks(context, block, block, channels=False)
    check_parts(context.node, block * block)
    made: list[FloatLayer] = []
    for i in range(block):
        for j in range(block):
            places = {2: range(i, rows, block), 3: range(j, columns, block)}
            number = i * block + j
            made += picked(context, f"{context.output}/{number}", places, f"{context.name}/{number}")[0]
    parts = tuple(layer.output for layer in made)
    count, size = block * block, (channels * block * block, rows // block, columns // block)
    if mode == "DCR" or channels == 1:
        made.append(Concatenation(context.name, context.operator, parts, context.output))
    else:
        joined = f"{context.output}/parts"
        made.append(Concatenation(f"{context.name}/parts", context.operator, parts, joined))
        order = [place * channels + channel for channel in range(channels) for place in range(count)]
        made += pick(context.name, context.operator, joined, context.output, size, {0: order})
    return made, {context.output: context.like_input(size)}


def _whole_blocks(context: Context, high: int, wide: int, *, channels: bool) -> Shape:
    """The input's shape, if its channels, or its rows and columns, are whole blocks."""
    shape = context.image()
    if len(context.dimensions) != 4 or min(high, wide) < 1:
        raise refuse(context.node, f"its block of {high} x {wide} does not fit {list(context.dimensions)}")
    if (shape[0] % (high * wide)) if channels else (shape[1] % high or shape[2] % wide):
        raise refuse(context.node, f"{list(context.dimensions)} is not made of whole blocks of {high} x {wide}")
    return shape
