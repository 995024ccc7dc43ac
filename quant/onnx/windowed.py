"""Conv, MaxPool, averages and Pad: ONNX nodes whose windows slide over an image, or over the row of N, C, L."""

from __future__ import annotations

import numpy as np

from ..graph import Pads, Pair
from ..networks.layers import (
    Average,
    Convolution,
    FloatLayer,
    Padding,
    Pooling,
)
from ..networks.shapes import next_shape
from .context import Built, Context
from .file import Attributes, refuse
from .windows import ceil_pads, pads_of, window_pair


def conv(context: Context) -> Built:
    context.data_is_first()
    node, (_, *size) = context.node, context.image()
    weights = context.floats(1, "weight")
    rank = len(context.dimensions)
    if weights is None or weights.ndim != rank or 0 in weights.shape:
        shape = "missing" if weights is None else weights.shape
        axes = "outputs, inputs, rows, columns" if rank == 4 else "outputs, inputs, columns"
        raise refuse(node, f"its weights are {shape}; they must have {rank} dimensions ({axes})")
    bias = context.floats(2, "bias")
    if bias is None:
        bias = np.zeros(weights.shape[0], np.float32)
    if bias.shape != weights.shape[:1]:
        raise refuse(
            node, f"its bias has shape {bias.shape}; it must have one value for each of {weights.shape[0]} outputs"
        )
    attributes = Attributes(node)
    kernel = attributes.integers("kernel_shape", weights.shape[2:], 1)
    if kernel != weights.shape[2:]:
        raise refuse(
            node, f"kernel_shape is {list(kernel)}, but its weights have {list(weights.shape[2:])}; they must agree"
        )
    weights = weights.reshape(*weights.shape[:2], *_pair((1, *kernel)[-2:]))
    strides, dilations = (window_pair(attributes, name, rank - 2) for name in ("strides", "dilations"))
    groups = attributes.integer("group", 1)
    if groups < 1:
        raise refuse(node, f"group is {groups}; it must be at least 1")
    pads = pads_of(attributes, _pair(size), _pair(weights.shape[2:]), strides, dilations, rank - 2)
    attributes.finish()
    layer = Convolution(
        context.name, "Conv", (context.current,), context.output, weights, bias, strides, pads, dilations, groups
    )
    return layer, _image_after(context, layer)


def max_pool(context: Context) -> Built:
    node = context.node
    if len(node.output) > 1 and node.output[1]:
        raise refuse(node, f"its second output, the indices '{node.output[1]}', is not supported; remove it")
    attributes = Attributes(node)
    attributes.raw("storage_order", 0)  # orders the indices only
    kernel, strides, pads, ceil = _pooling_window(context, attributes)
    attributes.finish()
    pads = pads[0], pads[1], pads[2] + ceil[0], pads[3] + ceil[1]
    _check_pads(context, pads, kernel)
    layer = Pooling(context.name, "MaxPool", (context.current,), context.output, kernel, strides, pads)
    return layer, _image_after(context, layer)


def average_pool(context: Context) -> Built:
    attributes = Attributes(context.node)
    include_pad = bool(attributes.integer("count_include_pad", 0))
    kernel, strides, pads, ceil = _pooling_window(context, attributes)
    attributes.finish()
    include_pad = include_pad and any(pads)  # what ceil_mode adds never counts
    pads = pads[0], pads[1], pads[2] + ceil[0], pads[3] + ceil[1]
    _check_pads(context, pads, kernel)
    names = (context.name, "AveragePool", (context.current,), context.output)
    layer = Average(*names, kernel, strides, pads, include_pad, ceil if include_pad else (0, 0))
    channels, *size = context.image()
    if next_shape(layer, [context.image()]) == (channels, 1, 1) and _covers(layer, size):
        layer = Average(*names, _pair(size))
    return layer, _image_after(context, layer)


def _covers(layer: Average, size: list[int]) -> bool:
    """Whether the only window takes the whole map of ``size``, and counts nothing else."""
    starts = layer.pads[:2]
    return not layer.include_pad and all(
        kernel - before >= length for kernel, before, length in zip(layer.kernel, starts, size, strict=True)
    )


