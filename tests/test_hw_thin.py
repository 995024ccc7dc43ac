"""Neighbouring results side by side: the same bytes, chosen where that is faster, and found where they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler import planner
from systolith.hw.compiler.beside import beside, may_be_beside, widened
from systolith.hw.compiler.limits import limit_cycles, weight_bytes
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.stacked import alike, in_turns, joined, may_take_turns, stacked, step_of
from systolith.hw.compiler.thin import extended, groups_of
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.model.schedule import predict
from systolith.quant import Concat, ConfigurationError, Conv

from .branches import Branches
from .builds import rebuild
from .graphs import conv_graph, integers
from .hw_networks import ANY_SCALES, check_against_golden, network
from .test_lecture_simulated import HARDWARE

ANY = {"operands": True, "sum_bits": 32, **ANY_SCALES}
"""What copies need, whatever the network."""

SETS = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 2, "accumulator_kib": 1},
    "5x6, two-byte elements": {"rows": 5, "columns": 6, "bus_bytes": 8, "activation_bits": 12, "activation_kib": 3},
    "8x16, all fits": {"rows": 8, "columns": 16, "bus_bytes": 16},
    "3x5, narrow weights": {"rows": 3, "columns": 5, "bus_bytes": 8, "activation_kib": 3, "lanes": 5},
}


def forced(count):
    """``count`` neighbours wherever they may be beside each other, however long it takes."""

    def change(layers, graph, _):
        made = [piece for it in layers for piece in (beside(it, count) if may_be_beside(it, count) else [it])]
        return graph, tuple(made)

    return change


def stacked_by_force(rng):
    """All that are alike stacked, in any number of turns and of neighbours that the map allows."""

    def change(layers, graph, p):
        made = []
        for group in groups_of(layers):
            together = joined(group) if alike(group[0], group[0]) else []
            choices = [
                (turns, count)
                for turns in range(1, 5)
                for count in range(1, 5)
                if together and turns * len(together) > 1 and group[0].target[2] % count == 0
                if all(may_take_turns(it, turns) and may_be_beside(it, count) for it in together)
            ]
            if not choices:
                made += together or group
                continue
            turns, count = choices[rng.integers(len(choices))]
            rows = sorted((row for it in together for row in in_turns(it, turns)), key=lambda it: it.spread.first)
            made += stacked([widened(row, count) for row in rows], p.activation_bits) if step_of(rows) else together
        return extended(graph, made), tuple(made)

    return change


def windowed(rng, wide: bool, plain: bool = False):
    """One convolution: any kernel, strides, pads, dilation, groups and odd widths; sums or a map.

    plain : a map, without dilation of its rows
    """
    groups = int(rng.choice([1, 1, 2, 3]))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    kernel, dilations = rng.integers(1, 5, 2), rng.choice([1, 1, 2, 3], 2)
    dilations[0] = 1 if plain else dilations[0]
    reach = (kernel - 1) * dilations + 1
    size = rng.integers(3, 20, 2) + reach
    pads = tuple(int(n) for n in rng.integers(0, np.tile(reach, 2)))
    bits = 8 if wide else int(rng.choice([2, 4]))
    weights = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), (outputs, channels // groups, *kernel))
    return conv_graph(
        (channels, *(int(n) for n in size)),
        weights,
        bias=rng.integers(-500, 500, outputs),
        target=None if rng.random() < 0.2 and not plain else (0, 255, 100),
        strides=tuple(int(n) for n in rng.integers(1, 4, 2)),
        pads=pads,
        dilations=tuple(int(n) for n in dilations),
        groups=groups,
    )


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
def test_any_window_with_any_number_of_neighbours_is_golden(sizes, monkeypatch):
    rng = np.random.default_rng(sizes["rows"])
    changed = rests = 0
    for seed in range(24):
        graph = windowed(rng, wide=seed % 2 == 0)
        count = int(rng.integers(2, 1 + max(2, min(7, graph.tensors["y"].shape[2]))))
        monkeypatch.setattr(planner, "thinned", forced(count))
        made = planner.plan(graph, parameters_for(graph, **sizes))
        check_against_golden(made, seed)
        changed += any(len(it.weights) > len(graph.layers[0].weights) for it in made.layers)
        rests += len(made.layers) == 2
        assert sum(layer.macs for layer in made.layers) == graph.macs
    assert changed > 20
    assert rests > 6


POOLINGS = [(1, 1), (2, 2), (3, 2), (2, 3), (3, 1), (1, 2)]
"""Kernels and strides."""


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
def test_a_pooling_behind_them_is_golden(sizes, monkeypatch):
    changed = 0
    for seed in range(18):
        chain = Branches(seed, (1 + seed % 3, 7 + seed % 4, 9 + seed % 6))
        kernel, stride = POOLINGS[seed % 6]
        pad = int(kernel > 1 and seed % 5 == 4)
        chain.max_pool(chain.conv("x", 1 + seed % 4, 1 + seed % 3, 1 + seed % 2), kernel, stride, pad)
        graph = chain.graph(0)
        monkeypatch.setattr(planner, "thinned", forced(2 + seed % 3))
        made = planner.plan(graph, parameters_for(graph, **sizes))
        check_against_golden(made, seed)
        changes = [it for it in made.layers if it.own_weights and it.pool]
        assert not (pad and changes), "what lies outside would be another column for each neighbour"
        changed += bool(changes)
    assert changed > 12


@pytest.mark.parametrize("sizes", [SETS["4x4, all cut"], SETS["8x16, all fits"]], ids=str)
def test_what_stands_around_them_in_a_graph_is_golden(sizes, monkeypatch):
    """Additions, tables, selections and joins behind them; other readers; parts of a wider pixel."""
    behind = set()
    for seed in range(16):
        graph = Branches(900 + seed, (3, 6 + seed % 5, 12), moves=seed % 2 == 0).graph(7)
        monkeypatch.setattr(planner, "thinned", forced(2 + seed % 3))
        try:
            made = planner.plan(graph, parameters_for(graph, **{**sizes, "activation_kib": 6}))
        except ConfigurationError as error:
            assert "would do" in str(error), error  # noqa: PT017
            continue
        check_against_golden(made, seed)
        for it in made.layers:
            if it.own_weights:
                behind |= {it.combine.name, "rest" if it.name.endswith(".rest") else "all"}
    assert behind >= {"NONE", "TABLE", "ADD", "rest", "all"}


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
def test_rows_in_turns_are_golden(sizes, monkeypatch):
    rng = np.random.default_rng(sizes["rows"])
    monkeypatch.setattr(planner, "thinned", stacked_by_force(rng))
    changed = 0
    for seed in range(24):
        graph = windowed(rng, wide=seed % 2 == 0, plain=seed % 4 > 0)
        made = planner.plan(graph, parameters_for(graph, **{**ANY, **sizes}))
        check_against_golden(made, seed)
        changed += any(it.rearranged is not None for it in made.layers)
        assert sum(layer.macs for layer in made.layers) == graph.macs
    assert changed > 9


@pytest.mark.parametrize("batch", [1, 2])
def test_a_transposed_convolution_is_one_convolution(batch, monkeypatch):
    """Its parts, whose results are columns and rows in turns."""
    rng = np.random.default_rng(batch)
    for seed in range(6):
        chain = Branches(seed, (3, 5, 6))
        block = [(2, 2), (3, 1), (1, 2)][seed % 3]
        parts = [chain.conv("x", 1 + seed % 2, 1 + 2 * (n % 2)) for n in range(block[0] * block[1])]
        grid = chain.map_of(parts[0])
        for part in parts[1:]:
            chain.feature_map(part, grid.shape, grid)
        name, output = chain.names()
        wide = chain.add(Concat(name, tuple(parts), output), grid)
        chain.depth_to_space(wide, block)
        graph = chain.graph(0)
        monkeypatch.setattr(planner, "thinned", stacked_by_force(rng))
        made = planner.plan(graph, parameters_for(graph, rows=4, columns=6, **ANY), batch=batch)
        check_against_golden(made, seed)
        assert sum(it.on_array for it in made.layers) <= (2 if graph.layers[-1].operator == "Gemm" else 1) * batch


def one_output():
    """Stacked: what super-resolution ends with."""
    chain = Branches(5, (3, 32, 32))
    chain.conv(chain.conv("x", 8, 3), 1, 5)
    return chain.graph(0)


def odd_width():
    """Neighbours, and a rest; sums, which nobody could copy."""
    rng = np.random.default_rng(2)
    return conv_graph((6, 20, 29), rng.integers(-90, 91, (2, 6, 5, 5)), target=None, pads=(2, 2, 2, 2))


def pooled():
    chain = Branches(7, (2, 30, 26))
    chain.max_pool(chain.conv("x", 2, 5), 2, 2, 0)
    return chain.graph(0)


def transposed():
    """Four parts of one output each, of stride 2."""
    chain = Branches(9, (8, 16, 18))
    parts = [chain.conv("x", 1, 3) for _ in range(4)]
    grid = chain.map_of(parts[0])
    for part in parts[1:]:
        chain.feature_map(part, grid.shape, grid)
    name, output = chain.names()
    chain.depth_to_space(chain.add(Concat(name, tuple(parts), output), grid), (2, 2))
    return chain.graph(0)


SIMULATED = {"one output": one_output, "odd width": odd_width, "pooled": pooled, "transposed": transposed}


def made_and_plain(graph, p, monkeypatch):
    """The plan of ``graph``, and that with all layers as they are."""
    made = planner.plan(graph, p)
    with monkeypatch.context() as patched:
        patched.setattr(planner, "thinned", lambda layers, graph, _: (graph, tuple(layers)))
        return made, planner.plan(graph, p)


@pytest.mark.parametrize(("name", "gain"), [("one output", 2), ("odd width", 2), ("pooled", 1.6), ("transposed", 2.5)])
def test_what_is_chosen_takes_fewer_cycles_and_has_the_same_limit(name, gain, monkeypatch):
    graph = SIMULATED[name]()
    made, plain = made_and_plain(graph, parameters_for(graph, **HARDWARE), monkeypatch)
    cycles, before = predict(made, 30).cycles, predict(plain, 30).cycles
    assert cycles * gain < before
    p = made.parameters
    assert sum(limit_cycles(layer, p) for layer in made.layers) <= sum(limit_cycles(layer, p) for layer in plain.layers)
    assert sum(weight_bytes(layer, p) for layer in made.layers) == sum(weight_bytes(it, p) for it in plain.layers)


@pytest.mark.parametrize("name", ["pointwise", "groups2", "tiny", "cifar"])
def test_where_it_does_not_pay_the_program_is_the_same(name, monkeypatch):
    """Full columns; kernels of one column, whose neighbours would add as many zeros as they fill columns."""
    graph = network(name)
    made, plain = made_and_plain(graph, parameters_for(graph, rows=8, columns=4, bus_bytes=8), monkeypatch)
    assert made.program_bytes() == plain.program_bytes()


def with_a_wrong_weight(graph, made):
    """``graph`` with one weight changed in the first layer that has been."""
    names = {name for layer in made.layers if layer.own_weights for name in layer.name.split("+")}
    layers = list(graph.layers)
    number = next(n for n, layer in enumerate(layers) if layer.name in names and isinstance(layer, Conv))
    weights = layers[number].weights.copy()
    weights[-1, 0, 1, 2] -= 100 if weights[-1, 0, 1, 2] > 0 else -100
    layers[number] = replace(layers[number], weights=weights)
    return replace(graph, layers=tuple(layers))


@pytest.mark.parametrize(("rows", "columns"), [(255, 1), (1, 255)])
def test_no_kernel_grows_beyond_what_the_engine_counts_to(rows, columns):
    weights = np.ones((1, 1, rows, columns), np.int16)
    graph = conv_graph((1, 24 + rows - 1, 24 + columns - 1), weights)
    made = planner.plan(graph, parameters_for(graph, rows=4, columns=8, bus_bytes=8, **ANY))
    assert max(it.kernel[0] for it in made.layers) <= 256
    assert max(it.kernel[1] for it in made.layers) <= 256


@pytest.mark.xdist_group("bulk 16x16, 16-byte bus")
@pytest.mark.parametrize("name", SIMULATED)
def test_the_hardware_is_exact_in_the_predicted_cycles_and_faults_are_found_where_they_are(name, tmp_path):
    graph = SIMULATED[name]()
    quant.save(graph, tmp_path / "q.onnx")
    p = parameters_for(graph, **HARDWARE)
    made = generate(graph, (tmp_path / "q.onnx").read_bytes(), p, tmp_path / "build")
    tensors = golden.run(graph, integers(graph, 1, seed=3))
    report = sim.simulate_tensors(sim.load(tmp_path / "build"), graph, tensors)
    assert report.bit_exact, report.differences
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=0.01)
    # one weight is another, under the stamp of the right ones
    wrong = with_a_wrong_weight(graph, made)
    constants = planner.plan(wrong, p).dram.constants
    rebuild(tmp_path / "build", {"memory.bin": made.dram.constants[:INSTRUCTION_BYTES] + constants[INSTRUCTION_BYTES:]})
    report = sim.simulate_tensors(sim.load(tmp_path / "build"), graph, tensors, waveform=False)
    place, found = report.differences[0], golden.run(wrong, tensors["x"])
    (layer,) = (it for it in made.layers if it.name == place.layer)
    assert layer.own_weights
    at = 0, place.channel, place.row, place.column
    output = layer.tensor or layer.output
    assert (place.expected, place.found) == (tensors[output][at], found[output][at])
    assert report.mismatches >= (tensors[output] != found[output]).sum() > 0


def test_the_rest_of_a_row_has_no_operand():
    """It would be a map of its own; neighbours that divide a row have it as it is."""
    chain = Branches(3, (4, 5, 9))
    chain.sum(chain.conv("x", 4, 3), "x")
    (layer,) = (it for it in lower(chain.graph(0), 8) if it.operand)
    assert [count for count in range(1, 10) if may_be_beside(layer, count)] == [1, 3, 9]
