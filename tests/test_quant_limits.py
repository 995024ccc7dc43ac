"""What a model's file may claim: nothing is allocated or waited for because a damaged or hostile file says so."""

from __future__ import annotations

import os
import tracemalloc
import warnings

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from systolith import quant
from systolith.cli import run
from systolith.quant.onnx import budget
from systolith.quant.onnx.foreign import foreign
from systolith.quant.qdq.linear import scaling

from . import models
from .qdq import WEIGHTS, Qdq, conv_chain

MANY = 2**26
LIMIT = "; constants and weights of a file of this size may have 33,554,432 together"


def build(change) -> onnx.ModelProto:
    net = models.Builder((2, 8, 8))
    result = change(net)
    return result if isinstance(result, onnx.ModelProto) else net.model()


def computed(net: models.Builder, operator: str, *constants, **attributes) -> str:
    """A node that computes a constant, which nobody reads, before a convolution that needs none."""
    names = [net.constant(values) for values in constants]
    net.nodes.append(helper.make_node(operator, names, ["made"], "maker", **attributes))
    net.conv(2, 3, 1)
    return "made"


def chained(net):
    """Each alone would do."""
    size = net.constant(np.array([MANY // 4]))
    for number in range(3):
        net.nodes.append(helper.make_node("ConstantOfShape", [size], [f"made{number}"], f"maker{number}"))
    net.conv(2, 3, 1)


def grown(net):
    """Doubled again and again, by nodes of a few bytes."""
    name = net.constant(np.ones(1024, np.float32))
    for number in range(30):
        net.nodes.append(helper.make_node("Concat", [name, name], [f"made{number}"], f"maker{number}", axis=0))
        name = f"made{number}"
    net.conv(2, 3, 1)


def shared_weights(net):
    """One stored tensor, which becomes the weights of many layers."""
    weights = net.constant(np.zeros((1000, 2, 8, 8), np.float32))
    for number in range(300):
        net.nodes.append(helper.make_node("Conv", ["image", weights], [f"out{number}"], f"conv{number}"))
    net.current = "out0"


CONSTANTS = {
    "ConstantOfShape": (
        lambda net: computed(net, "ConstantOfShape", np.array([MANY])),
        f"node 'maker' (ConstantOfShape): takes 67,108,864 values{LIMIT}",
    ),
    "ConstantOfShape in two": (
        lambda net: computed(net, "ConstantOfShape", np.array([2**40, 2**40])),
        f"node 'maker' (ConstantOfShape): takes 1,208,925,819,614,629,174,706,176 values{LIMIT}",
    ),
    "empty but long": (
        lambda net: computed(net, "ConstantOfShape", np.array([0, 2**40])),
        f"node 'maker' (ConstantOfShape): takes 1,099,511,627,776 values{LIMIT}",
    ),
    "Expand": (
        lambda net: computed(net, "Expand", np.float32(1), np.array([2**13, 2**13])),
        f"node 'maker' (Expand): takes 67,108,864 values{LIMIT}",
    ),
    "Range": (
        lambda net: computed(net, "Range", np.int64(0), np.int64(MANY), np.int64(1)),
        f"node 'maker' (Range): takes 67,108,864 values{LIMIT}",
    ),
    "Range without a step": (
        lambda net: computed(net, "Range", np.int64(0), np.int64(9), np.int64(0)),
        "node 'maker' (Range): cannot be computed from its constant inputs: division by zero",
    ),
    "Pow": (
        lambda net: computed(net, "Pow", np.ones((2**13, 1), np.float32), np.ones(2**13, np.float32)),
        f"node 'maker' (Pow): takes 67,108,864 values{LIMIT}",
    ),
    "Gather": (
        lambda net: computed(net, "Gather", np.ones((1, 2**13), np.float32), np.zeros(2**13, np.int64)),
        f"node 'maker' (Gather): takes 67,108,864 values{LIMIT}",
    ),
    "Concat again and again": (
        grown,
        f"node 'maker14' (Concat): takes 33,554,432 values after 33,552,384 before{LIMIT}",
    ),
    "several": (chained, f"node 'maker2' (ConstantOfShape): takes 16,777,216 values after 33,554,432 before{LIMIT}"),
    "weights of many layers": (
        shared_weights,
        f"node 'conv262' (Conv): takes 128,000 values after 33,536,000 before{LIMIT}",
    ),
    "an operator that is not folded": (
        lambda net: computed(net, "Erf", np.ones(3, np.float32)),
        "node 'maker' (Erf): depends on constants only; of such Add, Cast, Ceil, Concat, ConstantOfShape, Div, Equal,"
        " Exp, Expand, Flatten, Floor, Gather, Identity, Max, Min, Mul, Neg, Pow, Range, Reciprocal, ReduceProd,"
        " Reshape, Shape, Slice, Split, Sqrt, Squeeze, Sub, Sum, Transpose, Unsqueeze, Where are computed",
    ),
    "text": (
        lambda net: computed(net, "Cast", np.ones(3, np.float32), to=TensorProto.STRING),
        "node 'maker' (Cast): makes text of constants; only numbers work",
    ),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants_are_measured_before_they_are_computed(case):
    change, message = CONSTANTS[case]
    model = build(change)
    tracemalloc.start()
    try:
        with pytest.raises(quant.ModelError) as caught:
            quant.import_onnx(model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value) == message
    assert peak < budget.BUDGET // 2


def test_a_large_file_may_have_weights_in_proportion():
    allowed = budget.Budget()
    allowed.stored = 2**30
    allowed.spend("weights", 2**32)
    with pytest.raises(quant.ModelError, match=r"^more: takes 1 values after 4,294,967,296 before; constants and"):
        allowed.spend("more", 1)


def larger_image(*shape):
    def change(net):
        net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])]
        net.conv(2, 3, 1)

    return change


def many_images(net):
    net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2**40, 2, 8, 8])]
    net.conv(2, 3, 1)


