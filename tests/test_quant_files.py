"""QDQ files of our own: they come back as they went, run in integers, and damage ends in an error."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from systolith import quant
from systolith.quant.graph import output_shape

from . import models, npz, oracle
from .graphs import conv_graph, pool_graph

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


def assert_same(found: quant.Graph, expected: quant.Graph) -> None:
    assert (found.input, found.output) == (expected.input, expected.output)
    assert list(found.tensors) == list(expected.tensors)
    for name, tensor in expected.tensors.items():
        if isinstance(tensor, quant.FeatureMap):
            assert found.tensors[name] == tensor
        else:
            assert (found.tensors[name].name, found.tensors[name].shape) == (name, tensor.shape)
            np.testing.assert_array_equal(found.tensors[name].scales, tensor.scales)
    assert len(found.layers) == len(expected.layers)
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert (type(one), one.operator) == (type(other), other.operator)
        for field in fields(other):
            value, wanted = getattr(one, field.name), getattr(other, field.name)
            if isinstance(wanted, np.ndarray):
                np.testing.assert_array_equal(value, wanted)
                assert value.dtype == wanted.dtype
            else:
                assert value == wanted, f"{other.name}: {field.name}"


BITS = [(8, 8), (2, 2), (4, 6), (16, 8), (8, 16), (12, 9)]


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), BITS)
@pytest.mark.parametrize(
    "name", ["relu6", "conv_pool_overlap", "asymmetric_pads", "groups2", "gemm_of_map", "pool_ceil"]
)
def test_what_is_written_is_read_back(name, weight_bits, activation_bits, scales, tmp_path):
    model = models.single(name)
    graph = quant.quantize(model, models.images(model, 4), quant.Settings(scales, weight_bits, activation_bits))
    quant.save(graph, tmp_path / "q.onnx")
    assert_same(quant.load(tmp_path / "q.onnx"), graph)


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 5), (2, 2)])
@pytest.mark.parametrize("name", models.BRANCHED)
def test_networks_that_branch_are_read_back(name, weight_bits, activation_bits, scales, tmp_path):
    model = models.branched(name)
    graph = quant.quantize(model, models.images(model, 4), quant.Settings(scales, weight_bits, activation_bits))
    quant.save(graph, tmp_path / "q.onnx")
    assert_same(quant.load(tmp_path / "q.onnx"), graph)


def test_whole_networks_are_read_back():
    graph = quant.quantize(LENET / "lenet5.onnx", npz.read(LENET / "calibration.npz")["x"][:50])
    assert_same(quant.load(quant.to_onnx(graph)), graph)
    model = models.cifar()
    graph = quant.quantize(model, models.images(model, 2), quant.Settings("pow2"))
    assert_same(quant.load(quant.to_onnx(graph)), graph)


@pytest.mark.parametrize(
    "bounds", [(0, 255, 0), (-128, 127, 5), (3, 77, 20), (0, 65535, 32768), (-300, 200, 0), (-128, 127, -128)], ids=str
)
def test_any_range_is_read_back(bounds):
    weights = np.random.default_rng(0).integers(-127, 128, (3, 2, 3, 3))
    for target in (bounds, None):
        graph = conv_graph((2, 6, 7), weights, bias=np.arange(3), source=bounds, target=target, pads=(0, 1, 2, 0))
        assert_same(quant.load(quant.to_onnx(graph)), graph)
    graph = pool_graph((2, 6, 7), (3, 2), (2, 1), (1, 0, 0, 1), bounds)
    assert_same(quant.load(quant.to_onnx(graph)), graph)


def test_the_same_graph_makes_the_same_bytes(tmp_path):
    model = models.tiny()
    for name in ("a.onnx", "b.onnx"):
        quant.save(quant.quantize(model, models.images(model, 4)), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("bits", [8, 5])
def test_onnxruntime_runs_every_layer_in_integers(tmp_path, scales, bits):
    net = models.Builder((3, 12, 12)).conv(3, 8, 3).relu6().pool().conv(8, 6, 3, group=2).flatten().gemm(54, 9).relu()
    model = net.gemm(9, 4).model()
    graph = quant.quantize(model, models.images(model, 8), quant.Settings(scales, bits, bits))
    found = oracle.kernels(quant.to_onnx(graph), str(tmp_path / "optimized.onnx"))
    assert (found.count("QLinearConv"), found.count("QGemm")) == (2, 2)
    assert not {"Conv", "Gemm", "MatMul", "FusedConv"} & set(found)


@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("residual", {"QLinearConv": 9, "QLinearAdd": 3, "QLinearGlobalAveragePool": 1, "QGemm": 1}),
        ("inception", {"QLinearConv": 8, "QLinearConcat": 1, "QLinearGlobalAveragePool": 1, "LRN": 1}),
        ("dense", {"QLinearConv": 10, "QLinearConcat": 3, "QLinearAveragePool": 1}),
        ("shortcuts", {"QLinearConv": 1, "QLinearAdd": 4, "QGemm": 3}),
        ("pooled_concat", {"QLinearConv": 4, "QLinearConcat": 1, "QLinearLeakyRelu": 1, "Tanh": 1}),
    ],
)
def test_onnxruntimes_kernels_for_networks_that_branch(tmp_path, name, kernels):
    """LRN and most functions have none in integers, and that of averages sums in float: see docs/quantization.md."""
    model = models.branched(name)
    graph = quant.quantize(model, models.images(model, 4))
    found = oracle.kernels(quant.to_onnx(graph), str(tmp_path / "optimized.onnx"))
    assert {kernel: found.count(kernel) for kernel in kernels} == kernels
    assert not {"Conv", "Gemm", "MatMul", "FusedConv", "Add", "Concat", "GlobalAveragePool"} & set(found)


def one_layer(layer, shape=(2, 6, 6)) -> quant.Graph:
    source = quant.FeatureMap("x", shape, np.float32(0.1), 0, 0, 255)
    target = quant.FeatureMap("y", output_shape(layer, (shape,)), np.float32(0.05), 0, 0, 255)
    return quant.check(quant.Graph(("x",), ("y",), (layer,), {"x": source, "y": target}))


def test_tables_that_onnx_cannot_say_are_refused():
    values = np.arange(256, dtype=np.int32)
    zeros = np.zeros(256, np.int32)
    lrn = quant.Normalization("lrn", "x", "y", 3, 1e-4, 0.75, 1.0, 10, 24, zeros, zeros)
    cases = {
        quant.Table("t", "Tanh", "x", "y", values): "its table is not that of Tanh; ONNX has no such node",
        quant.Table("t", "Cube", "x", "y", values): "Cube is not one of Abs, ",
        lrn: "its tables are not those of its LRN; ONNX has no such node",
    }
    for layer, message in cases.items():
        with pytest.raises(quant.GraphError) as caught:
            quant.to_onnx(one_layer(layer))
        assert str(caught.value).startswith(f"layer '{layer.name}': {message}")


def test_layers_after_a_fully_connected_one_get_their_rows_and_columns_back():
    net = models.Builder((3, 5, 5)).conv(3, 4, 3).flatten().gemm(36, 6).relu()
    model = net.node("Unsqueeze", np.array([2, 3])).conv(6, 5, 1).model()
    graph = quant.quantize(model, models.images(model, 4))
    assert_same(quant.load(quant.to_onnx(graph)), graph)
    oracle.assert_every_tensor_equal(graph, models.images(model, 4))


def test_names_that_clash_are_told_apart():
    net = models.Builder((2, 6, 6)).conv(2, 3, 3).relu().conv(3, 2, 3)
    for node in net.nodes:
        for field in (node.input, node.output):
            for index, name in enumerate(field):
                field[index] = {"relu1_out": "image_quantized", "conv1_out": "image_scale"}.get(name, name)
    model = net.model()
    graph = quant.quantize(model, models.images(model, 4))
    written = quant.to_onnx(graph)
    assert_same(quant.load(written), graph)
    onnx.checker.check_model(written, full_check=True)


@pytest.mark.parametrize("place", range(0, 100, 7))
def test_damaged_files_never_end_in_anything_but_an_error_of_ours(tmp_path, place):
    model = models.tiny()
    data = bytearray(quant.to_onnx(quant.quantize(model, models.images(model, 2))).SerializeToString())
    random = np.random.default_rng(place)
    refused = 0
    for _ in range(20):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), 4):
            damaged[at] = random.integers(0, 256)
        path = tmp_path / "q.onnx"
        path.write_bytes(damaged)
        try:
            quant.load(path)
        except quant.SystolithError:
            refused += 1
    assert refused > 0, "no damage was found"


def test_values_beyond_what_arithmetic_holds_are_refused():
    weights = numpy_helper.to_array(numpy_helper.from_array(np.full((1, 40000, 1, 1), 127, np.int8)))
    with pytest.raises(quant.GraphError, match="beyond int32; use fewer weight or activation bits"):
        conv_graph((40000, 1, 1), weights, source=(0, 65535, 0), target=None)
