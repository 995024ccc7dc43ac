"""Spellings of a whole model: functions of its own, other types of reals, old opsets, computed weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from ml_dtypes import bfloat16
from onnx import TensorProto, helper, numpy_helper

from systolith import quant

from . import models
from .test_quant_operators import assert_same_as_onnxruntime

HALVES = {np.float16: TensorProto.FLOAT16, bfloat16: TensorProto.BFLOAT16, np.float64: TensorProto.DOUBLE}


def assert_same_layers(found: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Two models are one network, weights included."""
    one, other = quant.load_float(found), quant.load_float(expected)
    assert len(one.layers) == len(other.layers)
    for first, second in zip(one.layers, other.layers, strict=True):
        assert type(first) is type(second)
        np.testing.assert_equal({**vars(first), "name": ""}, {**vars(second), "name": ""})


def network(kind: type) -> models.Builder:
    """A network whose weights are of ``kind``."""
    net = models.Builder((2, 8, 8)).conv(2, 4, 3).relu().pool().flatten().gemm(36, 5)
    net.constants = [
        numpy_helper.from_array(numpy_helper.to_array(one).astype(kind), one.name) for one in net.constants
    ]
    return net


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with float32 in place of other types, values as they are."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.initializer[:]
    for one in model.graph.initializer:
        made.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(one).astype(np.float32), one.name))
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return made


@pytest.mark.parametrize("kind", HALVES)
def test_models_of_other_reals(kind):
    net = network(kind)
    net.inputs[0].type.tensor_type.elem_type = HALVES[kind]
    assert_same_layers(net.model(), widened(net.model()))


