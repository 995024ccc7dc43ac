"""Relays: what they compute, their order, what never passes through DRAM, and when a plan takes them."""

from __future__ import annotations

import random
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler import relay_layout, residency
from systolith.hw.compiler.cost import Traffic
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.relay import pieces_of
from systolith.hw.compiler.relay_tiling import RelayTilings
from systolith.hw.compiler.span import size
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict
from systolith.quant import ConfigurationError, Graph

from .hw_networks import check_against_golden, planned
from .models import Builder
from .test_hw_depthwise import quantized
from .test_hw_tiling import check_layout
from .test_system import run

SIZES = {
    "8x8": {"rows": 8, "columns": 8, "activation_kib": 3, "accumulator_kib": 4},
    "4x4, one line": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 2, "accumulator_kib": 1},
    "9x5, wide bus": {"rows": 9, "columns": 5, "bus_bytes": 16, "activation_kib": 3, "accumulator_kib": 1},
    "8x4, block-diagonal": {"rows": 8, "columns": 4, "activation_kib": 2, "accumulator_kib": 1, "line_buffer": 0},
    "12x6, two bytes": {"rows": 12, "columns": 6, "activation_bits": 11, "activation_kib": 6, "accumulator_kib": 1},
    "16x8, pairs": {"rows": 16, "columns": 8, "activation_kib": 4, "target": "ecp5", "columns_per_multiplier": 2},
}


