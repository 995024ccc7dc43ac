"""One layer of a QDQ model: the node between DequantizeLinear and QuantizeLinear, with its integer weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from ..graph import Conv, FeatureMap, Pads
from ..networks.layers import Average, Convolution, Function
from ..onnx.composed import COMPOSED
from ..onnx.context import Built, Context
from ..onnx.dense import kernel_places
from ..onnx.file import Attributes, refuse
from ..onnx.operators import BUILDERS
from ..onnx.view import Dimensions
from .linear import StoredGrid
from .parameters import Parameter, bias_of, weights_of
from .reals import Weighted


def one_layer(context: Context) -> Built:
    """The one layer of a node.  Raises ModelError if it becomes several."""
    if context.operator in BUILDERS:
        return BUILDERS[context.operator](context)
    layers, sizes = COMPOSED[context.operator](context)
    if len(layers) != 1:
        raise refuse(context.node, f"becomes {len(layers)} layers; in a quantized model it must be one")
    return layers[0], sizes[context.output]


def weighted(
    context: Context, parameters: Mapping[str, Parameter], source: FeatureMap, *, rounds: bool, of_mean: bool
) -> tuple[Weighted, Dimensions]:
    """The convolution or fully connected layer of ``context`` over ``source``; its output is named later.

    rounds : a float bias is rounded to the scale of the sums
    of_mean : it reads the mean of each channel, so every pixel has the same weights, ``w / count``
    """
    node = context.node
    name = node.input[1] if len(node.input) > 1 else ""
    if name not in parameters:
        raise refuse(node, f"its weights '{name}' are not quantized; they need a DequantizeLinear before")
    found = parameters[name]
    bias_name = node.input[2] if len(node.input) > 2 else ""
    bias: Parameter | np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None
    if bias_name:
        bias = parameters[bias_name] if bias_name in parameters else context.floats(2, "bias")
    built, sizes = BUILDERS[node.op_type](context)  # checks attributes and shapes: of zeros, here
    assert isinstance(built, Convolution)
    weights, scales = weights_of(node, found, 0 if node.op_type == "Conv" else _dense_outputs_axis(context))
    if node.op_type != "Conv":
        weights = weights[:, kernel_places(context).reshape(-1)]
    weights = weights.reshape(built.weights.shape)
    if of_mean:
        weights = np.broadcast_to(weights, (len(weights), *source.shape)).copy()
        scales = scales / np.float32(source.shape[1] * source.shape[2])
    layer = Conv(
        built.name,
        built.operator,
        source.name,
        "",
        weights,
        scales,
        np.zeros(len(weights), np.int64),
        strides=built.strides,
        pads=built.pads,
        dilations=built.dilations,
        groups=built.groups,
    )
    steps = np.zeros(len(scales)) if bias is None else bias_of(node, bias, source.scale * scales)
    return Weighted(layer, steps, exact=isinstance(bias, Parameter) or not rounds), sizes


def rounds_bias(name: str, readers: Mapping[str, list[onnx.NodeProto]]) -> bool:
    """Whether ONNX Runtime rounds a float bias added in ``name`` to the scale of the sums.

    It does where one Q ends the layer, perhaps after activation functions and max poolings (measured: version 1.32).
    """
    following = readers.get(name, [])
    if len(following) != 1:
        return False
    (node,) = following
    return node.op_type == "QuantizeLinear" or (
        node.op_type in ("Clip", "MaxPool", "Relu") and rounds_bias(node.output[0], readers)
    )


def constant_map(context: Context, constant: Parameter, source: FeatureMap) -> tuple[Conv, FeatureMap]:
    """A quantized constant for each channel as a map like ``source``: a convolution without weights, all bias."""
    channels = source.shape[0]
    integers = np.broadcast_to(constant.integers.reshape(-1), (channels,)).astype(np.int64)
    zero_point, scale = int(constant.zero_point.item()), np.float32(constant.scale.item())
    low, high = min(int(integers.min()), zero_point), max(int(integers.max()), zero_point)
    target = FeatureMap(f"{context.output}_constant", source.shape, scale, zero_point, low, high)
    flat = len(context.dimensions) == 2
    layer = Conv(
        f"{context.name}_constant",
        "Gemm" if flat else "Conv",
        source.name,
        "",
        np.zeros((channels, channels if flat else 1, 1, 1), np.int16),
        np.full(channels, scale / source.scale),
        integers - zero_point,
        groups=1 if flat else channels,
    )
    return layer, target


def _dense_outputs_axis(context: Context) -> int:
    attributes = Attributes(context.node)
    for name in ("alpha", "beta"):
        if attributes.real(name, 1.0) != 1.0:
            raise refuse(context.node, f"{name} is {attributes.real(name, 1.0):g}; only 1 works in a quantized model")
    return 0 if attributes.integer("transB", 0) else 1


def average_of(node: onnx.NodeProto, layer: Average, zeros: Pads | None) -> Average:
    """The average of ``node``, ``layer``, over a map that a Pad put ``zeros`` around; they count."""
    if layer.include_pad and any(layer.ceil):
        raise refuse(
            node,
            "has ceil_mode and count_include_pad, and windows that hang over its pads: ONNX Runtime divides by what"
            " they count or by the whole kernel, as it optimizes; put the pads into a Pad node between it and the"
            " DequantizeLinear before it",
        )
    if not zeros:
        return layer
    top, left, bottom, right = layer.pads
    if layer.include_pad or not any(layer.pads):
        ceil = (0, 0)
    elif top or left:
        raise refuse(node, f"has pads {list(layer.pads)} that do not count around a Pad's zeros, which do")
    else:
        ceil = bottom, right
    pads = zeros[0] + top, zeros[1] + left, zeros[2] + bottom, zeros[3] + right
    return replace(layer, pads=pads, include_pad=any(pads), ceil=ceil)


def clamp_function(name: str, low: float, high: float, source: FeatureMap, output: str) -> Function:
    """A clamp that stands alone, as a function."""
    if (low, high) == (0, np.inf):
        return Function(name, "Relu", (source.name,), output)
    return Function(name, "Clip", (source.name,), output, {"min": low, "max": high})


def rounded(low: float, high: float, grid: StoredGrid) -> tuple[int, int]:
    """The integers of ``grid`` that an activation function to the reals low..high leaves."""
    with np.errstate(over="ignore"):
        steps = [np.clip(np.float32(bound) / grid.scale, -(2.0**20), 2.0**20) for bound in (low, high)]
    bounds = [int(np.rint(step)) + grid.zero_point for step in steps]
    return max(grid.low, bounds[0]), min(grid.high, bounds[1])
