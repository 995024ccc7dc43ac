"""Normalizations before a convolution as layers of the vector unit: each channel has a factor, a bias and a scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Combine
from systolith.hw.model.schedule import predict
from systolith.quant import Conv, Graph

from .hw_networks import check_against_golden, planned
from .test_hw_views import Growing
from .test_system import run

SIZES = {
    "4x4, one line": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1},
    "9x5, wide bus": {"rows": 9, "columns": 5, "bus_bytes": 16, "activation_kib": 4, "accumulator_kib": 2, "lanes": 3},
    "8x8, all fits": {"rows": 8, "columns": 8, "activation_kib": 32},
    "16x16": {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 8, "accumulator_kib": 8, "lanes": 8},
}


class Preactivated(Growing):
    """A dense block whose layers normalize and clamp all features before each convolution."""

    def normalized(self, source: str, clamps: bool = True) -> str:
        name, output = self.names()
        channels = self.map_of(source).shape[0]
        weights = self.numpy.integers(-128, 128, (channels, 1, 1, 1)).astype(np.int16)
        scales = self.numpy.uniform(0.004, 0.02, channels).astype(np.float32)
        bias = self.numpy.integers(-6000, 6000, channels)
        bias[:: max(2, channels // 3)] *= 200_000
        layer = Conv(name, "Conv", source, output, weights, scales, bias, (1, 1), (0,) * 4, (1, 1), channels)
        made = self.add(layer)
        if clamps:
            tensor = self.map_of(made)
            self.tensors[made] = replace(tensor, low=tensor.zero_point, high=max(tensor.high, tensor.zero_point + 1))
        return made

    def dense(self, layers: int, growth: int) -> str:
        features = self.conv("x", 6, 3)
        for _ in range(layers):
            inner = self.normalized(self.conv(self.normalized(features), 8, 1), clamps=False)
            features = self.concat(features, self.conv(inner, growth, 3))
        return self.conv(self.normalized(features), 5, 1)


def network(seed: int, *, layers: int = 3, growth: int = 5, shape: tuple[int, int, int] = (3, 7, 6)) -> Graph:
    c = Preactivated(seed, shape)
    return c.finished(c.dense(layers, growth))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_programs_compute_what_golden_does(sizes):
    for seed in range(6):
        made = planned(network(seed), **sizes)
        moved = [layer for layer in made.layers if layer.combine == Combine.AFFINE]
        assert len(moved) == 7
        assert not any(layer.on_array for layer in moved)
        check_against_golden(made, seed)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_simulated(sizes, tmp_path):
    graph = network(7, shape=(3, 12, 11))
    report, made = run(graph, sizes, tmp_path, images=2)
    print(report.cycles_per_image, predict(made, 30).cycles)
