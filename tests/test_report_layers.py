"""The report's figures of layers: shares that cannot exceed 1, shapes, parameters, sums over groups and runs."""

import numpy as np
import pytest

from systolith import quant
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.tiling import interval
from systolith.hw.isa.program import Operation
from systolith.report.figures import Speed, groups
from systolith.report.layers import layer_rows
from systolith.report.stalls import array_time

from . import models
from .lenet import lenet5
from .report_builds import accelerator_of, measured, quantized

SIZES = {"rows": 8, "columns": 8, "bus_bytes": 8, "activation_kib": 8}


@pytest.fixture(scope="module", params=["inception", "dense", "residual"])
def branched(request):
    """A network whose layers overlap: what a folder says of it, its graph, its plan."""
    graph = quantized(models.branched(request.param))
    accelerator = accelerator_of(graph, **SIZES)
    return accelerator, graph, plan(graph, accelerator.manifest.parameters)


def windows(instruction):
    """Results of the vector unit, or windows of one pass of the array."""
    f = instruction.fields
    return (f["rows"] + 1) * (f["columns"] + 1) * (f["tiles"] + 1)


def test_turns_follow_one_another_and_no_multiplier_is_more_than_busy(branched):
    accelerator, graph, _ = branched
    rows = layer_rows(accelerator, graph, None)
    assert all(0 < row.utilization <= 1 for row in rows if row.macs)
    assert all(row.utilization == 0 for row in rows if not row.macs)
    ends = {item.layer: item.end for item in accelerator.manifest.timeline.array}
    assert [rows[n].turn for n in ends] == np.diff([0, *ends.values()]).tolist()
    assert sum(row.turn for row in rows if row.macs) == max(ends.values()) < accelerator.predicted_cycles


def test_from_end_to_end_layers_that_overlap_would_be_more_than_busy():
    """So the figure above says something of these networks."""
    graph = quantized(models.branched("inception"))
    accelerator = accelerator_of(graph, **SIZES)
    layers = accelerator.manifest.layers
    assert any(layer.macs > accelerator.cells * layer.predicted_cycles for layer in layers)


def test_no_layer_is_above_the_roof(branched):
    accelerator, graph, _ = branched
    for row in layer_rows(accelerator, graph, None):
        assert row.pace <= row.cells
        assert row.pace * row.moved <= row.macs * row.bus_bytes * (1 + 1e-12)


def test_a_layer_without_macs_is_the_vector_units_and_has_no_limit(branched):
    accelerator, graph, made = branched
    rows = layer_rows(accelerator, graph, None)
    assert not all(row.macs for row in rows)
    for row, layer in zip(rows, made.layers, strict=True):
        if row.macs:
            assert row.bound == ("bus" if row.limit > -(-row.macs // row.cells) else "array")
            continue
        results = sum(windows(i) for i in made.program if i.operation == Operation.VECTOR and i.layer == row.number)
        least = results * interval(layer, accelerator.manifest.parameters)
        assert (row.limit, row.bound, row.parameters) == (None, "vector unit", 0)
        assert 0.9 * least < row.turn < 3 * least + 300, "its own work, whatever it waited for"


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


def test_measured_completions_add_up_to_the_run(branched):
    accelerator, graph, _ = branched
    names = [layer.name for layer in accelerator.manifest.layers]
    assert len(set(names)) == len(names)
    report = measured(accelerator)
    rows = layer_rows(accelerator, graph, report)
    assert rows[-1].measured == sum(report.layer_cycles.values())
    assert [row.measured - row.predicted for row in rows] == [n + 1 for n in range(len(rows))]
    report.layer_cycles.popitem()
    assert {row.measured for row in layer_rows(accelerator, graph, report)} == {None}


@pytest.mark.parametrize("batch", [1, 4])
def test_shares_of_a_run_of_several_images_are_of_the_run(batch):
    """Cycles that a simulation reports are an image's, a manifest's are a run's."""
    graph, _ = lenet5("float")
    accelerator = accelerator_of(graph, batch=batch, rows=8, columns=8, bus_bytes=8)
    report = measured(accelerator, stalls={"array_weights": 100.0, "array_token": 20.0})
    rows = layer_rows(accelerator, graph, report)
    whole, convolutions, dense = groups(accelerator, rows, report)
    assert whole.cycles == pytest.approx(accelerator.predicted_cycles + 17)
    assert whole.utilization == pytest.approx(report.mac_utilization)
    assert whole.macs == convolutions.macs + dense.macs == 416_520 * batch
    assert whole.limit == convolutions.limit + dense.limit == accelerator.limit_cycles
    assert convolutions.cycles + dense.cycles < whole.cycles
    for group in (convolutions, dense):
        assert group.utilization == pytest.approx(group.macs / (64 * group.cycles))
    parts = {part.name: part for part in array_time(accelerator, report)}
    assert sum(part.cycles for part in parts.values()) == pytest.approx(whole.cycles)
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert parts["all multipliers busy"].share == pytest.approx(report.mac_utilization)
    assert parts["waiting for weights"].cycles == pytest.approx(100 * batch)
    program = plan(graph, accelerator.manifest.parameters, batch).program
    entering = sum(windows(i) * (i.fields["passes"] + 1) for i in program if i.operation == Operation.ARRAY)
    assert parts["rows or columns idle"].cycles == pytest.approx(entering - whole.macs / 64)


def test_milliseconds_are_a_runs_and_images_a_second_count_all_its_images():
    speed = Speed(125.0, 50_000, 4)
    assert speed.milliseconds == pytest.approx(0.4)
    assert speed.images_per_second == pytest.approx(10_000)


@pytest.mark.parametrize(("mhz", "said"), [(0.0, "0"), (-5.0, "-5"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_a_clock_that_is_none_is_refused(mhz, said):
    with pytest.raises(quant.ConfigurationError, match=rf"^the clock must be above 0 MHz, such as 100, not {said}$"):
        Speed(mhz, 1000, 1)
