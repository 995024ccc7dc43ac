"""The models that fuzzing starts from: small, and together of every operator that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from systolith import quant

from .. import models
from ..qdq import conv_chain
from .arrangements import arrangements

ROOT = Path(__file__).resolve().parent.parent.parent
BITS = ((8, 8), (16, 8), (8, 5), (4, 8))  # of weights and activations, in turn


def float_models() -> list[onnx.ModelProto]:
    found = [models.single(name) for name in models.SINGLE]
    found += [models.branched(name) for name in models.BRANCHED]
    found += [
        *arrangements(),
        models.tiny(),
        functions(),
        signal(),
        folded(),
        old(),
        oldest(),
        modules(),
        channels_last(),
    ]
    found += [onnx.load(path) for path in sorted((ROOT / "tests" / "data").glob("*.onnx"))]
    return [*found, onnx.load(ROOT / "examples" / "lenet5" / "lenet5.onnx")]


def quantized_models() -> list[onnx.ModelProto]:
    """What the float models become, and others in other tools' spellings."""
    found = []
    for number, model in enumerate(float_models()):
        weight_bits, activation_bits = BITS[number % len(BITS)]
        settings = quant.Settings("float" if number % 3 else "pow2", weight_bits, activation_bits, "minmax")
        network = quant.load_float(model)
        random = np.random.default_rng(number)
        images = {
            name: random.standard_normal((2, *shape)).astype(np.float32) for name, shape in network.inputs.items()
        }
        found.append(quant.to_onnx(quant.quantize(network, images, settings)))
    clipped = conv_chain().node("Clip", np.float32(0), np.float32(6)).qdq()
    found += [onnx.load(path) for path in sorted((ROOT / "tests" / "data" / "brevitas").glob("*.onnx"))]
    return [*found, conv_chain(0.01, np.int8(0)).qdq().model(), clipped.model()]


def functions() -> onnx.ModelProto:
    net = models.Builder((3, 9, 9)).conv(3, 6, 3).node("PRelu", np.full((6, 1, 1), 0.25, np.float32))
    net.node("Mul", np.linspace(0.5, 2, 6, dtype=np.float32).reshape(6, 1, 1)).node("HardSwish").conv(6, 4, 1)
    net.node("Sub", np.float32(0.5)).node("Div", np.float32(3)).node("Gelu", approximate="tanh").conv(4, 3, 1)
    return net.node("Pad", np.array([0, 0, 1, 0, 0, 0, 0, 2])).node("Sigmoid").model()


def signal() -> onnx.ModelProto:
    net = models.Builder((2, 20)).node("Conv", np.ones((4, 2, 5), np.float32), strides=[2]).relu()
    net.node("MaxPool", kernel_shape=[2], strides=[2]).node("Unsqueeze", np.array([2])).conv(4, 3, (1, 2))
    return net.node("ReduceMean", np.array([2, 3]), keepdims=0).gemm(3, 2).model()


def folded() -> onnx.ModelProto:
    """Weights and shapes that are computed, by every operator that is folded."""
    net = models.Builder((2, 6, 6))
    kept: list[onnx.NodeProto] = []

    def computed(operator: str, *inputs: str, **attributes: object) -> str:
        kept.append(helper.make_node(operator, inputs, [f"made{len(kept)}"], f"fold{len(kept)}", **attributes))
        return kept[-1].output[0]

    one = numpy_helper.from_array(np.array([0.5], np.float32))
    filled = computed("ConstantOfShape", net.constant(np.array([4, 2, 3])), value=one)
    three = net.constant(np.array([4, 2, 3, 3]))
    spread = computed("Expand", computed("Unsqueeze", filled, net.constant(np.array([3]))), three)
    steps = computed("Range", *(net.constant(np.float32(value)) for value in (0, 3, 1)))
    powers = computed("Pow", computed("Exp", computed("Neg", steps)), net.constant(np.float32(2)))
    weights = computed("Mul", spread, computed("Where", computed("Equal", steps, steps), powers, steps))
    shape = computed("Shape", weights)
    half = computed("Slice", shape, *(net.constant(np.array([value])) for value in (0, 1)))
    bias = computed("Cast", computed("Expand", net.constant(np.int64(1)), half), to=1)
    net.node("Conv")
    net.nodes[-1].input.extend([weights, bias])
    last = computed("Concat", net.constant(np.array([0])), net.constant(np.array([-1])), axis=0)
    net.node("Reshape")
    net.nodes[-1].input.append(last)
    flat = computed("Transpose", computed("Gather", net.constant(net.he(9, 64)), net.constant(np.arange(5))))
    net.node("MatMul")
    net.nodes[-1].input.append(flat)
    net.nodes[:0] = kept
    return net.model()


