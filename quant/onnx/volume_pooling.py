"""MaxPool, AveragePool and what reduces whole axes, of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from ..networks.layers import (
    Affine,
    Average,
    Concatenation,
    Extreme,
    FloatLayer,
    PixelShuffle,
    Pooling,
)
from ..networks.picking import pick
from ..networks.volumes import channels_of
from . import pooling, windowed
from .context import Context, Dimensions, image_of
from .file import Attributes, refuse
from .rearranging import Composed
from .view import VOLUME
from .volume_axes import plane_of, windows_of


@dataclass
class _Slices:
    """Layers on some slices of the map ``source``, of (channels, rows, columns) each, which make the node's output."""

    context: Context
    source: str
    shape: tuple[int, int, int]
    depth: int
    made: list[FloatLayer] = field(default_factory=list)
    taken: dict[tuple[int, ...], str] = field(default_factory=dict)

    def take(self, places: Sequence[int], output: str = "") -> str:
        """The map of the slices at ``places``, one after another."""
        key = tuple(places)
        if not output and key == tuple(range(self.depth)):
            return self.source
        if output or key not in self.taken:
            number = f"slices{len(self.taken)}"
            name = self.context.name if output else f"{self.context.name}/{number}"
            output = output or f"{self.context.output}/{number}"
            channels, rows, columns = self.shape
            whole = channels * self.depth, rows, columns
            wanted = {0: channels_of(key, channels)}
            self.made += pick(name, self.context.operator, self.source, output, whole, wanted)
            self.taken[key] = output
        return self.taken[key]

    def join(self, parts: Sequence[str]) -> None:
        self.made.append(Concatenation(self.context.name, "Concat", tuple(parts), self.context.output))


def max_pool(context: Context) -> Composed:
    """Over rows and columns at once for all slices, and then over slices: a maximum of maxima is exact."""
    plane, window = plane_of(context), windows_of(context)
    taps, source = window.taps(context), context.output
    if not all(taps):
        raise refuse(context.node, "has windows in the padding alone; pads below the kernel work")
    alone = taps == tuple(((place, 0),) for place in range(window.depth))
    if not alone:
        source = plane.node.output[0] = f"{context.output}/planes"
        plane.node.name = f"{context.name}/planes"
    layers, made = pooling.max_pool(plane)
    (batch, _, rows, columns), channels = made[source], context.dimensions[1]
    result = {context.output: (batch, channels, len(taps), rows, columns)}
    if alone:
        return layers, result
    if isinstance(layers[0], Pooling) and layers[0].kernel == layers[0].strides == (1, 1):
        layers, source = [], context.current
    slices = _Slices(context, source, (channels, rows, columns), window.depth, layers)
    if window.kernel == 1:
        slices.take([place for ((place, _),) in taps], context.output)
        return slices.made, result
    ends = [context.output] if len(taps) == 1 else [f"{context.output}/{number}" for number in range(len(taps))]
    parts = []
    for number, (inside, end) in enumerate(zip(taps, ends, strict=True)):
        current = slices.take([inside[0][0]], end if len(taps) == len(inside) == 1 else "")
        for step, (place, _) in enumerate(inside[1:], start=2):
            last = step == len(inside)
            names = f"{context.name}/{number}.{step}", "Max", (current, slices.take([place]))
            current = end if last else f"{end}.{step}"
            slices.made.append(Extreme(*names, current))
        parts.append(current)
    if len(taps) > 1:
        slices.join(parts)
    return slices.made, result


