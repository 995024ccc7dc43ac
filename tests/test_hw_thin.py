"""Neighbouring results side by side: the same bytes, chosen where that is faster, and found where they are."""

from __future__ import annotations

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler import planner
from systolith.hw.compiler.thin import beside, may_be_beside
from systolith.quant import ConfigurationError

from .branches import Branches
from .graphs import conv_graph
from .hw_networks import check_against_golden

SETS = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 2, "accumulator_kib": 1},
    "5x6, two-byte elements": {"rows": 5, "columns": 6, "bus_bytes": 8, "activation_bits": 12, "activation_kib": 3},
    "8x16, all fits": {"rows": 8, "columns": 16, "bus_bytes": 16},
    "3x5, narrow weights": {"rows": 3, "columns": 5, "bus_bytes": 8, "activation_kib": 3, "lanes": 5},
}


def forced(count):
    """``count`` neighbours wherever they may be beside each other, however long it takes."""

    def change(layers, _):
        return tuple(piece for it in layers for piece in (beside(it, count) if may_be_beside(it, count) else [it]))

    return change


def windowed(rng, wide: bool):
    """One convolution: any kernel, strides, pads, dilation, groups and odd widths; sums or a map."""
    groups = int(rng.choice([1, 1, 2, 3]))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    kernel, dilations = rng.integers(1, 5, 2), rng.choice([1, 1, 2, 3], 2)
    reach = (kernel - 1) * dilations + 1
    size = rng.integers(3, 20, 2) + reach
    pads = tuple(int(n) for n in rng.integers(0, np.tile(reach, 2)))
    bits = 8 if wide else int(rng.choice([2, 4]))
    weights = rng.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1), (outputs, channels // groups, *kernel))
    return conv_graph(
        (channels, *(int(n) for n in size)),
        weights,
        bias=rng.integers(-500, 500, outputs),
        target=None if rng.random() < 0.2 else (0, 255, 100),
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
        chain.max_pool(chain.conv("x", 1 + seed % 4, 1 + seed % 3, 1 + seed % 2), *POOLINGS[seed % 6], 0)
        graph = chain.graph(0)
        monkeypatch.setattr(planner, "thinned", forced(2 + seed % 3))
        made = planner.plan(graph, parameters_for(graph, **sizes))
        check_against_golden(made, seed)
        changed += made.layers[0].own_weights > 0 and made.layers[0].pool is not None
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
