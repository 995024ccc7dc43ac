"""Float ONNX models with seeded random weights, for tests: built by hand, so that no exporter is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 21


class Builder:
    """Nodes under construction: each call adds one that reads what the one before it made, or where ``at`` went."""

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

    def at(self, name: str) -> Builder:
        """Go on from the tensor ``name`` instead."""
        self.current = name
        return self

    def join(self, operator: str, *names: str, **attributes: Any) -> Builder:
        """Add ``operator`` reading the tensors ``names``."""
        number = sum(node.op_type == operator for node in self.nodes) + 1
        output = f"{operator.lower()}{number}_out"
        self.nodes.append(helper.make_node(operator, names, [output], f"{operator.lower()}{number}", **attributes))
        self.current = output
        return self

    def norm(self, channels: int) -> Builder:
        """A batch normalization with statistics of its own, one scale negative."""
        scale, bias, mean = (self.random.standard_normal(channels).astype(np.float32) for _ in range(3))
        scale[1] = -abs(scale[1])
        variance = self.random.uniform(0.1, 3, channels).astype(np.float32)
        return self.node("BatchNormalization", scale, bias, mean, variance, epsilon=1e-3)

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

    def volume(self, inputs: int, outputs: int, kernel: int | tuple[int, int, int], **attributes: Any) -> Builder:
        """A convolution of a volume; ``kernel`` has slices, rows and columns."""
        sizes = (kernel,) * 3 if isinstance(kernel, int) else kernel
        weights = self.he(outputs, inputs // attributes.get("group", 1), *sizes)
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
        kind = TensorProto.INT64 if self.nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT
        outputs = [helper.make_tensor_value_info(self.current, kind, None)]
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


def residual(net: Builder) -> None:
    """ResNet-8's shape: three blocks, with shortcuts that copy and shortcuts that convolve, then the global average."""
    net.conv(3, 8, 3, pads=[1] * 4).norm(8).relu()
    for inputs, outputs, stride in ((8, 8, 1), (8, 12, 2), (12, 16, 2)):
        shortcut = net.current
        net.conv(inputs, outputs, 3, pads=[1] * 4, strides=[stride] * 2).norm(outputs).relu()
        branch = net.conv(outputs, outputs, 3, pads=[1] * 4).norm(outputs).current
        if stride > 1:
            shortcut = net.at(shortcut).conv(inputs, outputs, 1, strides=[stride] * 2).current
        net.join("Add", branch, shortcut).relu()
    net.node("GlobalAveragePool").flatten().gemm(16, 10)


def inception(net: Builder) -> None:
    """An inception module with its four branches, a local response normalization before it, a pooling after it."""
    source = net.conv(3, 8, 3, strides=[2, 2]).relu().node("LRN", size=5, alpha=1e-2, beta=0.75, bias=1.0).current
    ones = net.conv(8, 6, 1).relu().current
    threes = net.at(source).conv(8, 4, 1).relu().conv(4, 6, 3, pads=[1] * 4).relu().current
    fives = net.at(source).conv(8, 3, 1).relu().conv(3, 4, 5, pads=[2] * 4).relu().current
    pooled = net.at(source).pool(3, 1, pads=[1] * 4).conv(8, 4, 1).relu().current
    net.join("Concat", ones, threes, fives, pooled, axis=1).pool(3, 2, ceil_mode=1).conv(20, 5, 1)
    net.node("GlobalAveragePool").node("Softmax", axis=1)


def dense(net: Builder) -> None:
    """A dense block: concatenations of concatenations, each read again, and a transition with an average pooling."""
    features, channels = net.conv(3, 6, 3).current, 6
    for _ in range(3):
        new = net.at(features).norm(channels).relu().conv(channels, 4, 3, pads=[1] * 4).current
        features, channels = net.join("Concat", features, new, axis=1).current, channels + 4
    net.norm(channels).relu().conv(channels, 8, 1)
    net.node("AveragePool", kernel_shape=[2, 2], strides=[2, 2]).conv(8, 4, 3)


def shortcuts(net: Builder) -> None:
    """Sums of whatever: of the input, of a pooled map, of a map with itself, of two fully connected layers."""
    first = net.conv(3, 3, 3, pads=[1] * 4).current
    total = net.join("Add", "image", first).current
    pooled = net.pool(3, 1, pads=[1] * 4).current
    both = net.join("Sum", pooled, total).relu6().current
    flat = net.join("Add", both, both).flatten().current
    one, other = net.gemm(3 * 11 * 13, 6).relu().current, net.at(flat).gemm(3 * 11 * 13, 6).current
    net.join("Add", one, other).gemm(6, 4)


def pooled_concat(net: Builder) -> None:
    """Maps of different makers and different grids joined: a pooled one, one that is read elsewhere too, an average."""
    source = net.conv(3, 6, 3).relu().current
    left = net.pool(2, 2).current
    right = net.at(source).conv(6, 5, 2, strides=[2, 2]).node("Tanh").current
    middle = net.at(source).node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0]).current
    joined = net.join("Concat", left, right, middle, right, axis=1).current
    halved = net.at(right).conv(5, 22, 1).current
    net.join("Add", joined, halved).node("LeakyRelu", alpha=0.2).conv(22, 4, 3)


def fire(net: Builder, inputs: int, squeezed: int, expanded: int) -> None:
    """Iandola et al. 2016: a 1x1 squeeze, and 1x1 and 3x3 convolutions that expand it, side by side."""
    squeeze = net.conv(inputs, squeezed, 1).relu().current
    parts = [
        net.at(squeeze).conv(squeezed, expanded, kernel, pads=[kernel // 2] * 4).relu().current for kernel in (1, 3)
    ]
    net.join("Concat", *parts, axis=1)


def squeezed(seed: int = 0) -> onnx.ModelProto:
    """Two fire modules, a pooling between them, a convolution for each class and a global average, 3x20x20 to 10."""
    net = Builder((3, 20, 20), seed).conv(3, 12, 3, strides=[2, 2]).relu()
    fire(net, 12, 6, 10)
    net.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    fire(net, 20, 8, 13)
    return net.conv(26, 10, 1).relu().node("GlobalAveragePool").node("Flatten").model()


def sums_last(net: Builder) -> None:
    """A sum as the last layer, and a clamp that nothing before it can take: of an input that is read twice."""
    clamped = net.relu().conv(3, 4, 1).current
    net.join("Add", clamped, net.at("image").conv(3, 4, 1).current)


BRANCHED: dict[str, tuple[tuple[int, int, int], Any]] = {
    "residual": ((3, 12, 12), residual),
    "inception": ((3, 19, 17), inception),
    "dense": ((3, 12, 11), dense),
    "shortcuts": ((3, 11, 13), shortcuts),
    "pooled_concat": ((3, 12, 12), pooled_concat),
    "sums_last": ((3, 6, 5), sums_last),
}


def branched(name: str, seed: int = 0) -> onnx.ModelProto:
    """One of the networks of ``BRANCHED``, by name."""
    shape, build = BRANCHED[name]
    net = Builder(shape, seed)
    build(net)
    return net.model()


def images(model: onnx.ModelProto, count: int, seed: int = 1) -> np.ndarray:
    """Random float32 images that ``model`` takes, (count, C, rows, columns), of both signs."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)