def concatenated(net):
    for _ in range(9):
        net.join("Concat", *[net.current] * 16, axis=1)


def kept_alive(net):
    """Maps that all wait for the last layer."""
    names = [net.at("image").conv(2, 64, 1, pads=[200] * 4).current for _ in range(20)]
    net.join("Concat", *names, axis=1).pool(3, 2000)


MEMORY = "MiB for one image; 1,024 MiB is the most, so use smaller images or fewer channels"
VALUES = "268,435,456 values an image are the most, and 32 bits a size"
MAPS = {
    "image": (larger_image(2, 2**15, 2**15), f"input 'image': has shape [1, 2, 32768, 32768]; {VALUES}"),
    "image beyond 32 bits": (
        larger_image(2, 2**40, 1),
        f"input 'image': has shape [1, 2, 1099511627776, 1]; {VALUES}",
    ),
    "batch beyond 32 bits": (many_images, f"input 'image': has shape [1099511627776, 2, 8, 8]; {VALUES}"),
    "pads": (
        lambda net: net.conv(2, 3, 3, pads=[2**31 - 1] * 4),
        f"node 'conv1' (Conv): has shape [1, 3, 4294967300, 4294967300]; {VALUES}",
    ),
    "pads that strides leave out": (
        lambda net: net.conv(2, 3, 3, pads=[10**5] * 4, strides=[2**31 - 1] * 2),
        f"layer 'conv1' (Conv): its maps and windows take 610,400 {MEMORY}",
    ),
    "dilation": (
        lambda net: net.conv(2, 3, 3, dilations=[2**30, 1], pads=[2**30, 0, 2**30, 0]),
        f"layer 'conv1' (Conv): its maps and windows take 262,144 {MEMORY}",
    ),
    "window": (
        lambda net: net.conv(2, 3, 1).node("AveragePool", kernel_shape=[2**15] * 2, auto_pad="SAME_UPPER"),
        f"layer 'averagepool1' (AveragePool): its maps and windows take 1,597,451 {MEMORY}",
    ),
    "normalization": (
        lambda net: net.node("LRN", size=2**31 - 1),
        f"layer 'lrn1' (LRN): its maps and windows take 2,097,152 {MEMORY}",
    ),
    "concatenations": (
        concatenated,
        "node 'concat6' (Concat): has shape [1, 33554432, 8, 8]; " + VALUES,
    ),
    "maps that wait": (kept_alive, f"layer 'conv16' (Conv): its maps and windows take 1,057 {MEMORY}"),
    "stride": (
        lambda net: net.conv(2, 3, 3, strides=[2**32, 1]),
        "node 'conv1' (Conv): strides is [4294967296, 1]; it must be integers of 32 bits",
    ),
    "axis": (
        lambda net: net.conv(2, 3, 3).node("Softmax", axis=2**32 + 1),
        "node 'softmax1' (Softmax): axis is 4294967297; it must be an integer of 32 bits",
    ),
    "axis of a tensor": (
        lambda net: net.conv(2, 3, 3).node("Softmax", axis=numpy_helper.from_array(np.zeros(2))),
        "node 'softmax1' (Softmax): axis is a TensorProto; it must be an integer of 32 bits",
    ),
    "axes": (
        lambda net: net.node("Unsqueeze", np.array([2**40])),
        "node 'unsqueeze1' (Unsqueeze): axes is [1099511627776]; it must be integers of 32 bits",
    ),
    "axes out of range": (
        lambda net: net.node("ReduceMean", np.array([2, 7])),
        "node 'reducemean1' (ReduceMean): axes are [2, 7]; each must be one of 4, and given once",
    ),
    "axes given twice": (
        lambda net: net.node("Unsqueeze", np.array([4, -2])),
        "node 'unsqueeze1' (Unsqueeze): axes are [4, -2]; each must be one of 6, and given once",
    ),
}


