"""`make bench-light`: the rows of its table, and what it says of the layers that lose most."""

import dataclasses

import numpy as np
import pytest

from examples.light import benchmark, networks
from systolith import quant
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.register_map import STALLS
from systolith.hw.model.schedule import predict

LIGHT = networks.NETWORKS["lenet-5-8x8"]


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    return networks.prepare("lenet-5-8x8", tmp_path_factory.mktemp("light"))


@pytest.fixture(scope="module")
def found(quantized):
    return benchmark.predicted(quantized, LIGHT)


def test_a_quantized_network_is_made_once_for_all_rows_that_share_it(quantized, monkeypatch):
    before = quantized.stat().st_mtime_ns
    monkeypatch.setattr(networks, "quantize_model", None)
    assert networks.prepare("lenet-5", quantized.parent) == quantized
    assert quantized.stat().st_mtime_ns == before


def test_layers_add_up_to_the_network(found):
    assert (found.limit, found.cycles) == (12_953, 15_124)
    assert sum(layer.limit for layer in found.layers) == found.limit
    assert 0 < found.cycles - sum(layer.cycles for layer in found.layers) < 20


def test_the_arrays_cycles_are_windows_or_waits(found):
    """What is left are the cycles between instructions, and those before the first and after the last."""
    accounted = sum(layer.array + layer.token + layer.weights + layer.half for layer in found.layers)
    assert 0.90 * found.cycles < accounted < found.cycles
    fully_connected = next(layer for layer in found.layers if layer.name == "/7/Gemm")
    assert (fully_connected.array, fully_connected.half) == (750, 0)
    assert fully_connected.weights > 4000, "6,000 cycles of bus"
    assert fully_connected.token == 0, "it begins with the rows that are there"
    assert found.layers[0].token > 40, "the first load"


def test_lanes_that_are_too_few_keep_the_array_waiting_for_a_half():
    """A 1x1 convolution of 1,024 pixels on 4x4 in one pass: a result takes the only lane four cycles at least."""
    network = quant.Network((4, 32, 32)).conv(4, 1)
    images = np.random.default_rng(0).standard_normal((2, 4, 32, 32), np.float32)
    graph = quant.quantize(network.to_onnx(), images, quant.Settings(ranges="minmax"))
    planned = plan(graph, parameters_for(graph, rows=4, columns=4, accumulator_kib=1))
    found = predict(planned, 30)
    assert 3_000 < found.waits["half"][0] < found.cycles - 1_024
    assert found.waits["token"][0] + found.waits["weights"][0] < 200


def test_the_layers_that_lose_most_come_first(found, capsys):
    table = benchmark.worst(found, 2)
    assert list(table.columns[0].cells) == ["  /0/Conv+/2/MaxPool", "  /3/Conv+/5/MaxPool"]
    assert list(table.columns[3].cells) == ["1,528", "266"]


def test_the_first_memory_that_is_not_refused_is_taken(quantized, monkeypatch):
    tried = []

    def plan(graph: quant.Graph, parameters, unfold_input):
        assert not unfold_input, "as is chosen for it"
        tried.append(parameters.activation_kib)
        if parameters.activation_kib < 256:
            raise quant.ConfigurationError("too small")
        return "planned"

    monkeypatch.setattr(benchmark, "plan", plan)
    assert benchmark.planned_for(quant.load(quantized), LIGHT) == "planned"
    assert tried == [64, 128, 256]


def test_a_line_of_the_table(found):
    assert benchmark.line("net", LIGHT, found, None) == (
        "| net | 8x8, 8 B | 64 | 2 | 12,953 | 15,124 | 1.168 | 1.17 | 1.12 | 0.135 at 111.9 | | | |"
    )
    bare = dataclasses.replace(LIGHT, most=None, goal=None)
    assert " | 1.168 |  |  | 0.135 at 111.9 | | | |" in benchmark.line("net", bare, found, None)


def test_causes_are_those_of_the_counters():
    assert [f"ARRAY_{cause.upper()}" for cause in benchmark.WAITS] == [name for name, _ in STALLS[:3]]