def global_average_pool(context: Context) -> Built:
    Attributes(context.node).finish()
    layer = _global(context)
    return layer, _image_after(context, layer)


def reduce_mean(context: Context) -> Built:
    attributes = Attributes(context.node)
    keeps = attributes.integer("keepdims", 1)
    nothing = attributes.integer("noop_with_empty_axes", 0)
    rank = len(context.dimensions)
    axes = sorted(context.axes(attributes, 18, rank))
    attributes.finish()
    if axes != list(range(2, rank)) or rank == 2:
        none = "no axis" if nothing else "every axis"
        raise refuse(context.node, f"takes the mean over {axes or none}; only over all rows and columns works")
    layer = _global(context)
    return layer, _image_after(context, layer) if keeps else context.dimensions[:2]


def _global(context: Context) -> Average:
    _, rows, columns = context.image()
    return Average(context.name, context.operator, (context.current,), context.output, (rows, columns))


def pad(context: Context) -> Built:
    context.data_is_first()
    node, rank = context.node, len(context.dimensions)
    attributes = Attributes(node)
    attributes.text("mode", "constant")
    value = attributes.real("value", 0.0)
    amounts = context.integers(attributes, "pads", 11) or []
    order = context.axes(attributes, 18, rank, 3) if context.opset >= 18 else []
    order = order or list(range(rank))
    attributes.finish()
    given = context.floats(2, "value")
    if given is not None and given.size:
        value = float(given.flat[0])
    if value != 0:
        raise refuse(node, f"pads with {value:g}; only 0 works")
    if len(amounts) != 2 * len(order):
        raise refuse(node, f"pads are {amounts}; there must be two for each of {len(order)} axes")
    before, after = ([0, 0, *[0] * rank] for _ in range(2))
    for axis, first, last in zip(order, amounts[: len(order)], amounts[len(order) :], strict=True):
        before[axis + 2], after[axis + 2] = first, last
    if any(before[2:4]) or any(after[2:4]) or min(*before, *after) < 0 or rank == 2:
        raise refuse(node, f"pads are {amounts}; only rows and columns can be padded, by 0 or more")
    found = before[-2] if rank == 4 else 0, before[-1], after[-2] if rank == 4 else 0, after[-1]
    layer = Padding(context.name, "Pad", (context.current,), context.output, found)
    return layer, _image_after(context, layer)


def _pooling_window(context: Context, attributes: Attributes) -> tuple[Pair, Pair, Pads, Pair]:
    """Kernel, strides, pads without and growth with ceil_mode (rows below, columns to the right)."""
    node, (_, *size) = context.node, context.image()
    spatial = len(context.dimensions) - 2
    if attributes.raw("kernel_shape", None) is None:
        raise refuse(node, f"kernel_shape is missing; it must be {spatial} values of at least 1")
    kernel, strides, dilations = (
        window_pair(attributes, name, spatial) for name in ("kernel_shape", "strides", "dilations")
    )
    if dilations != (1, 1):
        raise refuse(node, f"dilations is {list(dilations)[-spatial:]}; only {[1] * spatial} works")
    pads = pads_of(attributes, _pair(size), kernel, strides, (1, 1), spatial)
    ceil = (0, 0)
    if attributes.integer("ceil_mode", 0) and attributes.raw("auto_pad", b"NOTSET") == b"NOTSET":
        grown = ceil_pads(_pair(size), kernel, strides, pads)
        ceil = grown[2] - pads[2], grown[3] - pads[3]
    return kernel, strides, pads, ceil


def _check_pads(context: Context, pads: Pads, kernel: Pair) -> None:
    for amount, length in zip(pads, kernel * 2, strict=True):
        if amount >= length:
            raise refuse(context.node, f"pads {list(pads)} must each be smaller than the kernel {list(kernel)}")


def _image_after(context: Context, layer: FloatLayer) -> tuple[int, ...]:
    return context.like_input(next_shape(layer, [context.image()]))


def _pair(values: tuple[int, ...] | list[int]) -> Pair:
    return values[0], values[1]