@pytest.mark.parametrize("case", MAPS)
def test_maps_and_integers_are_measured_at_import(case):
    change, message = MAPS[case]
    model = build(change)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert str(caught.value) == message


@pytest.mark.parametrize("large", [False, True])
def test_maps_of_quantized_models_are_measured_too(large):
    pads = [10**4 if large else 3] * 4
    model = conv_chain(pads=pads, strides=[10**5] * 2).qdq().model()
    if not large:
        quant.load(model)
        return
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == f"layer 'layer' (Conv): its maps and windows take 6,107 {MEMORY}"


def changed(change, net=None) -> onnx.ModelProto:
    """A convolution and a Relu, after ``change`` of the model."""
    model = (net or models.Builder((2, 8, 8)).conv(2, 3, 3).relu()).model()
    change(model, *model.graph.node)
    return model


def two_initializers(model, *nodes):
    model.graph.initializer.append(model.graph.initializer[0])


def negative_size(model, *nodes):
    model.graph.initializer[1].dims[0] = -3


def text_tensor(model, *nodes):
    model.graph.initializer[1].CopyFrom(helper.make_tensor("conv1_1", TensorProto.STRING, [3], [b"a", b"b", b"c"]))


def typeless(model, conv, relu):
    conv.attribute.add(name="group")


def wrong_field(model, conv, relu):
    conv.attribute.add(name="group", type=onnx.AttributeProto.INT, f=1.0)


def given_twice(model, conv, relu):
    for _ in range(2):
        conv.attribute.append(helper.make_attribute("group", 1))


def made_twice(model, conv, relu):
    relu.output[0] = conv.output[0]


def named_twice(model, conv, relu):
    relu.name = conv.name


def newer(model, *nodes):
    model.opset_import[0].version = 2**40


def nothing_made(model, conv, relu):
    relu.output[0] = ""


def nothing_read(model, conv, relu):
    conv.input[1] = ""


def much_read(model, conv, relu):
    relu.input.append("conv1_0")


def long_name(model, conv, relu):
    conv.name = "n" * 10**6


def escape(model, conv, relu):
    conv.name = "\x1b[2J"


def two_lines(model, *nodes):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "a\nb"


def typeless_constant(model, conv, relu):
    model.graph.node.insert(0, onnx.NodeProto(op_type="Constant", name="constant", output=["k"]))
    model.graph.node[0].attribute.add(name="value_int")


STRUCTURE = {
    two_initializers: "tensor 'conv1_0' is made twice, by an initializer and by an initializer; rename one",
    negative_size: "tensor 'conv1_1': has shape [-3]; sizes must be 0 or more, in 32 bits",
    text_tensor: "tensor 'conv1_1': holds text; only numbers work",
    typeless: "node 'conv1' (Conv): attribute 'group' is of type 0 and holds nothing",
    wrong_field: "node 'conv1' (Conv): attribute 'group' is of type 2 and holds f",
    given_twice: "node 'conv1' (Conv): attribute 'group' is given twice",
    made_twice: "tensor 'conv1_out' is made twice, by node 'conv1' (Conv) and by node 'relu1' (Relu); rename one",
    named_twice: "two nodes are called 'conv1', one Conv and one Relu; every node needs a name of its own, or none",
    newer: f"the model uses opset 1099511627776; up to {onnx.defs.onnx_opset_version()} are known, so export it again",
    nothing_made: "node 'relu1' (Relu): its output has no name; every output that is used needs one",
    nothing_read: "node 'conv1' (Conv): its input 2, W, is missing; Conv needs it",
    much_read: "node 'relu1' (Relu): has 2 inputs; Relu takes 1 at most",
    long_name: "a name in the model is 'nnnnnnnnnnnn...nnnnnnnnnnnnn'; it must be text of at most 1000 characters",
    escape: "a name in the model is '\\x1b[2J'; it must be text of at most 1000 characters",
    two_lines: "a name in the model is 'a\\nb'; it must be text of at most 1000 characters",
    typeless_constant: "node 'constant' (Constant): attribute 'value_int' is of type 0 and holds nothing",
}


