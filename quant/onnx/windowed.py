"""Conv, ConvTranspose and averages: ONNX nodes whose windows slide over an image, or over the row of N, C, L."""

from __future__ import annotations

import numpy as np

from ..graph import Pads, Pair
from ..networks.layers import (
    Average,
    Convolution,
    FloatLayer,
    TransposedConvolution,
)
from ..networks.shapes import next_shape
from .context import Built, Context
from .file import Attributes, check_parts, refuse
from .windows import ceil_pads, pads_of, transposed_window, window_pair


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


def conv_transpose(context: Context) -> Built:
    context.data_is_first()
    node, (channels, *size) = context.node, context.image()
    spatial = len(context.dimensions) - 2
    weights, bias = context.floats(1, "weight"), context.floats(2, "bias")
    attributes = Attributes(node)
    groups = attributes.integer("group", 1)
    if weights is None or weights.ndim != spatial + 2 or 0 in weights.shape or groups < 1 or channels % groups:
        shape = "missing" if weights is None else weights.shape
        raise refuse(node, f"its weights are {shape} with group {groups}; they must fit its {channels} input channels")
    if weights.shape[0] != channels:
        raise refuse(node, f"its weights are for {weights.shape[0]} input channels; it has {channels}")
    kernel = attributes.integers("kernel_shape", weights.shape[2:], 1)
    if kernel != weights.shape[2:]:
        raise refuse(
            node, f"kernel_shape is {list(kernel)}, but its weights have {list(weights.shape[2:])}; they must agree"
        )
    strides, dilations = (window_pair(attributes, name, spatial) for name in ("strides", "dilations"))
    pads, result = transposed_window(attributes, _pair(size), _pair((1, *kernel)[-2:]), strides, dilations, spatial)
    attributes.finish()
    check_parts(node, strides[0] * strides[1])
    # (groups, inputs of each, outputs of each, rows, columns): a convolution's has outputs before inputs
    apart = weights.reshape(groups, channels // groups, weights.shape[1], *_pair((1, *kernel)[-2:]))
    weights = np.ascontiguousarray(apart.transpose(0, 2, 1, 3, 4)).reshape(-1, *apart.shape[1:2], *apart.shape[3:])
    bias = np.zeros(len(weights), np.float32) if bias is None else bias
    if bias.shape != weights.shape[:1]:
        raise refuse(
            node, f"its bias has shape {bias.shape}; it must have one value for each of {len(weights)} outputs"
        )
    names = context.name, "ConvTranspose", (context.current,), context.output
    layer = TransposedConvolution(*names, weights, bias, result, strides, pads, dilations, groups)
    return layer, _image_after(context, layer)


def average_pool(context: Context) -> Built:
    attributes = Attributes(context.node)
    include_pad = bool(attributes.integer("count_include_pad", 0))
    kernel, strides, pads, ceil, dilations = pooling_window(context, attributes)
    attributes.finish()
    if dilations != (1, 1):
        raise refuse(context.node, f"dilations are {list(dilations)}; an average over neighbours, [1, 1], works")
    include_pad = include_pad and any(pads)  # what ceil_mode adds never counts
    pads = pads[0], pads[1], pads[2] + ceil[0], pads[3] + ceil[1]
    check_pads(context, pads, kernel)
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


def _global(context: Context) -> Average:
    _, rows, columns = context.image()
    return Average(context.name, context.operator, (context.current,), context.output, (rows, columns))


def pooling_window(context: Context, attributes: Attributes) -> tuple[Pair, Pair, Pads, Pair, Pair]:
    """Kernel, strides, pads without and growth with ceil_mode (rows below, columns to the right), and dilations."""
    node, (_, *size) = context.node, context.image()
    spatial = len(context.dimensions) - 2
    if attributes.raw("kernel_shape", None) is None:
        raise refuse(node, f"kernel_shape is missing; it must be {spatial} values of at least 1")
    kernel, strides, dilations = (
        window_pair(attributes, name, spatial) for name in ("kernel_shape", "strides", "dilations")
    )
    pads = pads_of(attributes, _pair(size), kernel, strides, dilations, spatial)
    ceil = (0, 0)
    if attributes.integer("ceil_mode", 0) and attributes.raw("auto_pad", b"NOTSET") == b"NOTSET":
        extent = dilations[0] * (kernel[0] - 1) + 1, dilations[1] * (kernel[1] - 1) + 1
        grown = ceil_pads(_pair(size), extent, strides, pads)
        ceil = grown[2] - pads[2], grown[3] - pads[3]
    return kernel, strides, pads, ceil, dilations


def check_pads(context: Context, pads: Pads, kernel: Pair) -> None:
    for amount, length in zip(pads, kernel * 2, strict=True):
        if amount >= length:
            raise refuse(context.node, f"pads {list(pads)} must each be smaller than the kernel {list(kernel)}")


def _image_after(context: Context, layer: FloatLayer) -> tuple[int, ...]:
    return context.like_input(next_shape(layer, [context.image()]))


def _pair(values: tuple[int, ...] | list[int]) -> Pair:
    return values[0], values[1]
