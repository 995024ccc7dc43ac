"""Nodes of a QDQ model that compute constants, or are part of a quantized weight or bias."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from ..onnx.constants import Constants
from ..onnx.context import Dimensions
from ..onnx.importer import shape_of
from .linear import quantize_constant
from .parameters import Parameter, clipped, dequantized, moved


def taken(
    node: onnx.NodeProto,
    constants: Constants,
    parameters: dict[str, Parameter],
    sizes: Mapping[str, Dimensions],
    *,
    computed: bool,
) -> bool:
    """Whether ``node`` makes a constant or a parameter; then ``constants`` or ``parameters`` has it.

    sizes : of tensors that depend on the image;  computed : whether the node reads one
    """
    name = node.input[0] if node.input else ""
    if node.op_type == "Shape" and name in sizes:
        constants.add(node, shape_of(node, sizes[name]))
    elif name in parameters and not computed:
        parameters[node.output[0]] = moved(node, parameters[name])
    elif name in constants and node.op_type == "DequantizeLinear":
        parameters[node.output[0]] = dequantized(node, constants)
    elif name in constants and node.op_type == "QuantizeLinear":
        constants.add(node, quantize_constant(node, constants, constants[name]))
    elif name in constants and node.op_type == "Clip":
        constants.add(node, clipped(node, constants, constants[name]))
    else:
        return constants.fold(node)
    return True
