"""Golden against ONNX Runtime's integer kernels: every tensor of every kind of network, to the last bit."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith import golden, quant

from . import models, npz, oracle
from .graphs import conv_graph, integers

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("name", models.SINGLE)
def test_single_layers(name, scales):
    model = models.single(name, seed=3)
    images = models.images(model, 16)
    oracle.assert_every_tensor_equal(quant.quantize(model, images, quant.Settings(scales)), images)


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (2, 2), (4, 4), (8, 5), (3, 8), (7, 6)])
def test_narrow_numbers(weight_bits, activation_bits, scales):
    net = models.Builder((3, 12, 12)).conv(3, 8, 3, pads=[1, 1, 1, 1]).relu6().conv(8, 6, 3).pool()
    model = net.conv(6, 5, 2).relu().flatten().gemm(5 * 4 * 4, 9).relu().gemm(9, 4).model()
    images = models.images(model, 16)
    settings = quant.Settings(scales, weight_bits, activation_bits)
    graph = quant.quantize(model, images, settings)
    oracle.assert_every_tensor_equal(graph, images)
    assert max(layer.weight_bits for layer in graph.layers if isinstance(layer, quant.Conv)) <= weight_bits
    assert all(t.bits <= activation_bits for t in graph.tensors.values() if isinstance(t, quant.FeatureMap))


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_cifar_shaped_network(scales):
    model = models.cifar()
    images = models.images(model, 20)
    oracle.assert_every_tensor_equal(quant.quantize(model, images, quant.Settings(scales)), images)


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("ranges", ["minmax", "mse"])
def test_lenet5_on_all_held_out_images(scales, ranges):
    calibration = npz.read(LENET / "calibration.npz")["x"]
    graph = quant.quantize(LENET / "lenet5.onnx", calibration, quant.Settings(scales, ranges=ranges))
    oracle.assert_every_tensor_equal(graph, npz.read(LENET / "test.npz")["x"])


def test_the_comparison_would_notice_one_wrong_weight():
    model = models.tiny()
    images = models.images(model, 16)
    graph = quant.quantize(model, images)
    graph.layers[0].weights[1, 0, 1, 1] ^= 1
    changed = quant.to_onnx(graph)
    graph.layers[0].weights[1, 0, 1, 1] ^= 1
    assert (golden.output(graph, images)[0] != oracle.run(changed, images)).any()


def test_sixteen_bit_graphs_stay_close_to_onnxruntime_which_computes_them_in_float():
    model = models.tiny()
    images = models.images(model, 16)
    graph = quant.quantize(model, images, quant.Settings("float", 12, 16))
    expected = oracle.run(quant.to_onnx(graph), images)
    np.testing.assert_allclose(golden.output(graph, images)[0], expected, rtol=1e-4, atol=1e-4)


def test_chunks_do_not_change_the_result(monkeypatch):
    model = models.single("conv_pool_overlap")
    images = models.images(model, 7)
    graph = quant.quantize(model, images)
    whole = golden.run(graph, golden.quantize_input(graph, images))
    monkeypatch.setattr("systolith.golden.network.CHUNK_VALUES", 1)
    seen = []
    single = golden.run(graph, golden.quantize_input(graph, images), progress=lambda *done: seen.append(done))
    assert seen == [(count, 7) for count in range(1, 8)]
    for name, values in whole.items():
        np.testing.assert_array_equal(single[name], values)


def test_memory_is_bounded_whatever_the_number_of_images():
    graph = quant.quantize(LENET / "lenet5.onnx", npz.read(LENET / "calibration.npz")["x"][:20])
    x_q = np.zeros((3000, 1, 28, 28), np.uint8)
    tracemalloc.start()
    try:
        golden.run(graph, x_q, [graph.output])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40e6, f"{peak} bytes"


def test_only_the_tensors_asked_for_and_no_images_at_all():
    graph = conv_graph((2, 4, 4), np.ones((3, 2, 2, 2)))
    assert list(golden.run(graph, integers(graph, 2), ["y"])) == ["y"]
    found = golden.run(graph, integers(graph, 0))
    assert found["y"].shape == (0, 3, 3, 3)


def test_results_come_in_the_narrowest_type():
    for bounds, kind in (
        ((0, 255, 0), "uint8"),
        ((-128, 127, 0), "int8"),
        ((0, 300, 0), "uint16"),
        ((-1, 255, 0), "int16"),
    ):
        graph = conv_graph((1, 2, 2), np.ones((1, 1, 1, 1)), source=bounds, target=bounds)
        assert golden.run(graph, integers(graph, 1))["y"].dtype == kind


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 2, 4, 4), np.float32), "input 'x' has type float32; it must be integers (golden.quantize_input "),
        (np.zeros((1, 2, 4, 5), np.int32), "input 'x' has shape (1, 2, 4, 5); it must be (N, 2, 4, 4)"),
        (np.zeros((2, 4, 4), np.int32), "input 'x' has shape (2, 4, 4); it must be (N, 2, 4, 4)"),
        (np.full((1, 2, 4, 4), 256), "input 'x' has values 256..256; they must be 0..255"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(values, message):
    graph = conv_graph((2, 4, 4), np.ones((3, 2, 2, 2)))
    with pytest.raises(quant.DataError) as caught:
        golden.run(graph, values)
    assert str(caught.value).startswith(message)


def test_a_convolution_may_hand_out_sums_too():
    graph = conv_graph((2, 4, 4), np.arange(24).reshape(3, 2, 2, 2) - 11, target=None)
    again = quant.load(quant.to_onnx(graph))
    images = golden.dequantize(integers(graph, 4), graph.map_of("x"))
    expected = oracle.run(quant.to_onnx(graph), images)
    np.testing.assert_allclose(golden.output(again, images)[0], expected, rtol=1e-5, atol=1e-5)


def test_onnx_checker_and_names_of_the_float_model():
    graph = quant.quantize(LENET / "lenet5.onnx", npz.read(LENET / "calibration.npz")["x"][:20])
    model = quant.to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    assert (model.graph.input[0].name, model.graph.output[0].name) == ("image", "logits")
    assert model.opset_import[0].version == 21
    names = {node.name for node in model.graph.node}
    assert {"/0/Conv", "/2/MaxPool", "/3/Conv", "/5/MaxPool", "/7/Gemm", "/9/Gemm", "/11/Gemm"} <= names
