"""Float ONNX models with seeded random weights, for tests: built by hand, so that no exporter is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21


class Builder:
    """A chain of nodes under construction: each call adds one that reads what the one before it made."""

    def __init__(self, shape: Sequence[int], seed: int = 0, opset: int = OPSET) -> None:
        self.random = np.random.default_rng(seed)
        self.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])]
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.current = "image"
        self.opset = opset

    def constant(self, values: Any, name: str = "") -> str:
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, operator: str, *constants: Any, name: str | None = None, **attributes: Any) -> Builder:
        """Add ``operator`` reading the current tensor and ``constants`` (arrays)."""
        number = sum(node.op_type == operator for node in self.nodes) + 1
        name = f"{operator.lower()}{number}" if name is None else name
        output = f"{operator.lower()}{number}_out"
        names = [self.constant(values, f"{operator.lower()}{number}_{index}") for index, values in enumerate(constants)]
        self.nodes.append(helper.make_node(operator, [self.current, *names], [output], name, **attributes))
        self.current = output
        return self

    def he(self, *shape: int) -> np.ndarray:
        """Random weights whose outputs keep the variance of their inputs under ReLU (He et al. 2015)."""
        fan_in = int(np.prod(shape[1:]))
        return (self.random.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def bias(self, outputs: int) -> np.ndarray:
        return (self.random.standard_normal(outputs) * 0.1).astype(np.float32)

    def conv(self, inputs: int, outputs: int, kernel: int | tuple[int, int], **attributes: Any) -> Builder:
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        weights = self.he(outputs, inputs // attributes.get("group", 1), rows, columns)
        return self.node("Conv", weights, self.bias(outputs), **attributes)

    def gemm(self, inputs: int, outputs: int) -> Builder:
        return self.node("Gemm", self.he(outputs, inputs), self.bias(outputs), transB=1)

    def relu(self) -> Builder:
        return self.node("Relu")

    def relu6(self) -> Builder:
        return self.node("Clip", np.float32(0), np.float32(6))

    def pool(self, kernel: int = 2, stride: int = 2, **attributes: Any) -> Builder:
        return self.node("MaxPool", kernel_shape=[kernel] * 2, strides=[stride] * 2, **attributes)

    def flatten(self) -> Builder:
        return self.node("Flatten")

    def model(self) -> onnx.ModelProto:
        outputs = [helper.make_tensor_value_info(self.current, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "test", self.inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def cifar(seed: int = 0) -> onnx.ModelProto:
    """CIFAR-shaped: [conv32 relu conv32 relu pool] [conv64 relu conv64 relu pool] fc128 relu fc10, 3x32x32 images."""
    same = {"pads": [1, 1, 1, 1]}
    net = Builder((3, 32, 32), seed)
    net.conv(3, 32, 3, **same).relu().conv(32, 32, 3, **same).relu().pool()
    net.conv(32, 64, 3, **same).relu().conv(64, 64, 3, **same).relu().pool()
    return net.flatten().gemm(64 * 8 * 8, 128).relu().gemm(128, 10).model()


def tiny(seed: int = 0) -> onnx.ModelProto:
    """A network small enough for slow simulators: conv4 relu pool fc5 on 2x6x6 images."""
    net = Builder((2, 6, 6), seed)
    return net.conv(2, 4, 3).relu().pool().flatten().gemm(4 * 2 * 2, 5).model()


def single(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of the networks of ``SINGLE``, by name: one layer each, with an unusual shape."""
    shape, build = SINGLE[name]
    net = Builder(shape, seed)
    build(net)
    return net.model()


# Input shape, and what to add: every shape of window that the contract knows.
SINGLE: dict[str, tuple[tuple[int, int, int], Any]] = {
    "plain": ((3, 8, 8), lambda net: net.conv(3, 5, 3)),
    "pointwise": ((6, 5, 5), lambda net: net.conv(6, 7, 1)),
    "same_relu": ((4, 7, 9), lambda net: net.conv(4, 6, 3, pads=[1, 1, 1, 1]).relu()),
    "relu6": ((3, 8, 8), lambda net: net.conv(3, 5, 3).relu6()),
    "stride4_kernel11": ((3, 35, 35), lambda net: net.conv(3, 8, 11, strides=[4, 4]).relu()),
    "stride4_kernel11_pads": ((3, 31, 31), lambda net: net.conv(3, 8, 11, strides=[4, 4], pads=[2, 2, 2, 2]).relu()),
    "stride_above_kernel": ((2, 10, 11), lambda net: net.conv(2, 3, 2, strides=[3, 4])),
    "dilation2": ((4, 11, 11), lambda net: net.conv(4, 6, 3, dilations=[2, 2], pads=[2, 2, 2, 2]).relu()),
    "dilation2x3": ((2, 9, 12), lambda net: net.conv(2, 3, 3, dilations=[2, 3], strides=[2, 1])),
    "groups2": ((6, 8, 8), lambda net: net.conv(6, 8, 3, group=2, pads=[1, 1, 1, 1]).relu()),
    "depthwise": ((6, 8, 8), lambda net: net.conv(6, 6, 3, group=6, pads=[1, 1, 1, 1])),
    "asymmetric_pads": ((3, 9, 7), lambda net: net.conv(3, 4, 3, pads=[0, 2, 1, 0])),
    "asymmetric_kernel": ((3, 9, 8), lambda net: net.conv(3, 4, (1, 5), pads=[0, 1, 0, 3], strides=[2, 1])),
    "pool2": ((3, 8, 8), lambda net: net.pool()),
    "pool3_stride2_pad1": ((4, 9, 9), lambda net: net.pool(3, 2, pads=[1, 1, 1, 1])),
    "pool3_stride1": ((2, 6, 7), lambda net: net.pool(3, 1)),
    "pool_ceil": ((3, 8, 7), lambda net: net.pool(3, 2, ceil_mode=1)),
    "conv_pool_overlap": ((3, 11, 11), lambda net: net.conv(3, 5, 3).relu().pool(3, 2)),
    "gemm": ((20, 1, 1), lambda net: net.flatten().gemm(20, 7)),
    "gemm_of_map": ((3, 4, 5), lambda net: net.flatten().gemm(60, 9)),
}


def images(model: onnx.ModelProto, count: int, seed: int = 1) -> np.ndarray:
    """Random float32 images that ``model`` takes, (count, C, rows, columns), of both signs."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)
