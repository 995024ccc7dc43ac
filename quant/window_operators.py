"""Conv and MaxPool: ONNX nodes whose windows slide over an image."""

from __future__ import annotations

import numpy as np

from .context import Built, Context, Dimensions
from .floats import Convolution, FloatLayer, Pooling, next_shape
from .onnx_file import Attributes, refuse
from .windows import ceil_pads, pads_of


def conv(context: Context) -> Built:
    context.data_is_first()
    node, (_, *size) = context.node, context.image()
    weights = context.floats(1, "weight")
    if weights is None or weights.ndim != 4 or 0 in weights.shape:
        shape = "missing" if weights is None else weights.shape
        raise refuse(node, f"its weights are {shape}; they must have 4 dimensions (outputs, inputs, rows, columns)")
    bias = context.floats(2, "bias")
    if bias is None:
        bias = np.zeros(weights.shape[0], np.float32)
    if bias.shape != weights.shape[:1]:
        raise refuse(
            node, f"its bias has shape {bias.shape}; it must have one value for each of {weights.shape[0]} outputs"
        )
    attributes = Attributes(node)
    kernel = _pair(attributes.integers("kernel_shape", _pair(weights.shape[2:]), 1))
    if kernel != weights.shape[2:]:
        raise refuse(
            node, f"kernel_shape is {list(kernel)}, but its weights have {list(weights.shape[2:])}; they must agree"
        )
    strides = _pair(attributes.integers("strides", (1, 1), 1))
    dilations = _pair(attributes.integers("dilations", (1, 1), 1))
    groups = attributes.integer("group", 1)
    if groups < 1:
        raise refuse(node, f"group is {groups}; it must be at least 1")
    pads = pads_of(attributes, _pair(tuple(size)), kernel, strides, dilations)
    attributes.finish()
    layer = Convolution(context.name, context.output, weights, bias, "Conv", strides, pads, dilations, groups)
    return layer, _image_after(context, layer)


def max_pool(context: Context) -> Built:
    node, (_, *size) = context.node, context.image()
    if len(node.output) > 1 and node.output[1]:
        raise refuse(node, f"its second output, the indices '{node.output[1]}', is not supported; remove it")
    attributes = Attributes(node)
    if attributes.raw("kernel_shape", None) is None:
        raise refuse(node, "kernel_shape is missing; it must be 2 values of at least 1")
    kernel = _pair(attributes.integers("kernel_shape", (1, 1), 1))
    strides = _pair(attributes.integers("strides", (1, 1), 1))
    dilations = attributes.integers("dilations", (1, 1), 1)
    if dilations != (1, 1):
        raise refuse(node, f"dilations is {list(dilations)}; only [1, 1] works")
    attributes.raw("storage_order", 0)  # orders the indices only
    pads = pads_of(attributes, _pair(tuple(size)), kernel, strides, (1, 1))
    if attributes.integer("ceil_mode", 0) and attributes.text("auto_pad", "NOTSET") == "NOTSET":
        pads = ceil_pads(_pair(tuple(size)), kernel, strides, pads)
    attributes.finish()
    for pad, length in zip(pads, kernel * 2, strict=True):
        if pad >= length:
            raise refuse(node, f"pads {list(pads)} must each be smaller than the kernel {list(kernel)}")
    layer = Pooling(context.name, context.output, kernel, strides, pads)
    return layer, _image_after(context, layer)


def _image_after(context: Context, layer: FloatLayer) -> Dimensions:
    return context.dimensions[0], *next_shape(layer, context.image())


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]
