"""Ranges chosen by measuring, and what quantize says of noise, losses and outliers."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import golden, quant
from systolith.commands.quantize import quantize_model
from systolith.quant.posttraining.histogram import Histogram

from . import models, oracle


def pointnet(seed: int = 0):
    """Of 64 points in space only the extremes pass the maximum, and those of a range that suits all are cut off."""
    net = models.Builder((3, 1, 64), seed)
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        net.conv(inputs, outputs, 1).relu()
    return net.node("MaxPool", kernel_shape=[1, 64]).flatten().gemm(64, 10).model()


def decibels(model, graph: quant.Graph, images: np.ndarray) -> float:
    """Mean noise of the output beside its signal, each image by itself, against ONNX Runtime in float."""
    exact = oracle.run(model, images).reshape(len(images), -1).astype(np.float64)
    error = exact - golden.output(graph, images)[0].reshape(len(images), -1)
    return float(-10 * np.log10(np.mean((error**2).sum(axis=1) / (exact**2).sum(axis=1))))


@pytest.mark.parametrize(
    "model", [pointnet(), models.branched("residual"), models.tiny()], ids=["points", "sums", "plain"]
)
def test_the_method_is_the_one_with_the_least_noise(model):
    images = models.images(model, 8)
    found = quantize_model(model, images, effort="fast")
    each = {
        method: decibels(model, quant.quantize(model, images, quant.Settings(ranges=method)), images)
        for method in ("mse", "percentile", "minmax")
    }
    assert list(found.calibrated.tried) == list(each)
    for method, expected in each.items():
        alone = quantize_model(model, images, range_method=method, effort="fast").calibrated
        (one,) = alone.run.outputs.values()
        assert list(alone.tried.values()) == [one]
        if found.calibrated.measured == len(images):
            assert found.calibrated.tried[method] == pytest.approx(expected, abs=0.05)
    best = max(each, key=lambda method: found.calibrated.tried[method])
    expected_graph = quant.quantize(model, images, quant.Settings(ranges=best))
    assert quant.to_onnx(found.graph) == quant.to_onnx(expected_graph)


def outlier() -> tuple[object, np.ndarray]:
    model = models.Builder((3, 8, 8)).conv(3, 6, 3).relu().conv(6, 4, 3).model()
    images = models.images(model, 16)
    images[5, 1, 2, 3] = 1e4
    return model, images


def test_one_outlier_does_not_make_every_output_the_same():
    model, images = outlier()
    found = quantize_model(model, images)
    others = np.delete(images, 5, axis=0)
    assert quant.to_onnx(found.graph) == quant.to_onnx(quantize_model(model, others).graph)
    assert decibels(model, found.graph, others) > 30
    everything = quant.quantize(model, images, quant.Settings(ranges="minmax"))
    assert decibels(model, everything, others) < 5
    warning = found.calibrated.warnings[0]
    assert warning.startswith("input 'image': image 5 reaches 10000, the median image ")
    assert warning.endswith("; the ranges are those of the others")
    assert f"warning: {warning}" in found.lines()


def test_a_tenth_of_loud_images_is_no_outlier():
    """Without them the ranges would cut them off, which costs more than it gains."""
    model = models.Builder((2, 6, 6)).conv(2, 4, 3).relu().conv(4, 3, 3).model()
    images = models.images(model, 20)
    images[3:5] *= 30
    found = quantize_model(model, images).calibrated
    assert found.warnings[0].endswith("; the ranges cover it (2 of 20 images reach as far beyond the others)")


def test_a_sliver_is_told():
    """Each image has one bright pixel, so none is an outlier."""
    model = models.Builder((2, 40, 40)).conv(2, 4, 3).model()
    images = models.images(model, 4)
    images[:, 0, 7, 7] = 1e3
    found = quantize_model(model, images, range_method="minmax")
    assert len(found.calibrated.warnings) == 1
    assert found.calibrated.warnings[0].startswith("tensor 'image': 99.9% of its values lie within ")
    assert found.calibrated.warnings[0].endswith("of 256 integers, as a few reach -3.83786..1000")


def test_what_is_well_behaved_is_not_warned_of():
    for model in (models.tiny(), models.branched("residual")):
        assert quantize_model(model, models.images(model, 4)).calibrated.warnings == ()


def test_lines_and_losses():
    model = models.tiny()
    found = quantize_model(model, models.images(model, 6))
    run = found.calibrated.run
    *lines, ranges, rounding = found.lines()
    assert lines == [
        "3 layers, 2 of them with weights, 1,232 MACs an image; calibrated on 6 images",
        "left to the host: Reshape to Nx5, of 'gemm1_out'",
        f"output 'gemm1_out': {run.outputs['gemm1_out']:.1f} dB against float on 6 images",
        f"classes: as the float model's on {run.agreeing} of 6 images",
    ]
    assert ranges.startswith("ranges: ")
    assert rounding.startswith("rounding: ")
    losses = [row.lost for row in run.noise if row.lost is not None and row.lost >= 0.5]
    assert found.losses().row_count == min(5, len(losses)) > 0


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_middle_of_values_that_are_not_zero(share):
    values = np.random.default_rng(1).normal(size=20_000).astype(np.float32)
    histogram = Histogram()
    histogram.add("x", np.concatenate([values, np.zeros(90_000, np.float32)]))
    expected = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    np.testing.assert_allclose(histogram.nonzero(share), expected, atol=0.02)
    assert Histogram().nonzero(share) == (0, 0)


def test_a_tangent_whose_input_crosses_a_pole_is_refused():
    near = np.linspace(-1.4, 1.4, 54, dtype=np.float32).reshape(1, 2, 3, 9)
    model = models.Builder((2, 3, 9)).node("Tan").model()
    assert [layer.operator for layer in quantize_model(model, near).graph.layers] == ["Tan"]
    with pytest.raises(quant.ModelError) as caught:
        quantize_model(model, 2 * near)
    assert str(caught.value).startswith("node 'tan1' (Tan): its input reaches 2.8")
    assert str(caught.value).endswith(", beyond the pole at 1.5708; keep it below or leave it to the host")
