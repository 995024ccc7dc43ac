"""One layer of a QDQ model: the node between DequantizeLinear and QuantizeLinear, with its integer weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..graph import Conv, FeatureMap
from ..networks.layers import Convolution, Function
from ..onnx.context import Context
from ..onnx.dense import kernel_places
from ..onnx.file import Attributes, refuse
from ..onnx.operators import BUILDERS
from ..onnx.view import Dimensions
from .linear import StoredGrid
from .parameters import Parameter, bias_of, weights_of


def conv_layer(context: Context, parameters: Mapping[str, Parameter], source: FeatureMap) -> tuple[Conv, Dimensions]:
    """The convolution or fully connected layer of ``context`` over ``source``; its output is named later."""
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
    layer = Conv(
        built.name,
        built.operator,
        source.name,
        "",
        weights.reshape(built.weights.shape),
        scales,
        np.zeros(len(weights), np.int64),
        strides=built.strides,
        pads=built.pads,
        dilations=built.dilations,
        groups=built.groups,
    )
    if bias is not None:
        layer = replace(layer, bias=bias_of(node, bias, source.scale * scales))
    return layer, sizes


def _dense_outputs_axis(context: Context) -> int:
    attributes = Attributes(context.node)
    for name in ("alpha", "beta"):
        if attributes.real(name, 1.0) != 1.0:
            raise refuse(context.node, f"{name} is {attributes.real(name, 1.0):g}; only 1 works in a quantized model")
    return 0 if attributes.integer("transB", 0) else 1


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