def network(seed: int, bits: int = 8) -> Graph:
    """A convolution, a depthwise one, and perhaps a third, of random shapes."""
    rng = random.Random(seed)
    channels, before = rng.choice([24, 37, 48]), rng.choice([1, 1, 3])
    kernel, stride = rng.choice([(3, 3), (3, 3), (5, 5), (3, 1), (2, 4)]), rng.choice([1, 1, 2])
    net = Builder((6, rng.randint(7, 13), rng.randint(7, 15)), seed=seed)
    if seed % 2:
        net.conv(6, 6, 1)
    net.conv(6, channels, before, strides=[rng.choice([1, 1, 2])] * 2, pads=[before // 2] * 4).relu()
    pads = [rng.randint(0, k - 1) if seed % 3 else k // 2 for k in kernel * 2]
    net.conv(channels, channels, kernel, group=channels, strides=(stride, stride), pads=pads)
    return quantized(net if rng.random() < 0.3 else net.conv(channels, rng.choice([5, 40]), 1), bits)


def makers(made: Plan) -> list[int]:
    return [n for n, place in enumerate(made.placements) if place.hands_on]


@pytest.fixture
def always(monkeypatch):
    """Relays wherever one fits."""
    monkeypatch.setattr(relay_layout, "GAIN", 1000.0)


@cache
def plans(name: str) -> list[Plan]:
    """Of random networks, for one of SIZES, with all relays that fit."""
    made, sizes = [], SIZES[name]
    for seed in range(7):
        try:
            made.append(planned(network(seed, sizes.get("activation_bits", 8)), **sizes))
        except ConfigurationError as error:
            assert "would do" in str(error)  # noqa: PT017
    assert len(made) > 4
    return made


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("name", SIZES)
def test_relays_compute_what_golden_does(name):
    seen: Counter[str] = Counter()
    for seed, made in enumerate(plans(name)):
        check_layout(made)
        check_against_golden(made, seed)
        for n in makers(made):
            maker, taker = made.placements[n : n + 2]
            seen["relays"] += 1
            seen["tiles"] += taker.tiling.count > 1
            seen["pieces"] += maker.tiling.pieces > 1
            seen["slices"] += taker.tiling.slices > 1
            seen["loads"] += maker.source is None
    assert seen["relays"] >= 3, seen
    assert min(seen["tiles"], seen["loads"]) >= 1, seen


@pytest.mark.usefixtures("always")
def test_the_map_between_never_leaves_the_chip_and_channel_tiles_take_turns():
    for made in plans("8x8"):
        for n in makers(made):
            maker, taker = made.placements[n : n + 2]
            assert made.layers[n].output not in {*made.dram.maps, *made.layout.resident}
            pair = [i for i in made.program if i.layer in (n, n + 1)]
            moved = {(i.layer - n, i.operation) for i in pair if i.operation in (Operation.LOAD, Operation.STORE)}
            assert moved <= {(0, Operation.LOAD), (1, Operation.STORE)}
            order = [i.layer - n for i in pair if i.operation == Operation.ARRAY]
            tiles, count = maker.tiling.slices, taker.tiling.count
            made_, taken = [0] * maker.tiling.pieces, [1] * taker.tiling.pieces
            assert order == [*made_, *(made_ + taken) * (tiles * count - 1), *taken]


@pytest.mark.usefixtures("always")
def test_each_row_that_two_tiles_share_is_made_twice_and_no_other():
    found = 0
    for made in plans("4x4, one line"):
        for n in makers(made):
            maker, taker = made.placements[n].tiling, made.placements[n + 1].tiling
            written = Counter(
                (row, column)
                for d in made.drained
                if d.layer == n and d.channels[0] == 0
                for row in range(d.rows[0], sum(d.rows))
                for column in range(d.columns[0], sum(d.columns))
            )
            needed = Counter(
                (row, column) for tile in maker.tiles for row in range(*tile.rows) for column in range(*tile.columns)
            )
            assert written == needed
            assert maker.count == taker.count
            found += max(written.values()) > 1
            assert size(maker.tiles[0].rows) * size(maker.tiles[0].columns) <= maker.output_slot // 4
    assert found


def test_a_map_that_somebody_else_reads_is_not_handed_on(monkeypatch):
    monkeypatch.setattr(relay_layout, "GAIN", 1000.0)
    net = Builder((4, 9, 9), seed=2).conv(4, 24, 1).relu()
    before = net.current
    net.conv(24, 24, 3, group=24, pads=[1] * 4)
    sums = quantized(net.join("Add", before, net.current))
    assert makers(planned(sums, **SIZES["8x8"])) == []


def wide() -> Graph:
    """A depthwise layer whose map does not fit 6 KiB."""
    net = Builder((4, 9, 9), seed=1).conv(4, 96, 1).relu()
    return quantized(net.conv(96, 96, 3, group=96, pads=[1, 1, 1, 1]).relu().conv(96, 8, 1))


WIDE = {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 6, "accumulator_kib": 4, "lanes": 4}


def test_a_relay_is_taken_where_it_is_faster(monkeypatch):
    """As MobileNetV2's first expansion, smaller.  On WIDE the relay that is taken is 0.3% slower: docs/cycles.md."""
    net = Builder((16, 56, 56), seed=1).conv(16, 96, 1).relu()
    graph = quantized(net.conv(96, 96, 3, group=96, strides=[2, 2], pads=[1] * 4).relu().conv(96, 8, 1))
    sizes = {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 32, "lanes": 16}
    made = planned(graph, **sizes)
    assert makers(made) == [0]
    monkeypatch.setattr(residency, "hand_on", lambda layers, graph, p, layout, *_: layout)
    apart = planned(graph, **sizes)
    assert makers(apart) == []
    assert predict(made, 30).cycles < 0.98 * predict(apart, 30).cycles


@pytest.mark.usefixtures("always")
def test_relays_are_exact_in_the_predicted_cycles(tmp_path):
    report, made = run(wide(), {**WIDE, "activation_kib": 2, "accumulator_kib": 1}, tmp_path, images=1)
    assert makers(made) == [0]
    assert made.placements[0].tiling.count > 1
    assert report.cycles_per_image == pytest.approx(predict(made, 30).cycles, rel=0.01)


@pytest.mark.usefixtures("always")
def test_planes_take_turns():
    made = planned(wide(), **WIDE)
    planes, each = made.placements[0].output_slots, made.placements[0].tiling.output_slot
    written = [i.chip_writes[0] for i in made.program if i.operation == Operation.VECTOR and i.layer == 0]
    turns = [next(plane for plane in planes if plane <= at < plane + each) for at in written]
    assert set(turns) == set(planes)
    assert all(a != b for a, b in pairwise(turns))


@pytest.mark.usefixtures("always")
def test_what_is_read_lives_until_the_last_result_is_written():
    """In DRAM, too: both layers are at work together."""
    net = Builder((6, 13, 15), seed=4).conv(6, 24, 1).conv(24, 48, 1).relu()
    graph = quantized(net.conv(48, 48, 3, group=48, pads=[1] * 4).conv(48, 8, 1))
    made = planned(graph, **{**SIZES["8x8"], "activation_kib": 2})
    (n,) = makers(made)
    read, written = (made.dram.maps[name] for name in (made.layers[n].input, made.layers[n + 1].output))
    assert made.placements[n].tiling.count > 1
    assert read.end <= written.address or written.end <= read.address
    check_against_golden(made)


@pytest.mark.usefixtures("always")
def test_maps_that_share_a_place_one_after_the_other_keep_their_layers_apart():
    net = Builder((6, 13, 15), seed=4).conv(6, 8, 1).conv(8, 48, 1).relu()
    graph = quantized(net.conv(48, 48, 3, group=48, strides=(2, 2), pads=[1] * 4).conv(48, 8, 1))
    made = planned(graph, **{**SIZES["8x8"], "activation_kib": 8})
    assert [made.layout.resident.get(made.layers[n].output) for n in range(3)] == [0, None, 0]
    assert makers(made) == []


def test_all_pieces_of_all_tilings_have_rows_that_fit_the_accumulators():
    net = Builder((4, 13, 15), seed=4).conv(4, 24, 1).relu()
    net.conv(24, 24, 3, group=24, strides=(2, 2), pads=[1] * 4)
    made = planned(quantized(net), **SIZES["4x4, one line"])
    maker, taker = (layer.geometry for layer in made.layers)
    p, traffic = made.parameters, Traffic(False, False, True, made.layers[1].spread.steps)
    tilings = RelayTilings(maker, taker, p, True, traffic)
    shapes = set()
    for number in range(0, 150, 3):
        turn = iter([None] * number)
        relay = tilings.best(lambda slots, turn=turn: next(turn, [()] * 5))
        if relay is None:
            break
        shapes.add(relay.taken.shape)
        for g, tiling in ((maker, relay.made), (taker, relay.taken)):
            for tile in tiling.tiles:
                pieces = pieces_of(g, tile, tiling.pieces)
                assert all(0 < piece.positions <= p.accumulator_depth for piece in pieces)
                assert sum(piece.positions for piece in pieces) == tile.positions
        assert all(tile.positions * p.columns <= relay.made.output_slot for tile in relay.made.tiles)
    assert len(shapes) > 15


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(("where", "relay"), [("maker", True), ("taker", True), ("both", False)])
def test_one_of_both_layers_may_have_tables(where, relay):
    """The lanes hold one layer's."""
    net = Builder((6, 13, 15), seed=4).conv(6, 24, 1)
    if where != "taker":
        net.node("Sigmoid")
    net.conv(24, 24, 3, group=24, pads=[1] * 4)
    if where != "maker":
        net.node("Sigmoid")
    made = planned(quantized(net.conv(24, 8, 1)), **{**SIZES["8x8"], "activation_kib": 6})
    assert makers(made) == [0] * relay
    check_layout(made)
    check_against_golden(made)


@pytest.mark.usefixtures("always")
def test_each_image_of_a_batch_has_its_relay():
    graph = network(1)
    made = plan(graph, parameters_for(graph, **SIZES["8x8"]), 2)
    assert makers(made) == [1, 4]
    check_against_golden(made)