@pytest.mark.parametrize("change", STRUCTURE, ids=lambda change: change.__name__)
def test_what_onnx_forbids_is_refused(change):
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(changed(change))
    assert str(caught.value) == STRUCTURE[change]


@pytest.mark.parametrize("missing", ["then_branch", "else_branch", "output", ""])
def test_an_if_without_the_branch_that_is_taken(missing):
    net = models.Builder((2, 8, 8))
    inner = helper.make_node("Conv", ["image", net.constant(net.he(3, 2, 3, 3))], ["inside"], "conv")
    made = [onnx.ValueInfoProto(name="inside")] if missing != "output" else []
    branches = {
        name: helper.make_graph([inner], name, [], made) for name in ("then_branch", "else_branch") if name != missing
    }
    condition = net.constant(np.array(missing != "else_branch"))
    net.nodes.append(helper.make_node("If", [condition], ["result"], "if", **branches))
    net.current = "result"
    if not missing:
        assert [layer.operator for layer in quant.load_float(net.model()).layers] == ["Conv"]
        return
    taken = "else_branch" if missing == "else_branch" else "then_branch"
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == f"node 'if' (If): its {taken} is missing, or does not make its 1 outputs"


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_a_quantized_constant_fit_its_axis(axis):
    net = Qdq().qdq()
    scales = net.net.constant(np.full(4, 0.1, np.float32))
    values = net.net.constant(WEIGHTS.astype(np.float32))
    net.net.nodes.append(helper.make_node("QuantizeLinear", [values, scales], ["q"], "q", axis=axis, output_dtype=3))
    net.net.nodes.append(helper.make_node("DequantizeLinear", ["q", scales], ["w"], "dq", axis=axis))
    model = net.layer("Conv", "w").qdq().model()
    if axis == 0:
        np.testing.assert_array_equal(
            quant.load(model).layers[0].weights, np.rint(WEIGHTS / np.float32(0.1)).clip(-128, 127)
        )
        return
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == "node 'q' (QuantizeLinear): has 4 scales for the 2 channels of axis 1; one each works"


def outside(path, location="weights.bin", **entries) -> None:
    """A model whose first weights are in another file, at least as it says."""
    model = models.tiny()
    tensor = model.graph.initializer[0]
    (path.parent / "weights.bin").write_bytes(tensor.raw_data + bytes(100))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "length": 288, **entries}.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    path.write_bytes(model.SerializeToString())


