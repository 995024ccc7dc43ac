"""What the report says of quantization: noise against the float model, and confusion of classes."""

import numpy as np
import pytest

from systolith import golden, quant
from systolith.noise import classes, run_both
from systolith.quant.graph.ports import real_name
from systolith.report.accuracy import confusion, load_network
from tests import oracle

NETWORK = quant.Network((2, 9, 9)).conv(4, 3).relu().conv(5, 3).max_pool(2, 1).fully_connected(3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(2).normal(size=(70, 2, 9, 9)).astype(np.float32)


def test_noise_is_that_of_the_dequantized_tensors_against_onnx_runtimes(images):
    """70 images are two batches, so sums over batches are checked too."""
    model = NETWORK.to_onnx(seed=2)
    graph = quant.quantize(model, images)
    found = run_both(graph, quant.load_float(model), {graph.input: images}, lambda done, total: None).noise
    assert [row.tensor for row in found] == list(graph.tensors)
    names = [real_name(row.tensor) for row in found if row.tensor != graph.input]
    floats = dict(zip(names, oracle.run_tensors(model, images, names), strict=True)) | {"image": images}
    tensors = golden.run(graph, golden.quantize_input(graph, images))
    for row in found:
        exact = floats[real_name(row.tensor)].astype(np.float64).reshape(tensors[row.tensor].shape)
        error = exact - golden.dequantize(tensors[row.tensor], graph.tensors[row.tensor])
        assert row.decibels == pytest.approx(10 * np.log10((exact**2).sum() / (error**2).sum()), abs=0.01), row
        assert 15 < row.decibels < 60


def test_the_float_models_classes_are_onnx_runtimes(images):
    """Over two batches; with so few weights, integers take some images for others."""
    model = NETWORK.to_onnx(seed=2)
    settings = quant.Settings(activation_bits=4, weight_bits=3)
    graph = quant.quantize(model, images, settings)
    found = run_both(graph, quant.load_float(model), {graph.input: images}, lambda done, total: None).guesses
    exact = classes(oracle.run(model, images))
    assert found.tolist() == exact.tolist()
    assert len(set(found.tolist())) > 1
    assert found.tolist() != classes(golden.output(graph, images)[0]).tolist()


def test_fewer_bits_are_noisier_by_six_decibels_each(images):
    model = NETWORK.to_onnx(seed=2)
    by_bits = {}
    for bits in (6, 8, 10):
        graph = quant.quantize(model, images, quant.Settings(activation_bits=bits, weight_bits=16, ranges="minmax"))
        by_bits[bits] = (
            run_both(graph, quant.load_float(model), {graph.input: images}, lambda done, total: None).noise[0].decibels
        )
    assert by_bits[8] - by_bits[6] == pytest.approx(12, abs=0.5)
    assert by_bits[10] - by_bits[8] == pytest.approx(12, abs=0.5)


def test_a_tensor_that_the_float_model_lacks_has_no_figure(images):
    graph = quant.quantize(NETWORK.to_onnx(seed=2), images)
    other = quant.load_float(quant.Network((2, 9, 9)).conv(4, 3).relu().conv(7, 3).to_onnx(seed=2))
    found = {
        row.tensor: row.decibels
        for row in run_both(graph, other, {graph.input: images[:2]}, lambda done, total: None).noise
    }
    assert found["image_quantized"] is not None
    assert found["pool1_out_quantized"] is None
    assert found["fc1_out"] is None


def test_integers_that_say_all_are_exact(images):
    network = quant.Network((2, 9, 9)).conv(4, 3)
    steps = np.clip(np.rint(images * 8), -64, 63).astype(np.float32) / 64
    graph = quant.quantize(network.to_onnx(seed=2), steps, quant.Settings(scales="pow2", ranges="minmax"))
    found = run_both(
        graph, quant.load_float(network.to_onnx(seed=2)), {graph.input: steps}, lambda done, total: None
    ).noise
    assert found[0].decibels == np.inf


def test_confusion_counts_labels_by_what_they_are_taken_for():
    scores = np.array([[9, 1, 0], [0, 9, 1], [0, 1, 9], [9, 1, 0], [0, 9, 1]], np.float32)
    found = confusion(scores, np.array([0, 1, 1, 2, 1]))
    assert found.images.tolist() == [[1, 0, 0], [0, 2, 1], [1, 0, 0]]
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.mistakes() == [(1, 2, 1), (2, 0, 1)]
    assert found.is_small


def test_the_most_frequent_mistakes_of_many_classes_come_first():
    labels = np.repeat(np.arange(40), 3)
    guesses = labels.copy()
    guesses[labels == 7] = 31
    guesses[0] = 5
    found = confusion(np.eye(40, dtype=np.float32)[guesses], labels)
    assert not found.is_small
    assert found.mistakes() == [(7, 31, 3), (0, 5, 1)]


def test_a_float_model_of_another_input_is_refused(images):
    graph = quant.quantize(NETWORK.to_onnx(seed=2), images)
    with pytest.raises(quant.ModelError, match=r"takes 'image' of \(2, 8, 8\), the build 'image' of \(2, 9, 9\)"):
        load_network(quant.Network((2, 8, 8)).conv(1, 3).to_onnx(), graph)
