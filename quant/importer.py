"""ONNX to the float network: one layer for each node that depends on the image, refusing what is not understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from .constants import fold
from .context import Context, Dimensions, image_of
from .errors import ModelError
from .float_shapes import shapes
from .floats import FloatGraph, FloatLayer
from .onnx_file import STANDARD_DOMAINS, Array, image_dimensions, initializers, load_model, opset, refuse, single_input
from .operators import BUILDERS


def import_onnx(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network in an ONNX model (path or ModelProto), layer for layer as the exporter wrote it.

    Raises ModelError, naming node, operator and attribute, for anything that is not a supported operator.
    """
    model = load_model(source)
    version = opset(model)
    constants = initializers(model)
    value = single_input(model, constants)
    sizes: dict[str, Dimensions] = {value.name: image_dimensions(value)}
    layers: list[FloatLayer] = []
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS:
            raise refuse(node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are")
        if node.op_type == "Shape" and node.input and node.input[0] in sizes:
            constants[node.output[0]] = shape_of(node, sizes[node.input[0]])
            continue
        folded = fold(node, constants, version)
        if folded is not None:
            constants.update(folded)
            continue
        for name in node.input:
            if name and name not in constants and name not in sizes:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
        builder = BUILDERS.get(node.op_type)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("QLinear"):
            raise refuse(node, "the model is quantized already; quantize the float model that it was made from")
        if builder is None:
            raise refuse(node, f"operator {node.op_type} is not supported; {', '.join(sorted(BUILDERS))} are")
        layer, dimensions = builder(Context(node, constants, sizes, version))
        layers.append(layer)
        sizes[layer.output] = dimensions
    output = model.graph.output[0].name
    if not layers:
        raise ModelError("the model has no layers; there is nothing to quantize")
    if output not in sizes:
        raise ModelError(f"the output '{output}' is not what any node makes from the input")
    graph = FloatGraph(value.name, image_of(sizes[value.name]), output, tuple(_needed(layers, output)))
    shapes(graph)
    return graph


def _needed(layers: list[FloatLayer], output: str) -> list[FloatLayer]:
    """Those of ``layers``, in execution order, that ``output`` depends on."""
    wanted, found = {output}, []
    for layer in reversed(layers):
        if layer.output in wanted:
            wanted |= set(layer.inputs)
            found.append(layer)
    return found[::-1]


def shape_of(node: onnx.NodeProto, dimensions: tuple[int, ...]) -> Array:
    """What a Shape node says of a tensor of ``dimensions``, from its ``start`` to its ``end`` (ONNX Shape-15)."""
    start, end = 0, len(dimensions)
    for item in node.attribute:
        if item.name == "start":
            start = item.i
        elif item.name == "end":
            end = item.i
    return np.array(dimensions[start:end], np.int64)
