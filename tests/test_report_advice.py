"""The report's advice: which loss it names, which change it tries, when it says nothing, and that it comes true."""

import pytest

from systolith import quant
from systolith.commands.report import predictor
from systolith.report.advice import Change, advise, losses
from systolith.report.layers import layer_rows

from . import models
from .lenet import lenet5
from .report_builds import accelerator_of, measured, quantized

SIZES = {"rows": 8, "columns": 8, "bus_bytes": 8}


@pytest.fixture(scope="module")
def digits():
    """LeNet-5's graph, and what a folder says of it."""
    graph, _ = lenet5("float")
    return graph, accelerator_of(graph, **SIZES)


@pytest.fixture(scope="module")
def branches():
    """A network with layers of the vector unit alone, on memories so small that maps pass through DRAM."""
    graph = quantized(models.branched("inception"))
    return graph, accelerator_of(graph, activation_kib=3, **SIZES)


def tried(built, stalls, helpful=lambda change: False):
    """The advice after ``stalls``, and the changes that were tried, of which ``helpful`` ones save half."""
    graph, accelerator = built
    changes = []

    def predict(change):
        changes.append(str(change))
        return accelerator.predicted_cycles / accelerator.batch * (0.5 if helpful(change) else 1.0)

    report = measured(accelerator, stalls=stalls)
    return advise(accelerator, layer_rows(accelerator, graph, report), report, predict), changes


def test_the_first_changes_for_each_loss(digits, branches):
    """The largest loss first: LeNet-5's first layer leaves rows idle for 1,242 cycles."""
    assert tried(digits, {"array_half": 3000.0})[1] == ["--lanes 4", "--unfold-input"]
    assert tried(digits, {"array_weights": 3000.0})[1] == ["--batch 4", "--bus-bytes 16", "--unfold-input"]
    assert tried(digits, {"array_token": 3000.0})[1] == ["--bus-bytes 16", "--unfold-input"]
    assert tried(digits, {"array_half": 1000.0})[1] == ["--unfold-input", "--lanes 4"]
    passing = ["--activation-kib 6", "--lanes 4", "--bus-bytes 16"]
    assert tried(branches, {"array_token": 3000.0})[1][:3] == passing
    again = ["--activation-kib 6", "--accumulator-kib 64", "--batch 4"]
    assert tried(branches, {"array_weights": 3000.0})[1][:3] == again


def test_weights_that_come_again_ask_for_the_memory_that_is_full(branches):
    graph, _ = branches
    small = accelerator_of(graph, activation_kib=3, accumulator_kib=1, **SIZES)
    assert small.manifest.parameters.accumulator_depth == 16
    assert tried((graph, small), {"array_weights": 3000.0})[1][:2] == ["--accumulator-kib 2", "--activation-kib 6"]


def test_a_change_is_advised_only_if_it_helps_and_with_the_figures_that_led_to_it(digits):
    advice, _ = tried(digits, {"array_weights": 5819.0, "array_half": 400.0}, lambda c: c.option == "bus_bytes")
    assert advice.change == Change("bus_bytes", 16)
    assert str(advice) == (
        "The array waits for weights of layers that use each too seldom for this bus: 5,819 cycles an image, 38.4% of"
        " them. With --bus-bytes 16 the cycle model predicts 7,562 instead of 15,124."
    )
    second, changes = tried(digits, {"array_weights": 5819.0, "array_half": 4000.0}, lambda c: c.option == "lanes")
    assert second.change == Change("lanes", 4)
    assert second.loss.cycles == 4000
    assert changes == ["--batch 4", "--bus-bytes 16", "--lanes 4"], "the largest loss first"
    graph, accelerator = digits
    report = measured(accelerator, stalls={"array_half": 4000.0})
    rows = layer_rows(accelerator, graph, report)
    assert advise(accelerator, rows, report, lambda change: None) is None, "what cannot be built is not advised"
    assert advise(accelerator, rows, report, lambda change: 0.991 * 15_124) is None
    assert advise(accelerator, rows, report, lambda change: 0.989 * 15_124) is not None