@pytest.mark.parametrize("kind", HALVES)
def test_casts_around_a_model_of_other_reals(kind):
    net = network(kind)
    plain = widened(net.model())
    model = net.model()
    nodes = list(model.graph.node)
    nodes[0].input[0] = "narrow"
    nodes.insert(0, helper.make_node("Cast", ["image"], ["narrow"], "in", to=HALVES[kind]))
    nodes.append(helper.make_node("Cast", [net.current], ["wide"], "out", to=TensorProto.FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output[0].name = "wide"
    plain.graph.node[-1].output[0] = plain.graph.output[0].name = "wide"
    assert_same_layers(model, plain)


def test_constants_in_bfloat16_are_computed():
    model = models.Builder((2, 4, 4)).conv(2, 3, 1).model()
    weights = numpy_helper.to_array(model.graph.initializer[0])
    narrow = numpy_helper.from_array(weights.astype(bfloat16), "narrow")
    model.graph.initializer[0].CopyFrom(narrow)
    made = [
        helper.make_node("CastLike", ["narrow", "image"], ["wide"], "like"),
        helper.make_node("Cast", ["wide"], ["again"], "cast", to=TensorProto.BFLOAT16),
        helper.make_node("Neg", ["again"], [model.graph.node[0].input[1]], "neg"),
    ]
    for node in reversed(made):
        model.graph.node.insert(0, node)
    found = quant.load_float(model).layers[0].weights
    np.testing.assert_array_equal(found, -weights.astype(bfloat16).astype(np.float32))


def test_a_cast_to_integers_is_refused():
    model = models.Builder((2, 4, 4)).conv(2, 3, 1).node("Cast", to=TensorProto.INT64).model()
    message = r"^node 'cast1' \(Cast\): casts to INT64; only types of reals work \(float, float16, bfloat16, double\)$"
    with pytest.raises(quant.ModelError, match=message):
        quant.load_float(model)


def function(name: str, nodes: list[onnx.NodeProto], inputs: tuple[str, ...] = ("X",), attributes: tuple = ()):
    opsets = [helper.make_opsetid("", models.OPSET), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, list(inputs), ["Y"], nodes, opsets, list(attributes))


def with_functions(net: models.Builder, *functions: onnx.FunctionProto) -> onnx.ModelProto:
    model = net.model()
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.functions.extend(functions)
    return model


def call(net: models.Builder, name: str, *constants: str, **attributes) -> None:
    net.join(name, net.current, *constants, **attributes)
    net.nodes[-1].domain = "own"


def test_functions_of_a_model_are_put_where_they_are_called():
    """One inside the other, twice, with an attribute handed on; the names inside are the same in each call."""
    act = helper.make_node("LeakyRelu", ["made"], ["Y"], "act")
    act.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    inner = function("Inner", [helper.make_node("Conv", ["X", "W"], ["made"], "conv"), act], ("X", "W"), ("slope",))
    handed = helper.make_node("Inner", ["X", "W"], ["Y"], "made", domain="own", slope=0.25)
    outer = function("Outer", [handed], ("X", "W"))
    net = models.Builder((2, 6, 6))
    plain = models.Builder((2, 6, 6))
    for _ in range(2):
        weights = net.he(2, 2, 3, 3)
        call(net, "Outer", net.constant(weights))
        plain.node("Conv", weights).node("LeakyRelu", alpha=0.25)
    found, expected = quant.load_float(with_functions(net, inner, outer)), quant.load_float(plain.model())
    assert [layer.operator for layer in found.layers] == ["Conv", "LeakyRelu", "Conv", "LeakyRelu"]
    for one, other in zip(found.layers[::2], expected.layers[::2], strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
    assert [layer.attributes for layer in found.layers[1::2]] == [{"alpha": 0.25}, {"alpha": 0.25}]
    assert_same_as_onnxruntime(with_functions(net, inner, outer))


def test_functions_that_would_be_without_end_are_refused():
    net = models.Builder((2, 6, 6))
    call(net, "F0")
    net.conv(2, 3, 1)
    again = function("F0", [helper.make_node("F0", ["X"], ["Y"], domain="own")])
    with pytest.raises(
        quant.ModelError, match=r"^the model's functions call each other more than 50 deep, or themselves$"
    ):
        quant.load_float(with_functions(net, again))
    twice = [
        function(
            f"F{number}",
            [
                helper.make_node(f"F{number + 1}", ["X"], ["half"], domain="own"),
                helper.make_node(f"F{number + 1}", ["half"], ["Y"], domain="own"),
            ],
        )
        for number in range(30)
    ]
    last = function("F30", [helper.make_node("Relu", ["X"], ["Y"])])
    message = (
        r"^the model's functions would become 1,073,741,825 nodes of \d\d,\d{3},\d{3},\d{3} bytes; 100,000 nodes and"
    )
    with pytest.raises(quant.ModelError, match=message):
        quant.load_float(with_functions(net, *twice, last))


def test_an_old_opset_says_the_same():
    """Opset 6 and opset 7 of one network: broadcasting by axis, slopes for channels, marks that are gone."""
    told = {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}
    rows = np.float32([[[0.5]], [[-0.25]], [[2.0]], [[1.0]]])
    slopes = np.full(4, 0.125, np.float32)
    old, new = models.Builder((2, 8, 8), opset=6), models.Builder((2, 8, 8), opset=7)
    for net in (old, new):
        aligned = {"broadcast": 1, "axis": 1} if net is old else {}
        net.conv(2, 4, 3)
        net.node(
            "BatchNormalization",
            *np.abs(net.he(4, 4)) + 1,
            **(told if net is old else {}),
        )
        net.node("Mul", rows.reshape(4) if net is old else rows, **aligned)
        net.node("Sub", *[np.float32(0.5)], **({"broadcast": 1} if net is old else {}))
        net.node("PRelu", slopes if net is old else slopes.reshape(4, 1, 1))
        net.node("Pad", **{"paddings" if net is old else "pads": [0, 0, 1, 0, 0, 0, 0, 1]})
        net.node("Dropout", **({"is_test": 1} if net is old else {})).node("Cast", to="FLOAT" if net is old else 1)
        net.flatten().node(
            "Gemm", net.he(5, 4 * 7 * 7), net.bias(5), transB=1, **({"broadcast": 1} if net is old else {})
        )
    assert_same_layers(old.model(), new.model())


def test_batch_normalization_that_trains_is_refused():
    net = models.Builder((2, 4, 4), opset=6).conv(2, 3, 1)
    net.norm(3)
    message = r"^node 'batchnormalization1' \(BatchNormalization\): is_test is 0, which trains; export the model for"
    with pytest.raises(quant.ModelError, match=message):
        quant.load_float(net.model())


def weights_by(net: models.Builder, shape: tuple[int, ...], *steps: tuple) -> None:
    """A convolution whose weights are made of a constant by ``steps``: operator, further constants, attributes."""
    name = net.constant(np.abs(net.he(*shape)) + np.float32(0.1))
    for number, (operator, constants, attributes) in enumerate(steps):
        names = [name if one is None else net.constant(one) for one in (None, *constants)]
        net.nodes.append(helper.make_node(operator, names, [f"step{number}"], f"step{number}", **attributes))
        name = f"step{number}"
    net.nodes.append(helper.make_node("Conv", [net.current, name], ["made"], "conv"))
    net.current = "made"


ONES = np.ones((4, 2, 3, 3), np.float32)
COMPUTED = {
    "norm": [("ReduceL2", [np.array([1, 2, 3])], {"keepdims": 1}), ("Reciprocal", [], {}), ("Mul", [ONES], {})],
    "squares": [("ReduceSumSquare", [np.array([1])], {}), ("Sqrt", [], {}), ("Tile", [np.array([1, 2, 1, 1])], {})],
    "clipped": [("Clip", [np.float32(0.2), np.float32(0.5)], {}), ("Sign", [], {}), ("Softplus", [], {})],
    "masked": [("ScatterND", [np.array([[0, 1], [3, 0]]), ONES[:2, 0]], {})],
    "scattered": [("ScatterElements", [np.zeros((4, 2, 3, 1), np.int64), ONES[..., :1]], {"axis": 3})],
    "padded": [("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {}), ("Abs", [], {})],
    "multiplied": [("MatMul", [np.float32([[1, 2, 0], [0, 1, 0], [0.5, 0, 1]])], {}), ("Tanh", [], {})],
    "mixed": [
        ("Reshape", [np.array([4, 18])], {}),
        ("Gemm", [np.eye(18, k=1, dtype=np.float32)], {"transB": 1}),
        ("Reshape", [np.array([4, 2, 3, 3])], {}),
    ],
}


@pytest.mark.parametrize("case", COMPUTED)
def test_weights_that_are_computed(case):
    net = models.Builder((2, 8, 8))
    weights_by(net, (4, 2, 3, 3), *COMPUTED[case])
    assert assert_same_as_onnxruntime(net.model()) == ["Conv"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_choice_that_is_constant(taken):
    net = models.Builder((2, 4, 4)).conv(2, 3, 1)
    first = net.current
    second = net.at("image").conv(2, 3, 1).current
    net.join("Where", net.constant(np.full((1, 3, 1, 1), taken)), first, second)
    assert [layer.name for layer in quant.load_float(net.model()).layers] == ["conv1" if taken else "conv2"]


@pytest.mark.parametrize(
    ("condition", "other", "message"),
    [
        (np.array(False), np.float32(1), "always takes the constant 'constant_3'; only a map works"),
        (
            np.array(True),
            np.ones((5, 1, 1, 1, 1), np.float32),
            "spreads [1, 3, 4, 4] to [5, 1, 3, 4, 4]; only a choice of one shape works",
        ),
    ],
)
def test_a_choice_that_is_not_is_refused(condition, other, message):
    net = models.Builder((2, 4, 4)).conv(2, 3, 1)
    names = net.constant(condition), net.current, net.current if other is None else net.constant(other)
    net.join("Where", *names)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == f"node 'where1' (Where): {message}"


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_that_is_fixed(batch):
    net = models.Builder((2, 4, 4)).conv(2, 3, 1).node("Reshape", np.array([batch, 48])).gemm(48, 5)
    net.inputs[0].type.tensor_type.shape.dim[0].dim_value = batch
    assert [layer.operator for layer in quant.load_float(net.model()).layers] == ["Conv", "Gemm"]
