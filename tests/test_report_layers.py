"""The report's figures of layers: shares that cannot exceed 1, shapes, parameters, sums over groups and runs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from systolith import quant
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Operation
from systolith.report.figures import Speed, groups
from systolith.report.layers import layer_rows
from systolith.report.stalls import array_time

from . import models
from .lenet import lenet
from .report_builds import accelerator_of, measured, quantized

SIZES = {"rows": 8, "columns": 8, "bus_bytes": 8, "activation_kib": 8}


@pytest.fixture(scope="module", params=["inception", "dense", "residual"])
def branched(request):
    """A network whose layers overlap, planned; its graph."""
    graph = quantized(models.branched(request.param))
    return accelerator_of(graph, **SIZES), graph


def test_turns_follow_one_another_and_are_never_more_than_busy(branched):
    accelerator, graph = branched
    rows = layer_rows(accelerator, graph, None)
    for row in rows:
        assert 0 <= row.utilization <= 1, row
        assert (row.utilization > 0) == (row.macs > 0)
    ends = {layer: end for layer, _, end, _ in accelerator.manifest["timeline"]["array"]}
    assert sum(row.turn for row in rows if row.macs) == max(ends.values())
    assert max(ends.values()) < accelerator.predicted_cycles
    order = list(ends)
    assert [rows[n].turn for n in order] == np.diff([0, *(ends[n] for n in order)]).tolist()
    assert any(row.macs / row.cells > int(entry["predicted_cycles"]) for row, entry in zip(
        rows, accelerator.manifest["layers"], strict=True
    ) if row.macs) or all(row.macs for row in rows), "from end to end, overlapping layers would be more than busy"


def test_no_layer_is_above_the_roof(branched):
    accelerator, graph = branched
    for row in layer_rows(accelerator, graph, None):
        if row.macs:
            assert row.pace <= row.cells
            assert row.pace <= row.macs / row.moved * row.bus_bytes * (1 + 1e-9)


def test_a_layer_without_macs_is_the_vector_units_and_has_no_limit_of_array_and_bus():
    graph = quantized(models.branched("inception"))
    accelerator = accelerator_of(graph, **SIZES)
    made = plan(graph, quant_parameters(accelerator), 1, False)
    rows = layer_rows(accelerator, graph, None)
    alone = [row for row in rows if not row.macs]
    assert {row.operator for row in alone} >= {"LRN", "MaxPool", "AveragePool"}
    for row in alone:
        layer = made.layers[row.number]
        vectors = sum(
            (i.fields["rows"] + 1) * (i.fields["columns"] + 1) * (i.fields["tiles"] + 1)
            for i in made.program
            if i.operation == Operation.VECTOR and i.layer == row.number
        )
        assert (row.limit, row.bound, row.parameters) == (None, "vector unit", 0)
        assert vectors * 1 <= row.turn, layer.name
    for row in rows:
        if row.macs:
            assert row.bound in ("array", "bus")
            assert row.limit is not None
            assert row.limit >= row.macs / row.cells


def quant_parameters(accelerator):
    from systolith.hw.isa.parameters import Parameters

    return Parameters(**accelerator.manifest["parameters"])


def test_a_part_of_a_concatenation_has_its_own_channels_and_parameters():
    graph = quantized(models.branched("inception"))
    rows = layer_rows(accelerator_of(graph, **SIZES), graph, None)
    convolutions = {layer.name: layer for layer in graph.layers if isinstance(layer, quant.Conv)}
    found = {row.name.partition("+")[0]: row for row in rows if row.macs}
    assert found.keys() == convolutions.keys()
    for name, row in found.items():
        conv = convolutions[name]
        assert row.shape[0] == len(conv.weights), name
        assert row.parameters == conv.weights.size + conv.bias.size, name
    assert sum(row.macs > 0 and row.shape[0] in (6, 4) for row in rows) >= 4


def test_a_graph_that_is_not_the_builds_is_refused():
    graph = quantized(models.branched("inception"))
    accelerator = accelerator_of(graph, **SIZES)
    layers = tuple(replace(layer, name=f"other {layer.name}") for layer in graph.layers)
    name = re.escape(accelerator.manifest["layers"][0]["name"])
    with pytest.raises(quant.ConfigurationError, match=rf"layer '{name}', which model.onnx does not have; make the fo"):
        layer_rows(accelerator, replace(graph, layers=layers), None)


def test_measured_completions_add_up_to_the_run():
    graph = quantized(models.branched("residual"))
    accelerator = accelerator_of(graph, **SIZES)
    report = measured(accelerator)
    rows = layer_rows(accelerator, graph, report)
    assert rows[-1].measured == sum(report.layer_cycles.values())
    assert [row.measured - row.predicted for row in rows] == [n + 1 for n in range(len(rows))]
    report.layer_cycles.popitem()
    assert {row.measured for row in layer_rows(accelerator, graph, report)} == {None}


@pytest.mark.parametrize("batch", [1, 4])
def test_shares_of_a_run_of_several_images_are_of_the_run(batch):
    """Cycles that a simulation reports are an image's, a manifest's are a run's."""
    graph = lenet()
    accelerator = accelerator_of(graph, batch=batch, rows=8, columns=8, bus_bytes=8)
    report = measured(accelerator, stalls={"array_weights": 100.0, "array_token": 20.0})
    rows = layer_rows(accelerator, graph, report)
    whole, convolutions, dense = groups(accelerator, rows, report)
    assert whole.cycles == pytest.approx(accelerator.predicted_cycles + 17)
    assert whole.utilization == pytest.approx(report.mac_utilization)
    assert whole.macs == convolutions.macs + dense.macs == 416_520 * batch
    assert whole.limit == convolutions.limit + dense.limit == accelerator.limit_cycles
    assert convolutions.cycles + dense.cycles < whole.cycles
    assert all(group.utilization == group.macs / (64 * group.cycles) < 1 for group in (whole, convolutions, dense))
    parts = {part.name: part for part in array_time(accelerator, report)}
    assert sum(part.cycles for part in parts.values()) == pytest.approx(whole.cycles)
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert parts["all multipliers busy"].share == pytest.approx(report.mac_utilization)
    assert parts["waiting for weights"].cycles == pytest.approx(100 * batch)
    windows = sum(
        (i.fields["rows"] + 1) * (i.fields["columns"] + 1) * (i.fields["passes"] + 1) * (i.fields["tiles"] + 1)
        for i in plan(graph, quant_parameters(accelerator), batch).program
        if i.operation == Operation.ARRAY
    )
    assert parts["rows or columns idle"].cycles == pytest.approx(windows - whole.macs / 64)


def test_milliseconds_are_a_runs_and_images_a_second_all_images():
    speed = Speed(125.0, 50_000, 4)
    assert speed.milliseconds == pytest.approx(0.4)
    assert speed.images_per_second == pytest.approx(10_000)


@pytest.mark.parametrize(("mhz", "said"), [(0.0, "0"), (-5.0, "-5"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_a_clock_that_is_none_is_refused(mhz, said):
    with pytest.raises(quant.ConfigurationError, match=rf"^the clock must be above 0 MHz, such as 100, not {said}$"):
        Speed(mhz, 1000, 1)
