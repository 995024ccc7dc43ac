"""Models that ONNX forbids, and files that are none: each is refused in one line."""

from __future__ import annotations

import os
import warnings

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper

from systolith import quant
from systolith.cli import run
from systolith.quant.onnx import budget
from systolith.quant.onnx.foreign import foreign
from systolith.quant.qdq.linear import scaling

from . import models
from .qdq import WEIGHTS, Qdq


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


def output_twice(model, conv, relu):
    model.graph.output.append(model.graph.output[0])


def younger_operator(model, conv, relu):
    model.opset_import[0].version, relu.op_type = 8, "Where"


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
    output_twice: "the output 'relu1_out' is given twice; leave one out",
    younger_operator: "node 'relu1' (Where): its input 2, X, is missing; Where needs it",
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


RAISED = (
    *(ZeroDivisionError, AssertionError, AttributeError, BufferError, EOFError, IndexError, UnboundLocalError, OSError),
    *(NotImplementedError, RecursionError, TypeError, ValueError, DecodeError, onnx.checker.ValidationError),
)


@pytest.mark.parametrize("kind", RAISED)
def test_what_other_packages_raise_becomes_one_line(kind):
    with pytest.raises(quant.ModelError, match=r"^node 'n' \(Add\): it says$"), foreign("node 'n' (Add)"):
        raise kind("it says\nand more")


def test_what_other_packages_warn_of_is_not_said():
    with foreign("node 'n' (Add)"):
        assert np.isinf(np.float32(3e38) * np.ones(1, np.float32) * 10)
        warnings.warn("deprecated", stacklevel=1)


def test_scaling_is_one_for_each_channel():
    node = helper.make_node("QuantizeLinear", ["x", "s"], ["y"], "q", axis=-3)
    found = scaling(node, {"s": np.ones(5, np.float32)}, (2, 5, 3, 3))
    assert found.scale.shape == (1, 5, 1, 1)
