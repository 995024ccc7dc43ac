"""A described network as a float ONNX model, with weights that are given or drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..graph import Shape
from ..graph.errors import ModelError
from .layers import Floats
from .network_layer import NetworkLayer

OPSET, IR_VERSION = 21, 10
BIAS_SCALE = 0.1

Parameters = Mapping[str, tuple[Floats, Floats]]


def onnx_model(shape: Shape, layers: Sequence[NetworkLayer], seed: int, parameters: Parameters) -> onnx.ModelProto:
    """``layers`` on images of ``shape`` as ONNX; weights and biases from ``parameters`` by layer name, or ``seed``."""
    if not layers:
        raise ModelError("the network has no layers; add one before making a model of it")
    drawn = np.random.default_rng(seed)
    weighted = {layer.name for layer in layers if layer.weights_shape}
    if unknown := sorted(parameters.keys() - weighted):
        raise ModelError(f"parameters are given for '{unknown[0]}'; the layers with weights are {sorted(weighted)}")
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    current, flat = "image", False
    for layer in layers:
        names = [current]
        if layer.weights_shape:
            pair = _given(layer, parameters) if layer.name in parameters else _draw(layer, drawn)
            for kind, values in zip(("weights", "bias"), pair, strict=True):
                constants.append(numpy_helper.from_array(values, f"{layer.name}_{kind}"))
                names.append(constants[-1].name)
        nodes += _nodes(layer, names, flat)
        current, flat = f"{layer.name}_out", flat or layer.kind == "fully_connected"
    last = layers[-1].shape
    made: list[str | int | None] = ["N", *(last[:1] if flat else last)]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info(current, TensorProto.FLOAT, made)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    model.producer_name = "systolith"
    return model


def _nodes(layer: NetworkLayer, names: list[str], flat: bool) -> Iterator[onnx.NodeProto]:
    """The nodes of ``layer``; a fully connected one flattens its input before unless that is ``flat`` already."""
    output = [f"{layer.name}_out"]
    match layer.kind:
        case "relu":
            yield helper.make_node("Relu", names, output, layer.name)
        case "fully_connected":
            if not flat:
                yield helper.make_node("Flatten", names[:1], [f"{layer.name}_flat"], f"{layer.name}_flatten")
                names = [f"{layer.name}_flat", *names[1:]]
            yield helper.make_node("Gemm", names, output, layer.name, transB=1)
        case "conv":
            yield _windowed("Conv", layer, names, output)
        case "max_pool":
            yield _windowed("MaxPool", layer, names, output)
        case "average_pool":
            yield _windowed("AveragePool", layer, names, output)
        case unknown:
            assert_never(unknown)


def _windowed(operator: str, layer: NetworkLayer, names: list[str], output: list[str]) -> onnx.NodeProto:
    strides, pads = [layer.stride] * 2, [layer.padding] * 4
    return helper.make_node(operator, names, output, layer.name, kernel_shape=layer.kernel, strides=strides, pads=pads)


def _draw(layer: NetworkLayer, drawn: np.random.Generator) -> tuple[Floats, Floats]:
    """Weights that keep the variance of their inputs under ReLU (He et al. 2015), and small biases."""
    fan_in = layer.weights // layer.shape[0]
    weights = drawn.standard_normal(layer.weights_shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    return weights, drawn.standard_normal(layer.shape[0], np.float32) * np.float32(BIAS_SCALE)


def _given(layer: NetworkLayer, parameters: Parameters) -> tuple[Floats, Floats]:
    """The caller's weights and bias as float32.  Raises ModelError if their shapes are not the layer's."""
    weights, bias = (np.asarray(values, np.float32) for values in parameters[layer.name])
    wanted_shapes = {"weights": layer.weights_shape, "bias": layer.shape[:1]}
    for (what, wanted), found in zip(wanted_shapes.items(), (weights.shape, bias.shape), strict=True):
        if found != wanted:
            raise ModelError(f"{layer.name}: {what} of shape {found} given; {wanted} fits")
    return weights, bias
