"""Golden against ONNX Runtime on networks that branch: every tensor, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith import golden, quant

from . import models, oracle

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 5)])
@pytest.mark.parametrize("name", models.BRANCHED)
def test_every_tensor_equals_onnxruntime(name, weight_bits, activation_bits, scales):
    for seed in range(3):
        model = models.branched(name, seed)
        images = models.images(model, 9, seed)
        graph = quant.quantize(model, images, quant.Settings(scales, weight_bits, activation_bits))
        oracle.assert_every_tensor_equal(graph, images)


@pytest.mark.parametrize("name", models.BRANCHED)
def test_eight_bits_stay_close_to_the_float_network(name):
    model = models.branched(name)
    images = models.images(model, 16)
    graph = quant.quantize(model, images)
    network = quant.load_float(model)
    (expected,) = oracle.run_tensors(model, images, [network.outputs[0]])
    found = golden.output(graph, images)[0].reshape(expected.shape)
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < 0.06


@pytest.mark.parametrize("name", ["residual", "dense"])
def test_tensors_are_forgotten_only_after_their_last_reader(name):
    model = models.branched(name)
    images = models.images(model, 3)
    graph = quant.quantize(model, images)
    x_q = golden.quantize_input(graph, images)
    whole = golden.run(graph, x_q)
    for tensor in graph.tensors:
        (found,) = golden.run(graph, x_q, [tensor]).values()
        np.testing.assert_array_equal(found, whole[tensor])


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_branches_by_both_torch_exporters(exporter):
    model = onnx.load(DATA / f"branches_{exporter}.onnx")
    images = models.images(model, 6)
    oracle.assert_every_tensor_equal(quant.quantize(model, images), images)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_pytorchs_local_response_normalization(exporter):
    model = onnx.load(DATA / f"lrn_{exporter}.onnx")
    images = models.images(model, 6)
    graph = quant.quantize(model, images)
    assert [layer.operator for layer in graph.layers] == ["Conv", "LRN", "Conv"]
    oracle.assert_every_tensor_equal(graph, images)