def test_near_the_limit_there_is_no_advice(digits):
    graph, accelerator = digits
    limit = accelerator.limit_cycles
    for cycles, wanted in ((1.05 * limit, False), (1.06 * limit, True)):
        report = measured(accelerator, stalls={"array_half": 600.0}, cycles_per_image=cycles)
        advice = advise(accelerator, layer_rows(accelerator, graph, report), report, lambda change: 1.0)
        assert (advice is not None) == wanted, cycles


def test_losses_below_one_percent_are_not_worth_a_change(branches):
    graph, _ = branches
    unfolded = accelerator_of(graph, unfold_input=True, activation_kib=3, **SIZES)
    few = 0.009 * unfolded.predicted_cycles
    assert tried((graph, unfolded), {"array_half": few, "array_token": few})[1] == []
    more = 0.011 * unfolded.predicted_cycles
    assert tried((graph, unfolded), {"array_half": more, "array_token": few})[1] == ["--lanes 4"]


def test_random_stalls_of_the_memory_say_nothing_about_the_accelerator(digits):
    graph, accelerator = digits
    report = measured(accelerator, stalls={"array_half": 4000.0}, bench="protocol")
    assert advise(accelerator, layer_rows(accelerator, graph, report), report, lambda change: 1.0) is None


def test_what_is_at_its_end_is_not_advised(monkeypatch):
    monkeypatch.setattr("systolith.report.advice.MOST_BATCH", 2)  # planning 256 images takes a minute
    graph, _ = lenet5("float")
    most = accelerator_of(graph, rows=8, columns=8, bus_bytes=64, lanes=8, batch=2, unfold_input=True)
    report = measured(most)
    found = losses(most, layer_rows(most, graph, report), report)
    offered = {str(change) for loss in found for change in loss.changes}
    assert offered <= {"--activation-kib 128", "--accumulator-kib 64"}


@pytest.mark.parametrize(
    ("sizes", "before", "change"),
    [({"rows": 8, "columns": 8}, 15_124, "--batch 4"), ({"rows": 16, "columns": 8}, 13_236, "--unfold-input")],
    ids=["weights", "idle rows"],
)
def test_advice_comes_true(digits, sizes, before, change):
    """A folder generated with the advised option is predicted to take what the advice says."""
    graph, _ = digits
    accelerator = accelerator_of(graph, **{**SIZES, **sizes})
    report = measured(accelerator, stalls={"array_weights": 5819.0 if change == "--batch 4" else 754.0})
    rows = layer_rows(accelerator, graph, report)
    advice = advise(accelerator, rows, report, predictor(accelerator, graph))
    followed = accelerator_of(graph, **{**SIZES, **sizes, advice.change.option: advice.change.value})
    assert followed.predicted_cycles / followed.batch == advice.after < 0.96 * advice.before
    assert advice.before == accelerator.predicted_cycles == before
    assert str(advice.change) == change


def test_lanes_help_a_vector_unit_that_is_behind():
    graph = quantized(models.branched("dense"))
    accelerator = accelerator_of(graph, **SIZES)
    report = measured(accelerator, stalls={"array_half": 3000.0})
    advice = advise(accelerator, layer_rows(accelerator, graph, report), report, predictor(accelerator, graph))
    followed = accelerator_of(graph, lanes=4, **SIZES)
    assert advice.after == followed.predicted_cycles < 0.8 * accelerator.predicted_cycles


def test_a_change_that_cannot_be_built_predicts_nothing(branches):
    graph, accelerator = branches
    assert predictor(accelerator, graph)(Change("activation_kib", 1)) is None
    with pytest.raises(quant.ConfigurationError):
        accelerator_of(graph, activation_kib=1, **SIZES)
