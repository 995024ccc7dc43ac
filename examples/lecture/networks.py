"""The networks of the lecture at full size, with seeded random weights: nothing to download, and no two classes alike.

The onnx package ships their graphs (``onnx/backend/test/data/light``) with constant weights.  Weights drawn after He et
al. (2015) keep activations alive through any depth, so a test on them can fail.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FILES = {
    "alexnet": "bvlc_alexnet",
    "densenet121": "densenet121",
    "googlenet": "inception_v1",
    "resnet50": "resnet50",
    "squeezenet": "squeezenet",
    "vgg19": "vgg19",
    "zfnet": "zfnet512",
}
FULL_SIZE = 224
RESIDUAL_SHARE = 0.3  # a residual branch adds this much to its shortcut, so that sums do not grow with depth


def lecture_network(name: str, size: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """The float network ``name``, a key of FILES, for images of 3 x ``size`` x ``size`` (None: 224).

    Poolings over the whole last map and the first fully connected layer follow the size.  Raises ValueError if the
    name is not known, or the size too small for the network.
    """
    if name not in FILES:
        raise ValueError(f"'{name}' is not a network of the lecture; {', '.join(FILES)} are")
    size = size or FULL_SIZE
    model = onnx.load(LIGHT / f"light_{FILES[name]}.onnx")
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        node.output[0]: tuple(int(length) for length in stored[node.input[0]])
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    image = next(value.name for value in graph.input if value.name not in stored)
    fit, made = _fit_to_size(nodes, shapes, image, size, name)
    random = np.random.default_rng(seed)
    residual = {source for node in nodes if node.op_type == "Sum" for source in node.input}
    weights = _draw(nodes, shapes, residual, random)
    kept = {key: value for key, value in stored.items() if any(key in node.input for node in nodes)} | fit
    output = graph.output[0].name
    for number, node in enumerate(nodes):
        base = node.input[1].removesuffix("_w_0") if node.op_type in ("Conv", "Gemm") else f"{node.op_type}_{number}"
        node.name = base.removeprefix("gpu_0/")
    result = helper.make_model(
        helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(image, TensorProto.FLOAT, ["N", 3, size, size])],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *made[output][1:]])],
            [numpy_helper.from_array(value, key) for key, value in {**kept, **weights}.items()],
        ),
        opset_imports=model.opset_import,
        ir_version=8,
    )
    return result


def _fit_to_size(
    nodes: list[onnx.NodeProto], shapes: dict[str, tuple[int, ...]], image: str, size: int, name: str
) -> tuple[dict[str, NDArray[np.int64]], dict[str, tuple[int, ...]]]:
    """Follow ``size`` through the network: poolings over the whole map, ``shapes`` of the first fully connected layer.

    Returns the constants of reshapes anew, and the shape of every tensor for one image.
    """
    known: dict[str, tuple[int, ...]] = {image: (1, 3, size, size)}
    constants = {}
    for node in nodes:
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        source = known.get(node.input[0])
        if source is None:  # of weights only
            if node.op_type == "Reshape":
                shapes[node.input[0]] = shapes[node.input[0]][-2:]
                constants[node.input[1]] = np.array(shapes[node.input[0]], np.int64)
                shapes[node.output[0]] = shapes[node.input[0]]
            continue
        if node.op_type in ("Conv", "MaxPool", "AveragePool"):
            kernel = attributes["kernel_shape"]
            last = node.op_type == "AveragePool" and tuple(kernel) == (7, 7)
            if last:
                kernel = source[2:]
                del node.attribute[:]
                node.attribute.append(helper.make_attribute("kernel_shape", kernel))
                attributes = {}
            strides, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0] * 4)
            after = [(source[2 + i] + pads[i] + pads[2 + i] - kernel[i]) // strides[i] + 1 for i in (0, 1)]
            if min(after) < 1:
                raise ValueError(f"{name} has nothing left of {size} x {size} images; use larger ones")
            channels = shapes[node.input[1]][0] if node.op_type == "Conv" else source[1]
            known[node.output[0]] = (1, channels, *after)
        elif node.op_type == "GlobalAveragePool":
            known[node.output[0]] = (*source[:2], 1, 1)
        elif node.op_type == "Concat":
            known[node.output[0]] = (1, sum(known[part][1] for part in node.input), *source[2:])
        elif node.op_type == "Reshape":
            constants[node.input[1]] = np.array([0, -1], np.int64)
            known[node.output[0]] = (1, int(np.prod(source)))
        elif node.op_type == "Gemm":
            outputs = shapes[node.input[1]][0]
            shapes[node.input[1]] = (outputs, source[1])
            known[node.output[0]] = (1, outputs)
        else:
            known[node.output[0]] = source
    return constants, known


def _draw(
    nodes: list[onnx.NodeProto],
    shapes: dict[str, tuple[int, ...]],
    residual: set[str],
    random: np.random.Generator,
) -> dict[str, NDArray[np.float32]]:
    """Values of all parameters, by the role in which a node reads them."""
    values: dict[str, NDArray[np.float32]] = {}
    arranged = {node.output[0]: node.input[0] for node in nodes if node.op_type in ("Unsqueeze", "Reshape")}

    def draw(name: str, mean: float, spread: float) -> None:
        name = arranged.get(name, name)
        if name in shapes:
            values[name] = (mean + spread * random.standard_normal(shapes[name], np.float32)).astype(np.float32)

    for node in nodes:
        if node.op_type in ("Conv", "Gemm"):
            fan_in = int(np.prod(shapes[node.input[1]][1:]))
            draw(node.input[1], 0, float(np.sqrt(2 / fan_in)))
            for bias in node.input[2:]:
                draw(bias, 0, 0.1)
        elif node.op_type == "BatchNormalization":
            share = RESIDUAL_SHARE if node.output[0] in residual else 1.0
            draw(node.input[1], share, 0.1 * share)
            draw(node.input[2], 0, 0.1)
            draw(node.input[3], 0, 0.1)
            draw(node.input[4], 1, 0.1)
        elif node.op_type in ("Mul", "Add"):
            draw(node.input[1], float(node.op_type == "Mul"), 0.1)
    return values
