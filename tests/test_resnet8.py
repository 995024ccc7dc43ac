"""The trained ResNet-8: golden is ONNX Runtime and nearly as right as the float network, and the Verilog is golden."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from systolith import golden, quant, sim
from systolith.commands.golden import accuracy
from systolith.data import load_data
from systolith.hw.build import generate, parameters_for

from . import oracle
from .test_lecture_simulated import HARDWARE, TOLERANCE

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "resnet8"


def quantized(scales: str) -> quant.Graph:
    return quant.quantize(FOLDER / "resnet8.onnx", load_data(FOLDER / "calibration.npz").x, quant.Settings(scales))


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_golden_is_onnxruntime_and_as_right_as_the_float_network(scales):
    test = load_data(FOLDER / "test.npz")
    graph = quantized(scales)
    oracle.assert_every_tensor_equal(graph, test.x)
    in_float = accuracy(oracle.run(onnx.load(FOLDER / "resnet8.onnx"), test.x), test.y)
    assert in_float > 0.85
    assert accuracy(golden.output(graph, test.x)[0], test.y) > in_float - 0.03
    assert parameters_for(graph, rows=8, columns=8).multiplier == (scales == "float")


@pytest.mark.xdist_group("bulk 16x16, 16-byte bus")
def test_the_verilog_is_exact_in_the_predicted_cycles(tmp_path):
    graph = quantized("float")
    quant.save(graph, tmp_path / "q.onnx")
    generate(graph, (tmp_path / "q.onnx").read_bytes(), parameters_for(graph, **HARDWARE), tmp_path / "build")
    report = sim.simulate(tmp_path / "build", load_data(FOLDER / "test.npz").x[:3])
    assert report.bit_exact, [str(difference) for difference in report.differences]
    assert report.images == 3
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)
