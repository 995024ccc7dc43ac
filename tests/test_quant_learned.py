"""Rounding that is learned from images: better where bits are few, and never a collapse."""

import numpy as np
import pytest

from systolith import golden, quant
from systolith.commands.quantize import quantize_model
from systolith.quant.posttraining.settings import EFFORTS

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
@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_images_that_were_not_learned_from_are_nearer_to_float(name, bits):
    model = NETWORKS[name]()
    images, others = photographs(model, 48), photographs(model, 16, 9)
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
