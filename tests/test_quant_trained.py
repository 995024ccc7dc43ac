"""Training's results kept: a network that was trained at 4 bits, loaded with its own integers."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith import golden, quant
from systolith.quant import Add, AveragePool, Conv, FeatureMap

from . import npz
from .test_quant_foreign_files import OFF, ON, different

DATA = Path(__file__).parent / "data" / "qat"
MODEL = DATA / "residual_4bit.onnx"
ENDS, BITS = 8, 4


@pytest.fixture(scope="module")
def graph() -> quant.Graph:
    return quant.load(MODEL)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((64, 3, 8, 8)).astype(np.float32)


def test_weights_are_those_that_training_learned(graph):
    learned = npz.read(DATA / "integers.npz")
    layers = [layer for layer in graph.layers if isinstance(layer, Conv)]
    assert len(layers) == len(learned) == 7
    for turn, layer in enumerate(layers):
        integers = learned[f"weights_{turn}"]
        np.testing.assert_array_equal(layer.weights.reshape(integers.shape), integers)
        assert layer.weight_bits <= (ENDS if turn in (0, 6) else BITS)
    assert max(layer.weight_bits for layer in layers[1:-1]) == BITS


def test_maps_are_narrow_but_for_what_the_ends_read(graph):
    first, last = graph.inputs[0], graph.layers[-1].inputs[0]
    maps = [tensor for tensor in graph.tensors.values() if isinstance(tensor, FeatureMap)]
    assert {each.name for each in maps if _levels(each) > 2**BITS} == {first, last}
    assert isinstance(next(layer for layer in graph.layers if layer.output == last), AveragePool)
    assert sum(isinstance(layer, Add) for layer in graph.layers) == 2


def _levels(tensor: FeatureMap) -> int:
    return tensor.high - tensor.low + 1


@pytest.mark.parametrize("level", [OFF, ON], ids=["off", "on"])
def test_golden_is_onnx_runtime(graph, images, level):
    assert different(graph, onnx.load(MODEL), images, level) == 0


def test_what_is_written_again_has_the_same_integers(graph, images, tmp_path):
    quant.save(graph, tmp_path / "again.onnx")
    again = quant.load(tmp_path / "again.onnx")
    for one, other in zip(graph.layers, again.layers, strict=True):
        assert type(one) is type(other)
        if isinstance(one, Conv):
            np.testing.assert_array_equal(one.weights, other.weights)
            np.testing.assert_array_equal(one.bias, other.bias)
    np.testing.assert_array_equal(golden.output(again, images)[0], golden.output(graph, images)[0])
    assert different(again, onnx.load(tmp_path / "again.onnx"), images, ON) == 0


def test_the_images_use_what_the_network_can_say(graph, images):
    """A network that always says the same would agree with anything."""
    assert len(np.unique(golden.output(graph, images)[0].argmax(1))) == 3
