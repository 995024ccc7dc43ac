"""Post-training quantization as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper

from systolith import golden, quant
from systolith.quant.graph import requantization_scales, sum_bounds

from . import models, npz, oracle

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


def quantize(model, *settings, count: int = 16) -> quant.Graph:
    return quant.quantize(model, models.images(model, count), quant.Settings(*settings))


def maps(graph: quant.Graph) -> list[quant.FeatureMap]:
    return [tensor for tensor in graph.tensors.values() if isinstance(tensor, quant.FeatureMap)]


def convs(graph: quant.Graph) -> list[quant.Conv]:
    return [layer for layer in graph.layers if isinstance(layer, quant.Conv)]


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_powers_of_two_leave_only_shifts(bits):
    graph = quantize(models.cifar(), "pow2", min(bits, 8), bits, count=2)
    for layer in convs(graph):
        if layer.output != graph.output:
            scales = requantization_scales(layer, graph)
            assert (np.frexp(scales)[0] == 0.5).all()
    for tensor in maps(graph):
        assert tensor.zero_point in (0, 2 ** (bits - 1))
        assert np.frexp(tensor.scale)[0] == 0.5


def test_maps_around_poolings_share_one_grid_calibrated_on_what_the_pooling_lets_through():
    net = models.Builder((3, 12, 12)).conv(3, 4, 3).pool(3, 1).pool(2, 2)
    model = net.model()
    images = models.images(model, 16)
    graph = quant.quantize(model, images, quant.Settings(ranges="minmax"))
    first, second, third = maps(graph)[1:]
    assert first.scale == second.scale == third.scale
    assert (first.zero_point, first.low, first.high) == (third.zero_point, third.low, third.high)
    pooled = oracle.run(model, images)
    assert float(first.scale) == pytest.approx((pooled.max() - min(pooled.min(), 0)) / 255, rel=1e-5)


def test_activation_functions_become_bounds():
    net = models.Builder((3, 8, 8)).conv(3, 4, 3).relu6().conv(4, 5, 3).relu()
    graph = quantize(
        net.node("Conv", net.he(4, 5, 1, 1), net.bias(4)).node("Clip", np.float32(-0.25), np.float32(0.5)).model(),
        "pow2",
    )
    _, relu6, relu, clip = maps(graph)
    assert relu6.high == min(255, round(6 / relu6.scale))
    assert (relu.low, relu.zero_point) == (0, 0)
    assert (clip.low - clip.zero_point) * clip.scale == -0.25
    assert clip.high == min(255, clip.zero_point + round(0.5 / clip.scale))


def test_only_a_last_fully_connected_layer_without_activation_function_hands_out_sums():
    def last(model):
        graph = quantize(model)
        return graph.tensors[graph.output]

    assert isinstance(last(models.Builder((3, 2, 2)).flatten().gemm(12, 5).model()), quant.Sums)
    assert isinstance(last(models.Builder((3, 2, 2)).flatten().gemm(12, 5).relu().model()), quant.FeatureMap)
    assert isinstance(last(models.Builder((3, 2, 2)).conv(3, 5, 2).model()), quant.FeatureMap)


def test_scales_of_sums_are_products_rounded_once():
    graph = quantize(models.tiny())
    layer = graph.layers[-1]
    product = np.float32(graph.map_of(layer.input).scale) * layer.weight_scales
    np.testing.assert_array_equal(graph.tensors[graph.output].scales, product)
    assert product.dtype == np.float32


def test_batches_do_not_change_the_result(monkeypatch):
    model = models.single("conv_pool_overlap")
    images = models.images(model, 40)
    seen: list[tuple[int, int]] = []
    whole = quant.quantize(model, images, quant.Settings("pow2", ranges="minmax"))
    monkeypatch.setattr("systolith.quant.posttraining.sampling.BATCH_VALUES", 1)
    single = quant.quantize(model, images, quant.Settings("pow2", ranges="minmax"), lambda *done: seen.append(done))
    assert seen == [(count, 40) for count in range(1, 41)]
    assert quant.to_onnx(single) == quant.to_onnx(whole)


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_more_bits_are_closer_to_the_float_network(scales):
    model = models.cifar()
    images = models.images(model, 8)
    expected = oracle.run(model, images)
    errors = []
    for bits in (3, 5, 8, 12):
        found, _ = golden.output(quant.quantize(model, images, quant.Settings(scales, bits, bits)), images)
        errors.append(float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.05
    assert errors[3] < 0.005


@pytest.mark.parametrize("weight_bits", [2, 3, 8, 12, 16])
@pytest.mark.parametrize("activation_bits", [2, 3, 8, 12, 16])
@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_every_pair_of_widths_gives_a_legal_graph(weight_bits, activation_bits, scales):
    net = models.Builder((4, 9, 9)).conv(4, 6, 3).relu().pool().conv(6, 8, 3).flatten().gemm(8, 4)
    graph = quantize(net.model(), scales, weight_bits, activation_bits)
    quant.check(graph)
    for layer in convs(graph):
        assert layer.weight_bits <= weight_bits
        assert sum_bounds(layer, graph).max() < 2**31
    assert max(tensor.bits for tensor in maps(graph)) == activation_bits


def test_four_bits_cost_little_on_lenet5():
    calibration, test = npz.read(LENET / "calibration.npz")["x"], npz.read(LENET / "test.npz")
    for scales, least in (("float", 0.965), ("pow2", 0.96)):
        graph = quant.quantize(LENET / "lenet5.onnx", calibration, quant.Settings(scales, 4, 4))
        found, _ = golden.output(graph, test["x"])
        assert np.mean(found.argmax(axis=1) == test["y"]) >= least


def test_an_overflow_in_the_float_network_names_the_tensor():
    net = models.Builder((1, 4, 4)).node("Conv", np.full((1, 1, 1, 1), 1e38, np.float32)).relu()
    model = net.node("Conv", np.full((1, 1, 1, 1), 1e38, np.float32)).model()
    with pytest.raises(quant.DataError, match=r"^tensor 'conv2_out' reaches NaN or infinity on the calibration data; "):
        quantize(model)


def test_a_network_of_zeros_is_legal():
    net = models.Builder((1, 4, 4)).node("Conv", np.zeros((2, 1, 3, 3), np.float32)).relu().flatten()
    graph = quantize(net.node("Gemm", np.zeros((3, 8), np.float32), transB=1).model())
    assert (golden.output(graph, np.ones((1, 1, 4, 4), np.float32))[0] == 0).all()


def test_public_names():
    assert quant.__all__ == sorted(quant.__all__)
    assert golden.__all__ == sorted(golden.__all__)
    assert all(hasattr(quant, name) for name in quant.__all__)
    assert all(hasattr(golden, name) for name in golden.__all__)


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize("inputs", [0, 1e-44, 1e-20, 1, 1e20])
@pytest.mark.parametrize("weights", [1e-44, 1e-20, 1e-5, 1e5])
def test_numbers_of_any_size_give_a_legal_file_without_a_warning(weights, inputs, scales):
    model = models.tiny()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float64) * weights
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    images = (models.images(model, 4) * inputs).astype(np.float32)
    graph = quant.quantize(model, images, quant.Settings(scales))
    again = quant.load(quant.to_onnx(graph))
    np.testing.assert_array_equal(golden.output(again, images)[1], golden.output(graph, images)[1])
