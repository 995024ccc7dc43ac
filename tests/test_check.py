"""``systolith check``: everything that is in a model's way at once, or its layers as they will run."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import helper

import systolith
from systolith import cli
from systolith.quant.onnx.survey import OTHERWISE, STATISTICS

from . import models
from .qdq import conv_chain


def obstructed() -> onnx.ModelProto:
    """Four nodes that do not work, the second and third behind the first, one of unknown shape, and one behind that."""
    net = models.Builder((3, 8, 8)).conv(3, 4, 3)
    scale = np.ones(4, np.float32)
    net.node("InstanceNormalization", scale, scale).relu().conv(4, 4, 1)
    net.node("Clip", np.float32(1), np.float32(np.nan)).conv(4, 2, 1)
    net.node("NewOperator").node("LpPool", kernel_shape=[2, 2])
    return net.model()


def test_every_obstacle_is_named_with_what_would_work():
    found = systolith.check_model(obstructed())
    assert not found.works
    assert found.layers == ()
    assert [(one.node, one.operator, one.reason, one.remedy) for one in found.refusals] == [
        (
            "instancenormalization1",
            "InstanceNormalization",
            "operator InstanceNormalization is not supported",
            STATISTICS,
        ),
        ("clip1", "Clip", "its max must be one number", ""),
        ("newoperator1", "NewOperator", "operator NewOperator is not supported", OTHERWISE),
    ]
    assert found.unseen == ("node 'lppool1' (LpPool)",)


def test_a_model_that_works_is_shown_as_it_will_run():
    net = models.Builder((3, 8, 8)).conv(3, 4, 3).norm(4).relu().pool().flatten().gemm(36, 5).node("Softmax")
    found = systolith.check_model(net.model())
    assert found.works
    assert [(layer.name, layer.kind, layer.shape, layer.macs) for layer in found.layers] == [
        ("conv1", "Convolution", (4, 6, 6), 3888),
        ("maxpool1", "Pooling", (4, 3, 3), 0),
        ("gemm1", "Convolution", (5, 1, 1), 180),
    ]
    assert found.left == ("Reshape to Nx5, of 'softmax1_out'", "Softmax along axis 1, of 'softmax1_out'")


def test_what_no_node_alone_is_to_blame_for():
    net = models.Builder((3, 8, 8)).conv(3, 4, 3).node("Softmax").conv(4, 2, 1)
    (refusal,) = systolith.check_model(net.model()).refusals
    assert refusal.node == "conv2"
    assert refusal.reason.startswith("reads what is left to the host, ArgMax, LogSoftmax, Softmax at the end;")


@pytest.mark.parametrize("broken", [False, True])
def test_quantized_models_are_checked_too(broken):
    chain = conv_chain().qdq()
    if broken:
        chain.node("Einsum").qdq()
    found = systolith.check_model(chain.model())
    assert found.works is not broken
    assert [layer.kind for layer in found.layers] == ([] if broken else ["Conv"])


def test_the_command_says_it_to_people_and_programs(tmp_path, capsys):
    path = tmp_path / "model.onnx"
    onnx.save(obstructed(), path)
    assert cli.run(["check", str(path)]) == 1
    said = capsys.readouterr().out
    assert "3 of its nodes must change" in said
    assert "not judged, as they depend on those: node 'lppool1' (LpPool)" in said
    assert cli.run(["check", str(path), "--json"]) == 1
    assert [one["node"] for one in json.loads(capsys.readouterr().out)["refusals"]][1:] == ["clip1", "newoperator1"]
    onnx.save(models.tiny(), path)
    assert cli.run(["check", str(path)]) == 0
    assert "works, in 3 layers" in capsys.readouterr().out


def test_a_large_constant_is_not_copied_to_infer_shapes():
    model = obstructed()
    large = helper.make_tensor("large", onnx.TensorProto.FLOAT, [2**20], b"\0" * 2**22, raw=True)
    model.graph.initializer.append(large)
    assert len(systolith.check_model(model).refusals) == 3