def old() -> onnx.ModelProto:
    """Attributes where later versions have inputs."""
    net = models.Builder((2, 8, 8), opset=8).conv(2, 4, 3, auto_pad="SAME_LOWER").node("Clip", min=-0.5, max=0.75)
    net.node("Pad", pads=[0, 0, 1, 1, 0, 0, 0, 0]).pool(3, 2, ceil_mode=1).node("Dropout")
    return net.norm(4).flatten().gemm(64, 5).node("LogSoftmax", axis=1).model()


def oldest() -> onnx.ModelProto:
    """What opset 7 says otherwise."""
    net = models.Builder((2, 8, 8), opset=6).conv(2, 4, 3)
    net.node("BatchNormalization", *np.abs(net.he(4, 4)) + 1, is_test=1, consumed_inputs=[0, 0, 0, 1, 1])
    net.node("Mul", np.ones(4, np.float32), broadcast=1, axis=1).node("PRelu", np.full(4, 0.25, np.float32))
    return net.node("Cast", to="FLOAT").node("Pad", paddings=[0, 0, 1, 0, 0, 0, 0, 1]).model()


def modules() -> onnx.ModelProto:
    """Functions, one in the other, of halves; weights by most ways of computing them."""
    net = models.Builder((2, 6, 6))
    net.inputs[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    half = net.constant(net.he(4, 2, 3, 3).astype(np.float16))
    weights = [
        ("ReduceL2", [half, net.constant(np.array([1, 2, 3]))]),
        ("Div", [half, "made0"]),
        ("Tile", ["made1", net.constant(np.array([1, 1, 1, 1]))]),
        ("ScatterND", ["made2", net.constant(np.array([[0], [3]])), net.constant(np.ones((2, 2, 3, 3), np.float16))]),
        ("Clip", ["made3", net.constant(np.float16(-1)), net.constant(np.float16(1))]),
        ("Pad", ["made4", net.constant(np.zeros(8, np.int64))]),
        ("MatMul", ["made5", net.constant(np.eye(3, dtype=np.float16))]),
    ]
    for number, (operator, inputs) in enumerate(weights):
        net.nodes.append(helper.make_node(operator, inputs, [f"made{number}"], f"maker{number}"))
    net.join("Outer", "image", "made6").node("Cast", to=1)
    net.nodes[-2].domain = "own"
    model = net.model()
    opsets = [helper.make_opsetid("", models.OPSET), helper.make_opsetid("own", 1)]
    body = [helper.make_node("Conv", ["X", "W"], ["c"], "conv"), helper.make_node("Relu", ["c"], ["Y"], "act")]
    call = [helper.make_node("Inner", ["X", "W"], ["Y"], "call", domain="own")]
    model.opset_import.append(opsets[1])
    for name, nodes in (("Inner", body), ("Outer", call)):
        model.functions.append(helper.make_function("own", name, ["X", "W"], ["Y"], nodes, opsets))
    return model


def channels_last() -> onnx.ModelProto:
    """Views of most kinds: an input in another order, constants, a join and a mean there, a shuffle, a matrix."""
    net = models.Builder((4, 4, 3)).node("Transpose", perm=[0, 3, 1, 2]).conv(3, 4, 1)
    net.node("Reshape", np.array([0, 2, 2, 4, 4])).node("Transpose", perm=[0, 2, 1, 3, 4])
    net.node("Reshape", np.array([0, 4, 4, 4])).conv(4, 4, 1, group=2).node("Transpose", perm=[0, 2, 3, 1])
    net.node("Mul", np.float32([1, 2, 3, 4])).node("MatMul", net.he(4, 2))
    net.join("Concat", net.current, net.current, axis=3).flatten().norm(64).gemm(64, 3)
    return net.model()