CANNOT = "tensor 'conv1_0': its external data cannot be read: "
OUTSIDE = {
    "longer than the shape": ({"length": 388}, f"{CANNOT}they have 388 bytes, but its shape [4, 2, 3, 3] takes 288"),
    "to the end": ({"length": None}, f"{CANNOT}they have 388 bytes, but its shape [4, 2, 3, 3] takes 288"),
    "terabytes": (
        {"length": 10**13},
        f"{CANNOT}they have 10,000,000,000,000 bytes, but its shape [4, 2, 3, 3] takes 288",
    ),
    "beyond the end": (
        {"offset": 10**13},
        f"{CANNOT}External data offset (10000000000000) exceeds file size (388) for tensor 'conv1_0'",
    ),
    "no number": ({"offset": "x"}, f"{CANNOT}invalid literal for int() with base 10: 'x'"),
    "a device": (
        {"location": "/dev/zero"},
        "cannot read '/dev/zero': it is a device or a pipe; copy what it holds into a file",
    ),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_external_data_are_measured_before_they_are_read(tmp_path, case):
    entries, message = OUTSIDE[case]
    outside(tmp_path / "model.onnx", **entries)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(tmp_path / "model.onnx")
    assert str(caught.value) == message


def test_external_data_need_a_path(tmp_path):
    outside(tmp_path / "model.onnx")
    assert len(quant.load_float(tmp_path / "model.onnx").layers) == 3
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(onnx.load(tmp_path / "model.onnx", load_external_data=False))
    assert str(caught.value) == (
        "tensor 'conv1_0': its values are in another file; give the model's path, so that it can be found"
    )


def test_only_files_of_bounded_size_are_read(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(budget.LARGEST_FILE + 1)
    what = "it is a device or a pipe; copy what it holds into a file"
    expected = {
        "/dev/zero": f"cannot read '/dev/zero': {what}",
        str(tmp_path / "pipe"): f"cannot read '{tmp_path}/pipe': {what}",
        str(tmp_path / "huge"): f"'{tmp_path}/huge' has 1,073,741,825 bytes; at most 1,073,741,824 are read",
        "a\0b": "cannot read the model 'a\0b': embedded null byte",
    }
    for path, message in expected.items():
        for load in (quant.load, quant.load_float):
            with pytest.raises(quant.ModelError) as caught:
                load(path)
            assert str(caught.value) == message
    assert run(["golden", "/dev/zero", "--inputs", "x.npz", "-o", str(tmp_path / "y.npz")]) == 1
    assert capsys.readouterr().err == f"systolith: error: {expected['/dev/zero']}\n"


@pytest.mark.parametrize(
    "kind",
    [
        *(ZeroDivisionError, AssertionError, AttributeError, BufferError, EOFError, IndexError, UnboundLocalError),
        *(OSError, NotImplementedError, RecursionError, TypeError, ValueError, DecodeError),
        onnx.checker.ValidationError,
    ],
)
def test_what_other_packages_raise_becomes_one_line(kind):
    with pytest.raises(quant.ModelError, match=r"^node 'n' \(Add\): it says$"), foreign("node 'n' (Add)"):
        raise kind("it says\nand more")


def test_what_other_packages_warn_of_is_not_said():
    with foreign("node 'n' (Add)"):
        assert np.isinf(np.float32(3e38) * np.ones(1, np.float32) * 10)
        warnings.warn("deprecated", stacklevel=1)


def test_many_identities_take_one_walk(monkeypatch):
    net = models.Builder((2, 4, 4))
    for _ in range(20):
        net.node("Identity")
    net.conv(2, 3, 3)
    for _ in range(20):
        net.node("Identity").node("Dropout")
    calls = []
    from systolith.quant.networks import passes

    real = passes.shapes
    monkeypatch.setattr(passes, "shapes", lambda graph: calls.append(1) or real(graph))
    network = quant.load_float(net.model())
    assert [(layer.inputs, layer.output) for layer in network.layers] == [(("image",), "dropout20_out")]
    assert len(calls) < 20


def test_scaling_is_one_for_each_channel():
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], "q", axis=-3)
    found = scaling(node, {"s": np.ones(5, np.float32)}, (2, 5, 3, 3))
    assert found.scale.shape == (1, 5, 1, 1)


def test_a_scale_that_takes_integers_beyond_float32_is_refused():
    source = quant.FeatureMap("x", (1, 1, 1), np.float32(2e36), 0, 0, 255)
    target = quant.FeatureMap("y", (1, 1, 1), np.float32(2e36), 0, 0, 255)
    layer = quant.MaxPool("pool", "x", "y", (1, 1))
    with pytest.raises(quant.GraphError) as caught:
        quant.check(quant.Graph("x", "y", (layer,), {"x": source, "y": target}))
    assert str(caught.value) == "tensor 'x': scale 2e+36 takes 255 steps beyond float32; use smaller weights"


def test_numbers_beyond_float32_are_refused():
    net = models.Builder((2, 2, 2)).flatten()
    net.node("Gemm", np.full((3, 8), 1e30, np.float32), transB=1, alpha=1e30)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    message = "node 'gemm1' (Gemm): alpha 1e+30 or beta 1 takes its weights or bias beyond float32"
    assert str(caught.value) == message


def test_sixteen_bit_models_read_their_numbers(tmp_path):
    """Constants of float16 are converted one by one, as such a file does."""
    net = models.Builder((2, 6, 6))
    half = net.constant(net.he(3, 2, 3, 3).astype(np.float16))
    net.nodes.append(helper.make_node("Cast", [half], ["whole"], "cast", to=TensorProto.FLOAT))
    net.node("Conv")
    net.nodes[-1].input.append("whole")
    (layer,) = quant.load_float(net.model()).layers
    np.testing.assert_array_equal(layer.weights, numpy_helper.to_array(net.constants[0]).astype(np.float32))