def average_pool(context: Context) -> Composed:
    """Each slice of the result is the exact average over a window of an image of ``interleaved`` slices."""
    window, (batch, channels, _, *size) = windows_of(context), context.dimensions
    taps = window.taps(context)
    include = bool(Attributes(context.node).integer("count_include_pad", 0))
    plane, dimensions = windowed.average_pool(plane_of(context, channels))
    assert isinstance(plane, Average)
    if not all(taps):
        raise refuse(context.node, "has windows in the padding alone; pads below the kernel work")
    slices = _Slices(context, context.current, (channels, size[0], size[1]), window.depth)
    single, parts = len(taps) == 1, []
    for number, inside in enumerate(taps):
        name = context.name if single else f"{context.name}/{number}"
        end = context.output if single else f"{context.output}/{number}"
        share = len(inside) / window.counted(number) if include else 1.0
        made = f"{end}/inside" if share < 1 else end
        source, count = slices.take([place for place, _ in inside]), len(inside)
        if count > 1:
            slices.made.append(PixelShuffle(f"{name}/rows", context.operator, (source,), f"{end}/rows", (count, 1)))
            source = f"{end}/rows"
        taller = _taller(plane, count, single=dimensions[2] == 1)
        called = f"{name}/inside" if share < 1 else name
        slices.made.append(replace(taller, name=called, inputs=(source,), output=made))
        if share < 1:  # zeros around it count too
            shift = np.zeros(channels)
            slices.made.append(Affine(name, context.operator, (made,), end, np.full(channels, share), shift))
        parts.append(end)
    if not single:
        slices.join(parts)
    return slices.made, {context.output: (batch, channels, len(taps), *dimensions[2:])}


def _taller(plane: Average, count: int, *, single: bool) -> Average:
    """``plane`` over an image whose rows are those of ``count`` slices in turn.  single : whether it makes one row"""
    top, left, bottom, right = plane.pads
    return replace(
        plane,
        kernel=(plane.kernel[0] * count, plane.kernel[1]),
        strides=(1 if single else plane.strides[0] * count, plane.strides[1]),
        pads=(top * count, left, bottom * count, right),
        ceil=(plane.ceil[0] * count, plane.ceil[1]),
    )


def reduce(context: Context) -> Composed:
    """GlobalAveragePool, GlobalMaxPool, ReduceMax, ReduceMean and ReduceSum, over slices, and rows and columns or not.

    One window over an image whose rows are those of all slices in turn, so that an average is rounded once.
    """
    attributes, operator = Attributes(context.node), context.operator
    axes, keeps = [2, 3, 4], True
    if operator.startswith("Reduce"):
        keeps = bool(attributes.integer("keepdims", 1))
        attributes.integer("noop_with_empty_axes", 0)
        axes = sorted(context.axes(attributes, 13 if operator == "ReduceSum" else 18, VOLUME))
    attributes.finish()
    if not axes or not set(axes) <= {2, 3, 4}:
        raise refuse(context.node, f"reduces axes {axes} of a volume; only slices, rows and columns, 2 to 4, work")
    sizes = context.dimensions
    _, channels, depth, rows, columns = sizes
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(sizes))
    after: Dimensions = kept if keeps else tuple(size for axis, size in enumerate(sizes) if axis not in axes)
    if image_of(after) != image_of(kept):
        raise refuse(context.node, f"turns {list(sizes)} into {list(after)}, other axes; keepdims=1 works")
    kernel = (depth * rows if 3 in axes else depth), (columns if 4 in axes else 1)
    strides = (1 if 3 in axes else depth), 1
    source, last = f"{context.output}/rows", context.output
    made: list[FloatLayer] = [
        PixelShuffle(f"{context.name}/rows", operator, (context.current,), source, (depth, 1)),
    ]
    if operator.endswith(("Max", "MaxPool")):
        return [*made, Pooling(context.name, operator, (source,), last, kernel, strides, (0, 0, 0, 0))], {last: after}
    if operator == "ReduceSum":
        factor = np.full(channels, float(prod(sizes[axis] for axis in axes)))
        mean = f"{last}/mean"
        total = Affine(context.name, operator, (mean,), last, factor, np.zeros(channels))
        return [*made, Average(f"{context.name}/mean", operator, (source,), mean, kernel, strides), total], {
            last: after
        }
    return [*made, Average(context.name, operator, (source,), last, kernel, strides)], {last: after}
