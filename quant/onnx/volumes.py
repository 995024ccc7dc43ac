"""Operators on volumes, N x C x D x H x W, as layers of images: convolutions and concatenations; all that there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np

from ..networks.layers import (
    Concatenation,
    Convolution,
    FloatLayer,
    Floats,
    TransposedConvolution,
    VolumeConvolution,
)
from ..networks.picking import pick
from ..networks.volumes import channels_of
from . import windowed
from .budget import check_dimensions
from .context import Context, Dimensions, image_of
from .file import Attributes, describe, refuse
from .rearranging import Composed, gather, slice_, split
from .view import VOLUME
from .volume_axes import Taps, Windows, check_count, check_taps, depth_of, plane_of
from .volume_pooling import average_pool, max_pool, reduce
from .windows import pads_of, transposed_window


def is_volume(context: Context) -> bool:
    """Whether the node reads one, where its maps did not take its place."""
    return context.view is None and any(len(context.sizes[name]) == VOLUME for name in context.computed)


def volume(context: Context) -> Composed:
    """Layers of a node that reads a volume.  Raises ModelError, naming it, if its operator does not do that."""
    if context.operator not in VOLUMES:
        sizes = " and ".join(str(list(context.sizes[name])) for name in context.computed)
        raise refuse(context.node, f"reads {sizes}, and does not work on volumes; {OTHERWISE[context.operator]}")
    return VOLUMES[context.operator](context)


def conv(context: Context) -> Composed:
    context.data_is_first()
    node, (_, channels, depth, *_) = context.node, context.dimensions
    groups = Attributes(node).integer("group", 1)
    weights = _weights(context, "outputs, inputs")
    outputs, inputs, slices = weights.shape[:3]
    if inputs * groups != channels:
        raise refuse(node, f"its weights are {weights.shape} with group {groups}; its input has {channels} channels")
    flat = weights.transpose(0, 2, 1, 3, 4).reshape(outputs, slices * inputs, *weights.shape[3:])
    plane, dimensions = windowed.conv(plane_of(context, slices * channels, flat))
    assert isinstance(plane, Convolution)
    attributes, stride, dilation = depth_of(context, slices)
    pads = pads_of(attributes, (1, depth), (1, slices), (1, stride), (1, dilation), 1)
    window = Windows(depth, slices, stride, dilation, pads[1], pads[3])
    return _convolution(context, plane, slices, window.taps(context), dimensions)


def conv_transpose(context: Context) -> Composed:
    context.data_is_first()
    node, (_, channels, depth, *_) = context.node, context.dimensions
    groups = Attributes(node).integer("group", 1)
    weights = _weights(context, "inputs, outputs")
    inputs, outputs, slices = weights.shape[:3]
    if inputs != channels or groups < 1 or channels % groups:
        raise refuse(node, f"its weights are {weights.shape} with group {groups}; its input has {channels} channels")
    apart = weights.reshape(groups, channels // groups, *weights.shape[1:]).transpose(0, 3, 1, 2, 4, 5)
    flat = apart.reshape(slices * channels, outputs, *weights.shape[3:])
    plane, dimensions = windowed.conv_transpose(plane_of(context, slices * channels, flat))
    assert isinstance(plane, TransposedConvolution)
    attributes, stride, dilation = depth_of(context, slices)
    (_, pad), (_, size) = transposed_window(attributes, (1, depth), (1, slices), (1, stride), (1, dilation), 1)
    check_count(context, size)
    check_taps(context, min(depth * slices, size * slices))
    taps = tuple(
        tuple(
            ((number + pad - tap * dilation) // stride, tap)
            for tap in range(slices)
            if (number + pad - tap * dilation) % stride == 0 and 0 <= number + pad - tap * dilation < stride * depth
        )
        for number in range(size)
    )
    return _convolution(context, plane, slices, taps, dimensions)


def _weights(context: Context, axes: str) -> Floats:
    weights = context.floats(1, "weight")
    if weights is None or weights.ndim != VOLUME or 0 in weights.shape:
        shape = "missing" if weights is None else weights.shape
        raise refuse(
            context.node, f"its weights are {shape}; they must have {VOLUME} dimensions ({axes}, slices, rows, columns)"
        )
    return weights


def _convolution(
    context: Context,
    plane: Convolution | TransposedConvolution,
    slices: int,
    taps: tuple[Taps, ...],
    dimensions: Dimensions,
) -> Composed:
    """dimensions : of a slice of the result"""
    names = context.name, context.operator, (context.current,), context.output
    batch, outputs, *size = dimensions
    return [VolumeConvolution(*names, plane, slices, taps)], {context.output: (batch, outputs, len(taps), *size)}


def concat(context: Context) -> Composed:
    """Along the channels slice by slice, which is an order of the joined map's; along slices as they are."""
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", 1)
    attributes.finish()
    sizes = [context.sizes[name] for name in context.computed]
    axis = axis % VOLUME if -VOLUME <= axis < VOLUME else 0
    apart = {(*size[:axis], *size[axis + 1 :]) for size in sizes}
    if len(context.computed) != len(context.node.input) or {len(size) for size in sizes} != {VOLUME} or not axis:
        raise refuse(context.node, "joins what are no volumes, or their images; only volumes work, along axes 1 to 4")
    if len(apart) > 1:
        shapes = ", ".join(str(list(size)) for size in sizes)
        raise refuse(context.node, f"joins volumes of shapes {shapes}; only their axis {axis} may differ")
    first = sizes[0]
    dimensions = (*first[:axis], sum(size[axis] for size in sizes), *first[axis + 1 :])
    check_dimensions(describe(context.node), dimensions)
    ordered = axis == 1 and first[2] > 1
    joined = f"{context.output}/slices" if ordered else context.output
    name = f"{context.name}/slices" if ordered else context.name
    made: list[FloatLayer] = [Concatenation(name, "Concat", context.computed, joined, max(1, axis - 1))]
    if ordered:
        ends = np.cumsum([0, *(size[1] * size[2] for size in sizes)])
        order = [
            int(end) + place
            for number in range(first[2])
            for end, size in zip(ends, sizes, strict=False)
            for place in channels_of([number], size[1])
        ]
        made += pick(context.name, "Concat", joined, context.output, image_of(dimensions), {0: order})
    return made, {context.output: dimensions}


OTHERWISE: Mapping[str, str] = defaultdict(
    lambda: "convolutions, poolings and what treats each value or channel alone do",
    {
        "LRN": "BatchNormalization does",
        "Pad": "zeros around it are pads of the Conv that reads it",
        "Resize": "by whole factors a ConvTranspose with fixed weights and as many groups as channels does the same",
        "Upsample": "by whole factors a ConvTranspose with fixed weights and as many groups as channels does the same",
    },
)
"""What works in place of operators that do not."""

VOLUMES: Mapping[str, Callable[[Context], Composed]] = {
    "AveragePool": average_pool,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gather": gather,
    "GlobalAveragePool": reduce,
    "GlobalMaxPool": reduce,
    "MaxPool": max_pool,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Slice": slice_,
    "Split": split,
}
"""Operators that read volumes as such; for what treats each value or channel alone they are maps like others."""
