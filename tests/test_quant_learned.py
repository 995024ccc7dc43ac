"""Rounding that is learned from images: better where bits are few, and never a collapse."""

import numpy as np
import pytest

from systolith import golden, quant
from systolith.commands.quantize import quantize_model
from systolith.quant.networks.execute import convolve, run_float
from systolith.quant.networks.layers import Convolution
from systolith.quant.posttraining import learned
from systolith.quant.posttraining.learned import Samples, learn_weights
from systolith.quant.posttraining.reconstruction import Reconstruction
from systolith.quant.posttraining.sampling import some_images
from systolith.quant.posttraining.settings import EFFORTS
from systolith.quant.posttraining.weights import QuantizedWeights, quantize_weights

from . import models, oracle


def photographs(model, count: int, seed: int = 1) -> np.ndarray:
    """Random images in which neighbours go together."""
    images = models.images(model, count, seed)
    for axis in (2, 3):
        images += np.roll(images, 1, axis) + np.roll(images, 2, axis)
    return images


def noise(model, graph: quant.Graph, images: np.ndarray) -> float:
    """Of the outputs beside their signal, against ONNX Runtime in float."""
    exact = oracle.run(model, images).reshape(len(images), -1).astype(np.float64)
    error = exact - golden.output(graph, images)[0].reshape(len(images), -1)
    return float((error**2).sum() / (exact**2).sum())


def plain():
    net = models.Builder((3, 8, 8), 3).conv(3, 8, 3).relu().conv(8, 12, 3).relu().pool()
    return net.flatten().gemm(12 * 4, 6).model()


def grouped():
    net = models.Builder((4, 8, 8), 3).conv(4, 8, 3, pads=[1, 1, 1, 1]).relu().conv(8, 12, 3, group=2).relu()
    return net.conv(12, 12, 3, group=12).relu().flatten().gemm(12 * 16, 5).model()


NETWORKS = {"plain": plain, "groups": grouped}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_images_that_were_not_learned_from_are_nearer_to_float(name, bits):
    model = NETWORKS[name]()
    images, others = photographs(model, 128), photographs(model, 64, 9)
    found = {
        effort: noise(model, quant.quantize(model, images, quant.Settings(weight_bits=bits, effort=effort)), others)
        for effort in EFFORTS
    }
    share = 0.9 if bits <= 4 else 1
    assert found["default"] < share * found["fast"]
    assert found["best"] < share * found["fast"]


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_integers_keep_to_their_bits_and_scales(scales):
    model = grouped()
    images = models.images(model, 8)
    graph = quant.quantize(model, images, quant.Settings(scales, 3, 8, effort="default"))
    convs = [layer for layer in graph.layers if isinstance(layer, quant.Conv)]
    for layer in convs:
        assert np.abs(layer.weights).max() <= 3
        if scales == "pow2":
            assert (np.frexp(layer.weight_scales)[0] == 0.5).all()
    assert quant.to_onnx(graph) == quant.to_onnx(
        quant.quantize(model, images, quant.Settings(scales, 3, 8, effort="default"))
    ), "the same seed, the same integers"


def hard_images(kind: str, model) -> np.ndarray:
    images = models.images(model, 16)
    match kind:
        case "one image":
            images = images[:1]
        case "one image again and again":
            images = np.repeat(images[:1], 16, axis=0)
        case "a ragged last batch":
            images = models.images(model, 67)
        case "an outlier":
            images[3] *= 100
        case "black":
            images[:] = 0
    return images


