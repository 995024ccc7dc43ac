"""Networks of volumes as programs: every byte is golden's, and maxima over slices cost no pass of their own."""

from __future__ import annotations

import numpy as np
import pytest

from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.plan import Plan
from systolith.quant import Graph, quantize
from systolith.quant.graph.host import apply_steps
from systolith.quant.posttraining.quantize import load_float

from . import models
from .hw_networks import check_against_golden, planned
from .test_system import run

CUBE = {"kernel_shape": [2, 2, 2], "strides": [2, 2, 2]}
SAME = {"pads": [1] * 6}


def c3d() -> models.Builder:
    """Convolutions over slices, rows and columns, maxima of rows and columns, then of slices too."""
    net = models.Builder((2, 4, 8, 8)).volume(2, 6, 3, **SAME).norm(6).relu()
    net.node("MaxPool", kernel_shape=[1, 2, 2], strides=[1, 2, 2]).volume(6, 8, 3, **SAME).relu()
    return net.node("MaxPool", **CUBE).flatten().gemm(8 * 2 * 2 * 2, 5)


def factorised() -> models.Builder:
    """Rows and columns, then slices; beside a depthwise convolution, gated by its mean, averaged."""
    net = models.Builder((3, 4, 6, 6)).volume(3, 8, (1, 3, 3)).relu().volume(8, 8, (3, 1, 1), pads=[1, 0, 0, 1, 0, 0])
    first = net.relu().current
    second = net.volume(8, 8, 3, group=8, **SAME).current
    gate = net.node("GlobalAveragePool").volume(8, 8, 1).node("Sigmoid").current
    net.join("Mul", second, gate)
    return net.join("Add", net.current, first).node("AveragePool", **CUBE).flatten().gemm(8 * 2 * 2 * 2, 4)


def both() -> models.Builder:
    """Down, and up beside what was there before."""
    net = models.Builder((1, 4, 4, 6)).volume(1, 4, 3, **SAME).relu()
    before = net.current
    net.node("MaxPool", **CUBE).volume(4, 8, 3, **SAME).relu()
    net.node("ConvTranspose", net.he(8, 4, 2, 2, 2), net.bias(4), strides=[2, 2, 2])
    return net.join("Concat", net.current, before, axis=1).volume(8, 2, 3, **SAME)


NETWORKS = {"C3D": c3d, "factorised": factorised, "U-Net": both}
SIZES = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1},
    "16x16, all fits": {"rows": 16, "columns": 16, "bus_bytes": 16},
}


def made(name: str) -> tuple[Graph, np.ndarray]:
    """The network, quantized, and maps of three volumes."""
    model = NETWORKS[name]().model()
    network = load_float(model)
    maps = apply_steps(network.arrays["image"].steps, models.images(model, 3))
    return quantize(network, maps), maps


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_programs_compute_what_golden_does(name, sizes):
    check_against_golden(planned(made(name)[0], **sizes))


def test_a_simulated_network_is_exact(tmp_path):
    graph, maps = made("C3D")
    run(graph, {**SIZES["4x4, all cut"], "activation_kib": 8}, tmp_path, images=maps[:2])


def test_maxima_are_parts_of_convolutions_and_slices_are_read_where_they_are():
    layers = lower(made("C3D")[0], 8)
    assert all(layer.on_array for layer in layers)
    assert len(layers) == 4 + 4 + 1


def test_constants_of_slices_in_the_middle_are_in_memory_once():
    plan: Plan = planned(made("C3D")[0], **SIZES["16x16, all fits"])
    assert len({region.address for region in plan.dram.streams[:4]}) == 3, "first, last, and both between"
