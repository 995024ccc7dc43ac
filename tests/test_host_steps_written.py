"""What the host does to inputs and outputs, as nodes of the written file: inputs and outputs keep their names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from systolith import quant, quantize_model, run_golden

from . import models, oracle


def named(net: models.Builder, input_name: str, outputs: Sequence[tuple[str, str]]) -> onnx.ModelProto:
    """The model of ``net`` with its input called ``input_name``, and for each of ``outputs`` (tensor, name) one."""
    called = {"image": input_name, **dict(outputs)}
    model = net.model()
    model.graph.input[0].name = input_name
    for node in model.graph.node:
        node.input[:] = [called.get(name, name) for name in node.input]
        node.output[:] = [called.get(name, name) for name in node.output]
    del model.graph.output[:]
    for _, name in outputs:
        model.graph.output.add(name=name).type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return model


def of_map(input_name: str) -> onnx.ModelProto:
    net = models.Builder((2, 3, 3)).conv(2, 4, 1).relu().node("Transpose", perm=[0, 2, 3, 1])
    return named(net, input_name, [(net.current, "y")])


def of_sums(input_name: str) -> onnx.ModelProto:
    net = models.Builder((2, 3, 3)).flatten().gemm(18, 4).node("Reshape", np.array([-1, 2, 2]))
    return named(net, input_name, [(net.current, "y")])


def two_outputs(input_name: str) -> onnx.ModelProto:
    """The second has the name that the first would have before the host's step."""
    net = models.Builder((2, 3, 3)).conv(2, 4, 1).relu()
    inner = net.current
    first = net.node("Transpose", perm=[0, 2, 3, 1]).current
    second = net.at(inner).conv(4, 3, 1).relu().current
    return named(net, input_name, [(first, "y"), (second, "y_last")])


def arranged_input(input_name: str) -> onnx.ModelProto:
    """The output has the name that the input would have behind the host's step."""
    net = models.Builder((3, 3, 2)).node("Transpose", perm=[0, 3, 1, 2]).conv(2, 4, 1).relu()
    return named(net, input_name, [(net.current, f"{input_name}_arranged")])


@pytest.mark.parametrize(
    ("make", "input_name"),
    [(of_map, "y_last"), (of_sums, "y_last"), (two_outputs, "x"), (two_outputs, "y_last_2"), (arranged_input, "x")],
)
def test_names_that_the_hosts_steps_would_take(make, input_name):
    """The file is valid, its inputs and outputs have the model's names, and ONNX Runtime runs it."""
    model = make(input_name)
    images = models.images(model, 4)
    quantized = quantize_model(model, images)
    file = quantized.model
    for ports in ("input", "output"):
        wanted, found = ([value.name for value in getattr(one.graph, ports)] for one in (model, file))
        assert found == wanted
    assert quant.load(file).arrays.keys() == quantized.graph.arrays.keys() != set()
    expected = oracle.session(file).run(None, {input_name: images})
    found = run_golden(file, images).reals
    for value, right in zip(file.graph.output, expected, strict=True):
        np.testing.assert_array_equal(found[value.name], right)
