"""EfficientNet-Lite's pattern, cut small: a stem, three blocks and a head, from ONNX to Verilog, every byte."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest

from examples.lecture import efficientnet, efficientnet_bits
from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for

from . import models, oracle
from .hw_networks import check_against_golden, planned
from .test_lecture_simulated import HARDWARE, TOLERANCE

SIDE = 22


def padded(net: models.Builder, inputs: int, outputs: int, kernel: int, stride: int, **attributes: int) -> None:
    """TensorFlow's "same" padding as a node of its own, more of it at the end; convolution, batch norm, ReLU6."""
    total = kernel - stride
    begin, end = total // 2, total - total // 2
    net.node("Pad", np.array([0, 0, begin, begin, 0, 0, end, end]))
    net.conv(inputs, outputs, kernel, strides=[stride] * 2, **attributes).norm(outputs).relu6()


def block(net: models.Builder, inputs: int, outputs: int, expand: int, kernel: int, stride: int) -> None:
    """MBConv: expand, depthwise, project without activation, and the input added where shapes allow."""
    source, middle = net.current, inputs * expand
    if expand > 1:
        net.conv(inputs, middle, 1).norm(middle).relu6()
    padded(net, middle, middle, kernel, stride, group=middle)
    projected = net.conv(middle, outputs, 1).norm(outputs).current
    if stride == 1 and inputs == outputs:
        net.join("Add", projected, source)


def lite(seed: int = 0) -> onnx.ModelProto:
    net = models.Builder((3, SIDE, SIDE), seed)
    padded(net, 3, 8, 3, 2)
    block(net, 8, 5, 1, 3, 1)
    block(net, 5, 10, 6, 5, 2)
    block(net, 10, 10, 6, 3, 1)
    net.conv(10, 40, 1).norm(40).relu6().node("GlobalAveragePool").flatten()
    return net.gemm(40, 12).model()


def quantized() -> tuple[onnx.ModelProto, np.ndarray, quant.Graph]:
    model = lite()
    images = models.images(model, 8)
    return model, images, quant.quantize(model, images)


def test_golden_is_onnxruntime_and_near_the_float_network():
    model, images, graph = quantized()
    assert sum(isinstance(layer, quant.Conv) and layer.groups > 1 for layer in graph.layers) == 3
    assert sum(isinstance(layer, quant.Add) for layer in graph.layers) == 1
    oracle.assert_every_tensor_equal(graph, images)
    expected = oracle.run(model, images)
    assert np.ptp(expected, axis=0).min() > 0.01
    found, _ = golden.output(graph, images)
    assert np.sqrt(np.mean((found - expected) ** 2) / np.var(expected)) < 0.1


@pytest.mark.parametrize(
    "sizes",
    [
        {"rows": 8, "columns": 8, "bus_bytes": 8},
        {"rows": 5, "columns": 4, "bus_bytes": 8, "activation_kib": 3, "accumulator_kib": 1, "weight_fifo_kib": 1},
    ],
    ids=["8x8, all fits", "5x4, all cut"],
)
def test_the_program_computes_what_golden_does(sizes):
    _, _, graph = quantized()
    check_against_golden(planned(graph, **sizes))


@pytest.mark.xdist_group("bulk 16x16, 16-byte bus")
def test_the_verilog_is_exact_in_the_predicted_cycles_and_they_are_all_accounted_for(tmp_path):
    _, images, graph = quantized()
    build = tmp_path / "build"
    quant.save(graph, tmp_path / "q.onnx")
    generate(graph, (tmp_path / "q.onnx").read_bytes(), parameters_for(graph, **HARDWARE), build)
    report = sim.simulate(build, images[:2])
    assert report.bit_exact, [str(difference) for difference in report.differences]
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)
    *kinds, whole = efficientnet.parts(build, report)
    assert [part.layers for part in kinds] == [8, 3, 1, 1]
    assert whole.macs == graph.macs
    assert sum(part.limit for part in kinds) == whole.limit
    assert 0.95 < sum(part.cycles for part in kinds) / whole.cycles <= 1
    assert all(part.macs <= part.cycles * part.multipliers for part in kinds)


@pytest.mark.parametrize("module", [efficientnet, efficientnet_bits])
def test_a_missing_package_is_one_clear_line(monkeypatch, capsys, tmp_path, module):
    name = module.__name__.split(".")[-1]
    monkeypatch.setattr(efficientnet.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    assert module.main() == 1
    expected = f"{name}: error: no module 'foolbox'; pip install 'systolith[efficientnet]'\n"
    assert capsys.readouterr().err == expected


def test_each_width_by_each_quantizer_that_has_it(monkeypatch, tmp_path):
    """A small network, one class moved in what one of them makes: that set's share alone falls."""
    net = models.Builder((3, 8, 8))
    padded(net, 3, 8, 3, 2)
    model = net.flatten().gemm(8 * 16, 5).model()
    images = models.images(model, 10)
    asked = []
    monkeypatch.setattr(efficientnet_bits, "imagenet", lambda: (images[:4], np.arange(4)))
    monkeypatch.setattr(efficientnet_bits, "crops", lambda count, seed=0: images[: count % 7])
    monkeypatch.setattr(efficientnet_bits, "trained", lambda path: onnx.save(model, path))

    def quantized(model, calibration, target, weight_bits):
        asked.append(("Systolith", weight_bits, len(calibration)))
        onnx.save(onnx.load(model), target)

    def by_runtime(model, target, setting, calibration):
        asked.append(("ONNX Runtime", setting.weights, len(calibration)))
        onnx.save(onnx.load(model), target)

    def run(path, images):
        logits = oracle.run(onnx.load(path), images)
        if asked and asked[-1][0] == "ONNX Runtime" and len(images) == 4:
            logits[0] = -logits[0]
        return logits

    monkeypatch.setattr(efficientnet_bits, "quantize_model", quantized)
    monkeypatch.setattr(efficientnet_bits.runtime, "quantize", by_runtime)
    monkeypatch.setattr(efficientnet_bits, "run_onnxruntime", run)
    with np.errstate(divide="ignore"):
        found = list(efficientnet_bits.rows(tmp_path))
    assert asked == [("Systolith", 8, 4), ("ONNX Runtime", 8, 4), ("Systolith", 6, 4)]
    assert [[share for share, _ in row.found] for row in found] == [[1, 1], [0.75, 1], [1, 1]]
    assert [np.isinf([noise for _, noise in row.found]).tolist() for row in found] == [
        [True] * 2,
        [False, True],
        [True] * 2,
    ]
    assert [row.name for row in found] == [f"{who}, {bits}-bit weights" for who, bits, _ in asked]
