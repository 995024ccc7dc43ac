"""A network as Keras has it and tf2onnx writes it: channels last outside, transposed around each operator."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def keras_cnn(seed: int = 0) -> onnx.ModelProto:
    """Conv, MaxPool, Conv, MaxPool, Dense, Dense, Softmax on N x 28 x 28 x 1 images."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int, fan_in: int) -> onnx.TensorProto:
        values = random.standard_normal(shape) * np.sqrt(2 / fan_in)
        return numpy_helper.from_array(values.astype(np.float32), name)

    def add(operator: str, sources: list[str], output: str, name: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, sources, [output], name, **attributes))
        return output

    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    value, inputs = "image", 1
    for index, outputs in enumerate((16, 32)):
        name = f"conv2d_{index}"
        constants += [
            weights(f"{name}/W", outputs, inputs, 3, 3, fan_in=9 * inputs),
            weights(f"{name}/b", outputs, fan_in=200),
        ]
        value = add("Transpose", [value], f"{name}/in", f"{name}/to_nchw", perm=[0, 3, 1, 2])
        value = add("Conv", [value, f"{name}/W", f"{name}/b"], f"{name}/out", name, pads=[1, 1, 1, 1])
        value = add("Relu", [value], f"{name}/relu", f"{name}/Relu")
        value = add("MaxPool", [value], f"pool_{index}", f"pool_{index}", kernel_shape=[2, 2], strides=[2, 2])
        value = add("Transpose", [value], f"pool_{index}/out", f"{name}/to_nhwc", perm=[0, 2, 3, 1])
        inputs = outputs
    constants.append(numpy_helper.from_array(np.array([-1, 7 * 7 * 32], np.int64), "flatten/shape"))
    value, inputs = add("Reshape", [value, "flatten/shape"], "flatten", "flatten/Reshape"), 7 * 7 * 32
    for index, outputs in enumerate((64, 10)):
        name = f"dense_{index}"
        constants += [
            weights(f"{name}/W", inputs, outputs, fan_in=inputs),
            weights(f"{name}/b", outputs, fan_in=200),
        ]
        value = add("MatMul", [value, f"{name}/W"], f"{name}/product", f"{name}/MatMul")
        value = add("Add", [value, f"{name}/b"], f"{name}/sum", f"{name}/BiasAdd")
        if not index:
            value = add("Relu", [value], f"{name}/relu", f"{name}/Relu")
        inputs = outputs
    add("Softmax", [value], "probabilities", "softmax", axis=-1)
    graph = helper.make_graph(
        nodes, "keras",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 28, 28, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
