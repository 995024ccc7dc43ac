"""The lecture's networks, with random weights and small images, from ONNX to golden: equal to ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from examples.lecture.networks import FILES, lecture_network
from systolith import golden, quant
from systolith.quant.networks.shapes import shapes

from . import models, oracle

# Images just large enough that something is left of them before the fully connected layers.
SIZES = {
    "alexnet": 67,
    "densenet121": 40,
    "googlenet": 64,
    "resnet50": 64,
    "squeezenet": 48,
    "vgg19": 32,
    "zfnet": 63,
}


@pytest.mark.parametrize("name", SIZES)
def test_from_the_float_model_to_every_integer(name, tmp_path):
    model = lecture_network(name, SIZES[name], seed=1)
    images = 3 * models.images(model, 2)
    network = quant.load_float(model)
    (expected,) = oracle.run_tensors(model, images, [scores_of(model)])
    quant.save(quant.quantize(network, images), tmp_path / "q.onnx")
    graph = quant.load(tmp_path / "q.onnx")
    oracle.assert_every_tensor_equal(graph, images)
    integers = golden.run(graph, golden.quantize_input(graph, images), [graph.output])[graph.output]
    found = golden.dequantize(integers, graph.tensors[graph.output]).reshape(expected.shape)
    assert np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)) < 0.04


def scores_of(model):
    """What the last layer makes, before the host's softmax."""
    last = model.graph.node[-1]
    return last.input[0] if last.op_type == "Softmax" else last.output[0]


@pytest.mark.parametrize("name", SIZES)
def test_weights_keep_activations_alive(name):
    """Two images and two seeds give scores that differ, of ordinary size: a test on them can fail."""
    model = lecture_network(name, SIZES[name])
    images = models.images(model, 2)
    (scores,) = oracle.run_tensors(model, images, [scores_of(model)])
    assert 0.01 < np.abs(scores).max() < 1000
    assert np.abs(scores[0] - scores[1]).max() > 0.01 * np.abs(scores).max()
    other = lecture_network(name, SIZES[name], seed=1)
    assert not np.array_equal(oracle.run_tensors(other, images, [scores_of(other)])[0], scores)


def test_the_same_seed_gives_the_same_model():
    assert lecture_network("squeezenet", 48) == lecture_network("squeezenet", 48)


def test_macs_at_full_size_are_those_of_the_papers():
    """In millions; the onnx package's GoogLeNet and SqueezeNet pool without padding, so their maps are smaller."""
    found = {name: quant.load_float(lecture_network(name)) for name in ("squeezenet", "googlenet", "resnet50")}
    millions = {name: round(sum(macs(network)) / 1e6) for name, network in found.items()}
    assert millions == {"squeezenet": 349, "googlenet": 1432, "resnet50": 4089}


def macs(network: quant.FloatGraph) -> list[int]:
    """Multiply-accumulates of each convolution."""
    size = shapes(network)
    convolutions = [layer for layer in network.layers if hasattr(layer, "weights")]
    return [layer.weights.size * size[layer.output][1] * size[layer.output][2] for layer in convolutions]


def test_every_network_is_tested():
    assert SIZES.keys() == FILES.keys()


def test_names_and_sizes_that_do_not_work():
    with pytest.raises(ValueError, match=r"^'lenet' is not a network of the lecture; alexnet, densenet121, "):
        lecture_network("lenet")
    with pytest.raises(ValueError, match=r"^alexnet has nothing left of 30 x 30 images; use larger ones$"):
        lecture_network("alexnet", 30)


def test_models_are_valid_onnx():
    onnx.checker.check_model(lecture_network("googlenet", 64), full_check=True)
