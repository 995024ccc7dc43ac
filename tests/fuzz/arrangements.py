"""Models of what only moves, repeats or reduces values: volumes, broadcasting, constants of pixels, other axes."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from .. import models


def arrangements() -> list[onnx.ModelProto]:
    found = [volume(), pooled_volume(), sliced_volume(), broadcast(), expanded(), pixels(), many_pixels(), signals()]
    return [*found, windows(), resized(), shuffled(), transposed(), ranks(), ports(), extremes(), classes()]


def volume() -> onnx.ModelProto:
    """Convolutions of volumes, grouped, strided, padded, transposed; a maximum behind one; slices to a vector."""
    net = models.Builder((2, 4, 6, 6)).volume(2, 4, 3, pads=[1] * 6).norm(4).relu()
    net.node("MaxPool", kernel_shape=[2, 2, 2], strides=[2, 2, 2]).volume(4, 4, 2, group=2, pads=[1, 0, 0, 1, 0, 0])
    net.node("ConvTranspose", net.he(4, 3, 2, 2, 2), net.bias(3), strides=[2, 2, 2])
    return net.node("GlobalAveragePool").flatten().gemm(3, 2).model()


def pooled_volume() -> onnx.ModelProto:
    net = models.Builder((2, 5, 6, 6)).node(
        "AveragePool", kernel_shape=[3, 2, 2], strides=[2, 2, 2], pads=[1, 0, 0] * 2
    )
    net.volume(2, 3, (1, 3, 3), auto_pad="SAME_UPPER").node("MaxPool", kernel_shape=[3, 1, 1], dilations=[1, 1, 1])
    return net.node("ReduceMean", np.array([2, 3, 4]), keepdims=0).gemm(3, 2).model()


def sliced_volume() -> onnx.ModelProto:
    net = models.Builder((3, 4, 4, 5)).relu()
    first = net.node("Slice", *(np.array([n]) for n in (1, 4, 2))).current
    net.join("Concat", first, first, axis=1).node("Mul", np.ones((1, 6, 1, 1, 1), np.float32))
    whole = net.node("Split", np.array([2, 4]), axis=1).current
    net.nodes[-1].output.append("rest")
    net.at("rest").node("ReduceMax", np.array([2, 3]), keepdims=1).node("Sigmoid")
    return net.join("Concat", whole, whole, axis=2).node("ReduceSum", np.array([2, 4]), keepdims=1).model()


def broadcast() -> onnx.ModelProto:
    """Products and sums of maps with rows, columns, vectors and single channels of them."""
    net = models.Builder((3, 6, 8)).conv(3, 4, 3, pads=[1] * 4).relu()
    whole = net.current
    rows = net.node("ReduceMean", np.array([3])).conv(4, 4, 1).node("Sigmoid").current
    columns = net.at(whole).node("ReduceMax", np.array([2])).conv(4, 4, 1).current
    vector = net.at(whole).node("GlobalAveragePool").conv(4, 4, 1).node("HardSigmoid").current
    one = net.at(whole).node("ReduceMean", np.array([1])).conv(1, 1, 1).current
    net.join("Mul", rows, columns).join("Mul", whole, net.current).join("Mul", net.current, vector)
    return net.join("Add", one, net.current).join("Max", net.current, columns).conv(4, 2, 1).model()


def expanded() -> onnx.ModelProto:
    net = models.Builder((2, 4, 6)).conv(2, 3, 1)
    whole = net.current
    net.node("GlobalMaxPool").node("Expand", np.array([1, 3, 4, 6])).join("Mul", whole, net.current)
    net.node("ReduceMean", np.array([2])).node("Tile", np.array([1, 2, 4, 1])).node("Expand", np.array([6, 1, 6]))
    net.conv(6, 2, 1).node("Sub", np.linspace(-1, 1, 6, dtype=np.float32))
    return net.node("Add", net.he(1, 1, 4, 1)).model()


def pixels() -> onnx.ModelProto:
    """A value for each pixel: flattened normalization before and behind, PRelu, of few pixels and of one row."""
    net = models.Builder((2, 4, 4)).conv(2, 3, 1).node("Mul", net_of(3, 4, 4)).node("Add", net_of(1, 4, 4)).relu()
    net.flatten().norm(48).node("Reshape", np.array([0, 3, 4, 4])).node("Min", net_of(3, 1, 4)).conv(3, 2, 2)
    return net.node("Div", np.abs(net_of(2, 3, 3)) + 1).flatten().gemm(18, 3).model()


def net_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def many_pixels() -> onnx.ModelProto:
    net = models.Builder((2, 9, 9)).relu().node("Mul", net_of(1, 2, 9, 9)).node("Sub", net_of(9, 9)).conv(2, 2, 1)
    return net.node("Max", net_of(2, 9, 1)).conv(2, 2, 3).model()


def signals() -> onnx.ModelProto:
    net = models.Builder((3, 24)).node("Conv", net_of(4, 3, 3)).node("BatchNormalization", *np.ones((4, 4), np.float32))
    net.node("MaxPool", kernel_shape=[3], strides=[2], dilations=[2]).node("PRelu", net_of(4, 1))
    net.node("Resize", np.float32([]), np.float32([1, 1, 2]), mode="nearest").node("Pad", np.array([0, 0, 1, 0, 0, 2]))
    net.node("ConvTranspose", net_of(4, 2, 2), strides=[2]).node("Slice", *(np.array([n]) for n in (1, 30, 2, 2)))
    return net.node("ReduceMean", np.array([-1]), keepdims=0).gemm(2, 2).model()


def windows() -> onnx.ModelProto:
    """Poolings over whole axes, some of them long."""
    net = models.Builder((2, 40, 21)).relu()
    source = net.current
    rows = net.node("ReduceMax", np.array([2]), keepdims=1).node("GlobalMaxPool").current
    long = net.at(source).node("MaxPool", kernel_shape=[40, 2], strides=[1, 2]).node("GlobalAveragePool").current
    net.at(source).node("AveragePool", kernel_shape=[4, 21], strides=[4, 1]).node("ReduceSum", np.array([2, 3]))
    return net.join("Concat", rows, long, net.current, axis=1).conv(6, 2, 1).model()


def resized() -> onnx.ModelProto:
    net = models.Builder((2, 4, 5)).conv(2, 3, 1).node("Resize", np.float32([]), np.float32([1, 1, 2, 3]))
    net.node("Resize", np.float32([]), np.float32([]), np.array([1, 3, 16, 30]), mode="linear")
    net.node("Resize", np.float32([]), np.float32([1, 1, 0.5, 0.5]), coordinate_transformation_mode="asymmetric")
    return (
        net.node("Pad", np.array([0, 1, 1, 0, 0, 0, 0, 1]))
        .node("Pad", np.array([0, 0, 2, -1] * 2), mode="edge")
        .model()
    )


def shuffled() -> onnx.ModelProto:
    net = models.Builder((2, 8, 8)).node("SpaceToDepth", blocksize=2).conv(8, 8, 1).node("DepthToSpace", blocksize=2)
    net.node("Gather", np.array([1, 0]), axis=1).node("MaxPool", kernel_shape=[2, 2], dilations=[2, 3])
    net.node("Split", axis=2, num_outputs=2)
    net.nodes[-1].output.append("below")
    net.join("Concat", net.current, "below", axis=3).node("DepthToSpace", blocksize=1, mode="CRD")
    return net.node("Gather", np.array(-1), axis=2).node("Flatten", axis=1).model()


def transposed() -> onnx.ModelProto:
    net = models.Builder((2, 4, 4)).node("ConvTranspose", net_of(2, 3, 3, 3), strides=[2, 3], pads=[1, 0, 1, 2])
    net.norm(3).relu().node("ConvTranspose", net_of(3, 1, 2, 2), group=3, output_padding=[0, 0], dilations=[2, 1])
    return net.node("ConvTranspose", net_of(3, 2, 2, 2), strides=[2, 2], output_shape=[15, 20]).model()


def ranks() -> onnx.ModelProto:
    """Views of one to seven axes, and what treats each value alone on them."""
    net = models.Builder((4, 4, 6)).relu().node("Reshape", np.array([1, 2, 2, 4, 2, 3])).node("Sigmoid")
    net.node("Transpose", perm=[0, 2, 1, 3, 4, 5]).node("Add", net_of(2, 1, 1, 1)).node("Unsqueeze", np.array([0]))
    net.node("Squeeze", np.array([0])).node("Reshape", np.array([-1])).node("Mul", net_of(96))
    net.node("Reshape", np.array([1, 4, 24])).node("MatMul", net_of(24, 5)).node("Transpose", perm=[0, 2, 1])
    net.node("ReduceMean", np.array([2]), keepdims=0).node("BatchNormalization", *np.ones((4, 5), np.float32))
    return net.gemm(5, 3).model()


def ports() -> onnx.ModelProto:
    """Two inputs, one in another order, and three outputs of one another."""
    net = models.Builder((2, 4, 4)).conv(2, 3, 1)
    first = net.current
    net.inputs.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 4, 4, 3]))
    net.at("other").node("Transpose", perm=[0, 3, 1, 2]).join("Add", first, net.current)
    made = net.node("Identity").current
    net.node("Transpose", perm=[0, 2, 3, 1]).node("Softmax", axis=-1)
    model = net.model()
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (first, made))
    return model


def extremes() -> onnx.ModelProto:
    """Maxima and minima of maps, and by constants; a mean of three; powers; what is a constant map or a number."""
    net = models.Builder((2, 5, 5)).conv(2, 2, 1)
    first = net.current
    net.node("Max", net_of(2, 1, 1)).node("Min", np.float32(0.5)).join("Max", first, net.current, first)
    net.join("Mean", first, net.current, first).node("Pow", np.float32(2))
    return net.join("Min", net.current, first).node("Sub", np.float32(1)).node("Neg").model()


def classes() -> onnx.ModelProto:
    net = models.Builder((3, 6, 6)).conv(3, 4, 3).node("Transpose", perm=[0, 2, 3, 1])
    return net.node("Softmax", axis=-1).node("ArgMax", axis=-1, keepdims=0).node("Unsqueeze", np.array([1])).model()
