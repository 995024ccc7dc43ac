"""ONNX to the float network: walk the chain from the one input to the one output, refusing what is not understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from .constants import fold
from .context import Context
from .errors import ModelError
from .floats import FloatGraph, FloatLayer, shapes
from .onnx_file import STANDARD_DOMAINS, Array, image_shape, initializers, load_model, opset, refuse, single_input
from .operators import BUILDERS


def import_onnx(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network in an ONNX model (path or ModelProto), layer for layer as the exporter wrote it.

    Raises ModelError, naming node, operator and attribute, for anything that is not a chain of supported operators.
    """
    model = load_model(source)
    version = opset(model)
    constants = initializers(model)
    value = single_input(model, constants)
    batch, shape = image_shape(value)
    graph = FloatGraph(value.name, shape, ())
    # Flattened tensors have two dimensions, images four; the walk needs to know which the current tensor is.
    current = value.name
    dimensions: tuple[int, ...] = (batch, *shape)
    sizes = {current: dimensions}
    layers: list[FloatLayer] = []
    readers: dict[str, onnx.NodeProto] = {}
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
        dynamic = [name for name in node.input if name and name not in constants]
        for name in dynamic:
            if name in readers:
                raise refuse(
                    node, f"reads '{name}', as {_called(readers[name])} does; only chains without branches work yet"
                )
            if name != current:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
            readers[name] = node
        builder = BUILDERS.get(node.op_type)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("QLinear"):
            raise refuse(node, "the model is quantized already; quantize the float model that it was made from")
        if builder is None:
            raise refuse(node, f"operator {node.op_type} is not supported; {', '.join(sorted(BUILDERS))} are")
        if len(dynamic) != 1:
            raise refuse(node, f"reads {len(dynamic)} computed tensors; exactly one works")
        layer, dimensions = builder(Context(node, constants, current, dimensions, version))
        layers.append(layer)
        current = node.output[0]
        sizes[current] = dimensions
    if current != model.graph.output[0].name:
        raise ModelError(f"the output '{model.graph.output[0].name}' is not what the last node makes, '{current}'")
    if not layers:
        raise ModelError("the model has no layers; there is nothing to quantize")
    graph = graph.with_layers(layers)
    shapes(graph)
    return graph


def shape_of(node: onnx.NodeProto, dimensions: tuple[int, ...]) -> Array:
    """What a Shape node says of a tensor of ``dimensions``, from its ``start`` to its ``end`` (ONNX Shape-15)."""
    start, end = 0, len(dimensions)
    for item in node.attribute:
        if item.name == "start":
            start = item.i
        elif item.name == "end":
            end = item.i
    return np.array(dimensions[start:end], np.int64)


def _called(node: onnx.NodeProto) -> str:
    return f"'{node.name or node.op_type}'"
