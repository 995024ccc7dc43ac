"""Normalizations before a convolution as layers of the vector unit: each channel has a factor, a bias and a scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from systolith.hw.build import general_parameters, parameters_for
from systolith.hw.compiler import affine as compiler_affine
from systolith.hw.compiler import planner
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.planner import plan
from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import Combine, Operation
from systolith.hw.model.schedule import predict
from systolith.quant import ConfigurationError, Conv, Graph, Sums

from .hw_networks import check_against_golden
from .test_hw_tiling import check_layout
from .test_hw_views import Growing
from .test_system import run

SIZES: dict[str, dict[str, Any]] = {
    "4x4, one line": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1, "lanes": 4},
    "9x5, wide bus": {"rows": 9, "columns": 5, "bus_bytes": 16, "activation_kib": 2, "accumulator_kib": 2, "lanes": 3},
    "3x8, fewer rows": {"rows": 3, "columns": 8, "bus_bytes": 8, "activation_kib": 3, "accumulator_kib": 1},
    "8x8, all fits": {"rows": 8, "columns": 8, "activation_kib": 32},
    "16x16": {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 8, "accumulator_kib": 8, "lanes": 8},
}


class Preactivated(Growing):
    """A dense block whose layers normalize and clamp all features before each convolution."""

    def normalized(self, source: str, clamps: bool = True, bits: int = 8, **window: Any) -> str:
        name, output = self.names()
        channels = self.map_of(source).shape[0]
        low, high = -(1 << bits - 1), 1 << bits - 1
        weights = self.numpy.integers(low, high, (channels, 1, 1, 1)).astype(np.int16)
        weights.flat[0] = low
        scales = self.numpy.uniform(0.004, 0.02, channels).astype(np.float32) * np.float32(2.0 ** (8 - bits))
        bias = self.numpy.integers(-6000, 6000, channels)
        bias[:: max(2, channels // 3)] *= 200_000  # what no clamp leaves anything of
        made = self.add(Conv(name, "Conv", source, output, weights, scales, bias, groups=channels, **window))
        if clamps:
            tensor = self.map_of(made)
            self.tensors[made] = replace(tensor, low=tensor.zero_point, high=max(tensor.high, tensor.zero_point + 1))
        return made

    def dense(self, layers: int, growth: int, inner: int = 8) -> str:
        features = self.conv("x", 6, 3)
        for _ in range(layers):
            made = self.normalized(self.conv(self.normalized(features), inner, 1), clamps=False)
            features = self.concat(features, self.conv(made, growth, 3))
        return self.conv(self.normalized(features), 5, 1)


def network(seed: int, *, layers: int = 3, growth: int = 5, shape: tuple[int, int, int] = (3, 9, 8)) -> Graph:
    c = Preactivated(seed, shape)
    return c.finished(c.dense(layers, growth))


def planned(graph: Graph, batch: int = 1, **sizes: Any) -> Plan:
    return plan(graph, parameters_for(graph, **{"affine": True, **sizes}), batch)


def moved(made: Plan) -> list[int]:
    """Layers, by index, that the vector unit scales."""
    found = [n for n, layer in enumerate(made.layers) if layer.combine == Combine.AFFINE]
    assert not any(made.layers[n].on_array for n in found)
    return found


@pytest.fixture
def always(monkeypatch):
    """Every layer that may be moved is, whatever it costs."""

    def laid_out(graph: Graph, p: Parameters, batch: int) -> tuple[Any, ...]:
        whole, layers = planner.prepared(graph, p, batch)
        return whole, layers, planner.lay_out(layers, whole, p)

    monkeypatch.setattr(planner, "_laid_out", laid_out)
    monkeypatch.setattr(compiler_affine, "SHOWN", 1000)


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_programs_compute_what_golden_does(sizes):
    for seed in range(6):
        made = planned(network(seed), 1 + seed % 2, **sizes)
        check_against_golden(made, seed)
        if made.batch == 1:
            check_layout(made)
        assert len(moved(made)) == 7 * made.batch


@pytest.mark.usefixtures("always")
def test_slices_load_their_own_channels():
    """Of the features of a block that lie in DRAM, and store them: no LOAD has a whole pixel of what is joined."""
    for name in ("4x4, one line", "3x8, fewer rows"):
        made = planned(network(1), **SIZES[name])
        sliced = [n for n in moved(made) if made.placements[n].tiling.slices > 1 and made.placements[n].input_slots]
        assert sliced
        for n in sliced:
            layer, tiling = made.layers[n], made.placements[n].tiling
            spans = {
                item.fields["bytes"] + 1
                for item in made.program
                if item.layer == n and item.operation == Operation.LOAD and item.fields["rows"]
            }
            assert max(spans) <= tiling.sliced * made.parameters.columns < layer.source[0]


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("bench", ["bulk", "protocol"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_simulated(sizes, bench, tmp_path):
    """Every byte; the protocol's bench stalls at random."""
    report, made = run(network(7, shape=(3, 12, 11)), {"affine": True, **sizes}, tmp_path, images=1, bench=bench)
    assert moved(made)
    if bench == "bulk":  # in a few KiB beats take turns with every read
        tolerance = 0.05 if sizes["activation_kib"] < 8 else 0.01
        assert report.cycles_per_image == pytest.approx(predict(made, 30).cycles, rel=tolerance)


def test_faster_beside_the_array_than_on_it():
    """The same accelerator with and without: a block like DenseNet's, whose convolutions leave the vector unit time."""
    c = Preactivated(3, (3, 14, 14))
    graph = c.finished(c.dense(5, 16, 64))
    sizes = {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 64, "lanes": 8}
    with_it, without = (predict(planned(graph, affine=some, **sizes), 30).cycles for some in (True, False))
    assert with_it < 0.95 * without


