"""MaxPool, also dilated, and what reduces whole axes: GlobalMaxPool, ReduceMax, ReduceMean, ReduceSum."""

from __future__ import annotations

from itertools import product
from math import gcd, prod
from typing import NamedTuple

import numpy as np

from ..graph import Pair, window_outputs
from ..networks.layers import (
    Affine,
    Average,
    Convolution,
    FloatLayer,
    Pooling,
)
from ..networks.picking import interleave, pick
from .context import Context, Dimensions, image_of
from .file import Attributes, check_parts, refuse
from .rearranging import Composed, picked
from .windowed import check_pads, pooling_window


def max_pool(context: Context) -> Composed:
    node, attributes = context.node, Attributes(context.node)
    if len(node.output) > 1 and node.output[1]:
        raise refuse(node, f"its second output, the indices '{node.output[1]}', is not supported; remove it")
    attributes.raw("storage_order", 0)  # orders the indices only
    kernel, strides, pads, ceil, dilations = pooling_window(context, attributes)
    attributes.finish()
    pads = pads[0], pads[1], pads[2] + ceil[0], pads[3] + ceil[1]
    extent = dilations[0] * (kernel[0] - 1) + 1, dilations[1] * (kernel[1] - 1) + 1
    check_pads(context, pads, extent)
    shape = context.image()
    sizes = [window_outputs(shape[1 + n], kernel[n], strides[n], pads[n], pads[n + 2], dilations[n]) for n in (0, 1)]
    if min(sizes) < 1:
        raise refuse(node, f"kernel {kernel} is larger than its padded input of shape {shape}; use a larger image")
    size = sizes[0], sizes[1]
    if dilations == (1, 1):
        names = context.name, "MaxPool", (context.current,), context.output
        made: list[FloatLayer] = [Pooling(*names, kernel, strides, pads)]
    else:
        check_parts(node, prod(each // gcd(each, stride) for each, stride in zip(dilations, strides, strict=True)))
        phases = [_phases(context, n, kernel[n], strides[n], dilations[n], (pads[n], size[n])) for n in (0, 1)]
        made = _dilated(context, kernel, phases[0], phases[1], size)
    return made, {context.output: context.like_input((shape[0], *size))}


class _Phase(NamedTuple):
    """Of every ``dilation``-th value from ``first`` on, ``values`` of them, windows at ``stride``, between pads."""

    first: int
    dilation: int
    values: int
    stride: int
    before: int
    after: int
    results: int


def _phases(context: Context, axis: int, kernel: int, stride: int, dilation: int, window: Pair) -> list[_Phase]:
    """Windows along one axis, those that meet the same values together.  window : pad before, and number of results."""
    pad, results = window
    length, common = context.image()[1 + axis], gcd(stride, dilation)
    phases = []
    together = dilation // common
    for place in range(together):
        begin = place * stride - pad
        residue, skipped = begin % dilation, begin // dilation
        first, before = residue + max(0, skipped) * dilation, max(0, -skipped)
        count = max(0, -(-(length - first) // dilation))
        each = -(-results // together)
        needed = (each - 1) * (stride // common) + kernel - before
        phase = _Phase(first, dilation, min(count, needed), stride // common, before, max(0, needed - count), each)
        if phase.values < 1 or max(phase.before, phase.after) >= kernel:
            raise refuse(
                context.node,
                f"dilation {dilation} with stride {stride} leaves windows in padding alone; a stride of 1 or a multiple"
                " of the dilation works on images that are large enough",
            )
        phases.append(phase)
    return phases


def _dilated(context: Context, kernel: Pair, rows: list[_Phase], columns: list[_Phase], size: Pair) -> list[FloatLayer]:
    """A pooling without dilation for each phase; their results interleave."""
    made: list[FloatLayer] = []
    operator, shape, output = context.operator, context.image(), context.output
    block = len(rows), len(columns)
    parts = [output] if block == (1, 1) else [f"{output}/{number}" for number in range(prod(block))]
    for number, (part, (down, across)) in enumerate(zip(parts, product(rows, columns), strict=True)):
        name, taken = f"{context.name}/{number}", f"{output}/{number}/taken"
        places = {
            axis: range(one.first, one.first + one.dilation * one.values, one.dilation)
            for axis, one in ((1, down), (2, across))
        }
        made += pick(f"{name}/taken", operator, context.current, taken, shape, places)
        pads = down.before, across.before, down.after, across.after
        made.append(Pooling(name, operator, (taken,), part, kernel, (down.stride, across.stride), pads))
    if parts != [output]:
        made += interleave(context.name, operator, parts, output, (shape[0], *size), block)
    return made


def global_max_pool(context: Context) -> Composed:
    Attributes(context.node).finish()
    context.image()  # or it is refused
    return _reduced(context, list(range(2, len(context.dimensions))), keeps=True)


def reduce(context: Context) -> Composed:
    """ReduceMax over rows and columns; ReduceMean and ReduceSum over them and the channels."""
    attributes = Attributes(context.node)
    keeps = bool(attributes.integer("keepdims", 1))
    nothing = attributes.integer("noop_with_empty_axes", 0)
    rank = len(context.dimensions)
    axes = sorted(context.axes(attributes, 13 if context.operator == "ReduceSum" else 18, rank))
    attributes.finish()
    if not axes and nothing:
        return picked(context, context.output, {})
    axes = axes or list(range(rank))
    if axes[0] == 0 or (axes[0] == 1 and context.operator == "ReduceMax"):
        works = "rows and columns" if context.operator == "ReduceMax" else "channels, rows and columns"
        raise refuse(context.node, f"reduces axes {axes}; only {works} work")
    return _reduced(context, axes, keeps)


def _reduced(context: Context, axes: list[int], keeps: bool) -> Composed:
    sizes = context.dimensions
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    after: Dimensions = kept if keeps else tuple(size for axis, size in enumerate(sizes) if axis not in axes)
    shape, left = image_of(sizes), image_of(kept)
    if len(after) < 2 or image_of(after) != left:
        raise refuse(context.node, f"turns {list(sizes)} into {list(after)}, other axes; keepdims=1 works")
    channels, rows, columns = shape
    kernel = (rows if left[1] < rows else 1), (columns if left[2] < columns else 1)
    current, output, operator = context.current, context.output, context.operator
    made: list[FloatLayer] = []
    total = operator == "ReduceSum"
    if operator.endswith("Mean") or total:
        if kernel != (1, 1) or axes == [axis for axis in axes if axis > 1]:
            name, last = _names(context, f"{output}/mean" if 1 in axes or total else "")
            made.append(Average(name, operator, (current,), last, kernel))
            current = last
        factor = prod(kernel) if total else 1
        if 1 in axes:
            share = 1 if total else channels
            weights = np.full((1, channels, 1, 1), factor / share, np.float32)
            made.append(Convolution(context.name, "Conv", (current,), output, weights, np.zeros(1, np.float32)))
        elif total:
            scale = np.full(channels, float(factor))
            made.append(Affine(context.name, operator, (current,), output, scale, np.zeros(channels)))
    else:
        made.append(Pooling(context.name, operator, (current,), output, kernel, (1, 1), (0, 0, 0, 0)))
    return made, {output: after}


def _names(context: Context, output: str) -> tuple[str, str]:
    """Of a layer that makes ``output``, or, if that is "", the node's: its name and its output's."""
    return (f"{context.name}/mean", output) if output else (context.name, context.output)