@pytest.mark.parametrize(
    "kind", ["16 images", "one image", "one image again and again", "a ragged last batch", "an outlier", "black"]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_collapse(name, kind):
    model = NETWORKS[name]()
    images, others = hard_images(kind, model), models.images(model, 16, seed=9)
    found = {
        effort: noise(
            model, quantize_model(model, images, weight_bits=4, effort=effort, range_method="mse").graph, others
        )
        for effort in ("fast", "default")
    }
    most = 1.1 if kind.startswith("one image") else 1.05
    assert found["default"] <= most * found["fast"], "with the same ranges of maps"


def samples(gain: float) -> tuple[Convolution, Samples]:
    """A fully connected layer that reads ``gain`` times what it read in float, of inputs that go together."""
    random = np.random.default_rng(2)
    inputs = random.standard_normal((1, 400, 24)).cumsum(axis=2).astype(np.float32)
    weights = random.standard_normal((6, 24, 1, 1)).astype(np.float32)
    bias = random.standard_normal(6).astype(np.float32)
    layer = Convolution("fc", "Gemm", ("x",), "y", weights, bias)
    made = inputs @ weights.reshape(6, 24).T + bias
    return layer, Samples(inputs * np.float32(gain), made, 400, 400)


def test_weights_make_up_for_inputs_that_are_not_what_they_were():
    layer, seen = samples(0.8)
    settings = quant.Settings(weight_bits=6, effort="default")
    rounded = quantize_weights(layer, np.float32(0.01), 255, settings)
    found = learn_weights(layer, seen, rounded, np.float32(0.01), 255, settings)
    reals = (found.weights * found.scales[:, None, None, None]).reshape(6, 24)
    error = seen.inputs[0] @ reals.T + found.bias * found.scales * 0.01 - seen.outputs[0]
    assert np.square(error).mean() < 0.01 * np.var(seen.outputs), "a fifth less of each input would be 0.04"


@pytest.mark.parametrize("bits", [4, 8])
def test_outputs_learn_alike_together_and_one_by_one(monkeypatch, bits):
    layer, seen = samples(0.8)
    settings = quant.Settings(weight_bits=bits, effort="default")
    rounded = quantize_weights(layer, np.float32(0.01), 255, settings)
    together = learn_weights(layer, seen, rounded, np.float32(0.01), 255, settings)
    for most in (1, 2 * 24, 4 * 24):
        monkeypatch.setattr(learned, "MOST_WEIGHTS", most)
        found = learn_weights(layer, seen, rounded, np.float32(0.01), 255, settings)
        assert (found.weights == together.weights).all()
        np.testing.assert_allclose(found.scales, together.scales, rtol=1e-5)
        assert (found.bias == together.bias).all()


def test_sixteen_bits_are_near_enough_without():
    images = models.images(plain(), 6)
    wide = [quant.quantize(plain(), images, quant.Settings(weight_bits=16, effort=effort)) for effort in EFFORTS]
    assert quant.to_onnx(wide[0]) == quant.to_onnx(wide[1]) == quant.to_onnx(wide[2])


def test_sums_stay_within_int32():
    layer, seen = samples(1)
    settings = quant.Settings(weight_bits=8, effort="best")
    for reach in (2**20, 2**22, 2**24):
        rounded = quantize_weights(layer, np.float32(0.01), reach, settings)
        found = learn_weights(layer, seen, rounded, np.float32(0.01), reach, settings)
        sums = np.abs(found.weights.astype(np.int64)).sum(axis=(1, 2, 3)) * reach + np.abs(found.bias)
        assert sums.max() < 2**31


def test_a_layer_learns_from_what_it_reads_in_the_quantized_network():
    network = quant.load_float(plain())
    images = {"image": models.images(plain(), 5)}
    graph = quant.quantize(plain(), images["image"], quant.Settings(activation_bits=3))
    both = Reconstruction(network, images, seed=0)
    both.start("image", graph.tensors[graph.input])
    floats = dict(run_float(network, images))
    for layer, made in zip(network.layers, graph.layers, strict=True):
        source = graph.map_of(made.inputs[0])
        integers = None
        if isinstance(layer, Convolution) and isinstance(made, quant.Conv):
            integers = QuantizedWeights(made.weights, made.weight_scales, made.bias)
            seen = both.samples(layer)
            steps = seen.inputs / source.scale
            np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
            assert len(np.unique(np.rint(steps))) <= 8
            assert seen.outputs.mean() == pytest.approx(convolve(layer, floats[layer.inputs[0]]).mean(), abs=1e-5), (
                "of all positions, they being few"
            )
        both.made(layer, graph.tensors[made.output], integers, source)


def test_images_that_are_there_again_teach_nothing_more():
    network = quant.load_float(plain())
    images = models.images(plain(), 6)
    again = some_images(network, {"image": np.concatenate([images, images[::-1]])})
    assert (again["image"] == images).all()


def test_golden_is_onnx_runtime_at_mixed_bits_of_weights_and_maps():
    model = models.branched("inception")
    images = models.images(model, 12)
    names = [layer.name for layer in quant.load_float(model).layers]
    for number in range(4):
        random = np.random.default_rng(number)
        bits = {name: f"{random.integers(2, 9)}:{random.integers(3, 9)}" for name in names}
        graph = quant.quantize(model, images, quant.Settings(bits=bits, effort="default"))
        written = quant.to_onnx(graph)
        made = golden.run(graph, golden.quantize_inputs(graph, {graph.input: images}))
        found = oracle.run_tensors(written, images, [name for name in made if name in graph.tensors][1:])
        for name, values in zip(list(made)[1:], found, strict=True):
            tensor = graph.tensors[name]
            if isinstance(tensor, quant.FeatureMap):
                assert (values.reshape(made[name].shape) == made[name]).all(), name
            else:
                assert (values.reshape(made[name].shape) == golden.dequantize(made[name], tensor)).all(), name
        assert len({tensor.bits for tensor in graph.tensors.values() if isinstance(tensor, quant.FeatureMap)}) > 1