def test_where_memory_is_short_they_stay_on_the_array():
    """Ten KiB for maps of 30: slots for them would take the room of the array's."""
    c = Preactivated(3, (3, 14, 14))
    graph = c.finished(c.dense(6, 32, 64))
    sizes = {"rows": 16, "columns": 16, "bus_bytes": 16, "lanes": 8}
    assert not moved(planned(graph, activation_kib=10, **sizes))
    assert moved(planned(graph, activation_kib=64, **sizes))


ALONE = {"rows": 8, "columns": 8}


def taken(c: Preactivated, *outputs: str, **sizes: Any) -> int:
    """How many layers of the graph the vector unit scales; its results are golden's."""
    graph = c.finished(*outputs)
    made = planned(graph, **{**ALONE, **sizes})
    check_against_golden(made)
    return len(moved(made))


@pytest.mark.usefixtures("always")
def test_only_what_scales_each_channel_by_itself_is_moved():
    """Each beside what is like it but for one thing."""

    def one(**how: Any) -> int:
        c = Preactivated(1, (3, 8, 8))
        return taken(c, c.conv(c.normalized(c.conv("x", 16, 3), **how), 16, 3))

    assert one() == 1
    assert one(bits=9) == 0, "a factor has 8 bits"
    assert one(strides=(2, 2)) == 0
    assert one(pads=(1, 0, 0, 0)) == 0

    c = Preactivated(1, (3, 8, 8))
    pooled = c.max_pool(c.normalized(c.conv("x", 16, 3)), 2, 2, 0)
    assert taken(c, c.conv(pooled, 16, 3)) == 0, "maxima are taken before requantization, and factors may be negative"
    c = Preactivated(1, (3, 8, 8))
    first = c.conv("x", 16, 3)
    assert taken(c, c.conv(c.sum(c.normalized(first), first), 16, 3)) == 0, "tables stand behind requantization"
    c = Preactivated(1, (3, 8, 8))
    assert taken(c, c.conv(c.conv(c.conv("x", 16, 3), 16, 1), 16, 3)) == 0, "each output reads all channels"
    c = Preactivated(1, (3, 8, 8))
    last = c.normalized(c.conv("x", 16, 3), clamps=False)
    (*_, layer) = c.layers
    assert isinstance(layer, Conv)
    c.tensors[last] = Sums(last, (16, 8, 8), c.map_of(layer.input).scale * layer.weight_scales)
    assert taken(c, last) == 0, "sums that the host reads have no scale"


def test_what_nothing_hides_stays_on_the_array():
    """A normalization of the network's own input, before which the array does nothing."""
    c = Preactivated(2, (24, 9, 9))
    before = c.normalized("x")
    graph = c.finished(c.conv(before, 1, 1))
    assert not moved(planned(graph, rows=16, columns=16, lanes=4))


def test_an_accelerator_has_it_where_it_pays_and_may_be():
    """Where 1% of the array's cycles are such layers', and what is asked for allows it; a general one has it."""
    c = Preactivated(5, (3, 10, 10))
    inner = c.conv(c.normalized(c.conv(c.conv("x", 24, 3), 48, 3)), 8, 3)
    graph = c.finished(inner)
    assert parameters_for(graph, **ALONE).affine
    for sizes in ({"activation_bits": 9}, {"operands": False}):
        assert not parameters_for(graph, **ALONE, **sizes).affine, sizes
    for _ in range(6):
        inner = c.conv(inner, 48, 3)
    assert not parameters_for(c.finished(inner), **ALONE).affine, "a small share"
    assert not parameters_for(network(1), **ALONE, affine=False).affine
    assert general_parameters(**ALONE).affine
    assert not general_parameters(**ALONE, activation_bits=9).affine
    assert not general_parameters(**ALONE, sum_bits=15, tables=False).affine


def test_an_accelerator_without_it_runs_them_on_the_array():
    made = planned(network(6), **ALONE, affine=False)
    assert not moved(made)
    assert {item.operation for item in made.program} >= {Operation.ARRAY, Operation.VECTOR}
    check_against_golden(made)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"activation_bits": 9, "operands": True}, "affine channels need operands and at most 8 activation bits"),
        ({"operands": False}, "affine channels need operands and at most 8 activation bits"),
        ({"operands": True, "sum_bits": 15}, "affine channels of 8 bits need sums of 16 bits"),
        ({"operands": True, "total_bits": 15}, "affine channels of 8 bits need sums of 16 bits"),
    ],
)
def test_parameters_that_cannot_be(sizes, message):
    with pytest.raises(ConfigurationError, match=message):
        Parameters(**ALONE, affine=True, **sizes)


def test_without_it_nothing_is_left_of_it():
    """Its fingerprint is what it was, and the Verilog names nothing of it."""
    plain = Parameters(**ALONE, operands=True, tables=True, products=True)
    assert plain.fingerprint != replace(plain, affine=True).fingerprint
    names = [name for name in ("in_channels", "factor_0", "own_factor") if name in emit_verilog(plain)]
    assert not names
    assert all(name in emit_verilog(replace(plain, affine=True)) for name in ("in_channels", "factor_0"))


def test_the_graphs_layers_are_not_changed():
    c = Preactivated(3, (3, 14, 14))
    layers = lower(c.finished(c.dense(2, 16, 64)), 8)
    changed = compiler_affine.affine(layers, Parameters(**ALONE, operands=True, affine=True, lanes=8))
    assert any(layer.affine for layer in changed)
    assert not any(layer.affine for layer in layers)
    assert [layer.name for layer in changed] == [layer.name for layer in layers]
