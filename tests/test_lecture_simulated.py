"""The lecture's networks, all layers on images of fewer pixels, on one accelerator: every byte, and the cycles."""

from __future__ import annotations

import numpy as np
import pytest

from examples.lecture.networks import lecture_network
from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for

from . import models
from .hw_networks import ANY_SCALES
from .test_golden_lecture import SIZES

# One Verilog for all of them.
HARDWARE = {
    "rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 64, "activation_bits": 8, "weight_bits": 8,
    "sum_bits": 28, "multiplier": True, "operands": True, "tables": True, "normalization": 5, **ANY_SCALES,
}  # fmt: skip
TOLERANCE = 0.01
LONGEST = "vgg19"


@pytest.mark.xdist_group("bulk 16x16, 16-byte bus")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.longest_run if name == LONGEST else ()) for name in SIZES]
)
def test_a_whole_network_is_exact_in_the_predicted_cycles(name, tmp_path):
    model = lecture_network(name, SIZES[name])
    images = 3 * models.images(model, 2)
    graph = quant.quantize(model, images, quant.Settings(ranges="minmax"))
    (tmp_path / "q.onnx").write_bytes(b"")
    plan = generate(graph, (tmp_path / "q.onnx").read_bytes(), parameters_for(graph, **HARDWARE), tmp_path / "build")
    tensors = golden.run(graph, golden.quantize_input(graph, images[:1]))
    assert np.ptp(tensors[graph.output]) > 0
    report = sim.simulate_tensors(sim.load(tmp_path / "build"), graph, tensors, seed=5)
    assert report.bit_exact, [str(difference) for difference in report.differences]
    written = {layer.tensor or layer.output for layer in plan.layers}
    assert graph.output in written
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)
