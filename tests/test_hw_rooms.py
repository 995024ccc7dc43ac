"""What the vector unit does alone at small memories: who works beside the array, in how much room, in what order."""

from dataclasses import replace
from functools import cache

import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.apart import pools_apart
from systolith.hw.compiler.cost import Traffic
from systolith.hw.compiler.cutting import balanced, channel_tiles
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.rooms import RoomChooser, Rooms, rooms_of
from systolith.hw.compiler.tiling import Tilings
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict
from systolith.quant import Concat

from .branches import Branches
from .hw_networks import ANY_SCALES, check_against_golden

pytestmark = pytest.mark.xdist_group("rooms")  # on one worker, which plans each network once
LATENCY = 30


@cache
def modules(side=13, depth=48, wide=32):
    """Two inception modules, each with a pooling of stride 1 in it and one behind its concatenation."""
    c = Branches(0, (depth, side, side))
    source = "x"
    for _ in range(2):
        branches = [
            c.conv(source, wide // 4, 1),
            c.conv(c.conv(source, wide // 2, 1), wide, 3),
            c.conv(c.max_pool(source, 3, 1, 1), wide // 4, 1),
        ]
        for name in branches[1:]:  # one grid
            c.feature_map(name, c.map_of(name).shape, c.map_of(branches[0]))
        name, output = c.names()
        source = c.add(Concat(name, tuple(branches), output), c.map_of(branches[0]))
    c.conv(c.max_pool(source, 3, 2, 0), wide, 3)
    return c.graph(0)


def sized(graph, kib):
    return parameters_for(graph, rows=8, columns=8, bus_bytes=8, activation_kib=kib)


@cache
def made(kib):
    return plan(modules(), sized(modules(), kib))


def own(layers):
    return [n for n, layer in enumerate(layers) if not layer.on_array]


def test_poolings_hide_behind_the_array_at_a_small_memory(monkeypatch):
    found = made(10)
    assert all(last > first for first, last in (found.layout.windows[n] for n in own(found.layers)))
    cycles = predict(found, LATENCY).cycles
    assert cycles < 1.2 * predict(made(64), LATENCY).cycles
    monkeypatch.setattr(RoomChooser, "choose", lambda self, alone: Rooms({*own(self.layers)}, {}))
    assert cycles < 0.93 * predict(plan(modules(), sized(modules(), 10)), LATENCY).cycles


@pytest.mark.parametrize("kib", [8, 10, 16])
def test_modules_at_small_memories_compute_what_golden_does(kib):
    check_against_golden(made(kib))


def test_others_have_what_those_beside_them_leave():
    """Layer 1 works during layers 0 to 2, layer 3 during 2 and 3."""
    assert rooms_of([(0, 0), (0, 2), (2, 2), (2, 3), (4, 4)], {1: 30, 3: 50}, 100) == [70, 30, 20, 50, 100]


def chooser(kib, tiling=None):
    """For the modules, through DRAM; ``tiling`` of the array's layers, if not the planner's."""
    p = sized(modules(), kib)
    layers = lower(modules(), 8)

    @cache
    def planned(n, room):
        traffic = Traffic(True, False, True, layers[n].spread.steps)
        return Tilings(layers[n].geometry, p, traffic).best(room)

    def best(n, room):
        return tiling(planned, n, room) if tiling and layers[n].on_array else planned(n, room)

    return RoomChooser(layers, p, best, lambda n, tiling: tiling.space), p.activation_elements


def test_whoever_takes_room_that_the_array_needs_stays_alone():
    needs_all, capacity = chooser(16, lambda planned, n, room: planned(n, room) if room == capacity else None)
    layers = needs_all.layers
    assert needs_all.choose(set()) == Rooms({*own(layers)}, {})
    needs_half, _ = chooser(16, lambda planned, n, room: planned(n, room) if room >= capacity // 2 else None)
    found = needs_half.choose(set())
    assert found.rooms
    assert found.alone | {*found.rooms} == {*own(layers)}
    assert all(room <= capacity // 2 for room in found.rooms.values())


def test_room_is_paid_for_by_what_it_costs_the_array():
    """Tiles that take ten times as long in less than the whole memory cost more than a pooling hides."""
    slow, capacity = chooser(
        16,
        lambda planned, n, room: (
            planned(n, capacity) if room == capacity else replace(planned(n, capacity), array=1e6, cost=1e6)
        ),
    )
    assert not slow.choose(set()).rooms


def test_those_given_as_alone_stay_alone():
    some, _ = chooser(16)
    kept = own(some.layers)[0]
    found = some.choose({kept})
    assert kept in found.alone
    assert found.rooms
    assert kept not in found.rooms


def test_roomy_memories_ask_nobody(monkeypatch):
    monkeypatch.setattr(RoomChooser, "choose", None)
    plan(modules(), sized(modules(), 64))


def test_a_tile_longer_than_the_arrays_step_is_woven_channel_tile_by_channel_tile():
    """Its VECTORs have some of its channel tiles each, with the array's between them."""
    found = made(16)
    every = {n: sum(map(len, channel_tiles(it.geometry, found.parameters))) for n, it in enumerate(found.layers)}
    vectors = [i for i in found.program if i.operation == Operation.VECTOR]
    pieces = [
        k for k, i in enumerate(vectors) if i.layer in own(found.layers) and i.fields["tiles"] + 1 < every[i.layer]
    ]
    between = [k for k in pieces if vectors[k + 2].layer == vectors[k].layer != vectors[k + 1].layer]
    assert len(between) > 10
    assert all(found.layers[vectors[k + 1].layer].on_array for k in between)


@pytest.mark.parametrize("kib", [8, 10, 16])
def test_the_arrays_next_tile_is_loaded_before_what_is_woven_in_between(kib):
    """Whatever a pooling loads during a tile of the array stands behind the load of the array's tile behind that."""
    found, seen = made(kib), 0
    alone = own(found.layers)
    for n, layer in enumerate(found.layers):
        place = found.placements[n]
        reads_alone = any(found.layers[other].output == layer.input for other in alone)
        if n in alone or place.source is not None or place.tiling.bands or reads_alone or len(place.tiling.parts) > 1:
            continue
        loaded = begun = 0
        for i in found.program:
            loaded += i.layer == n and i.operation == Operation.LOAD
            begun += i.layer == n and i.operation == Operation.WEIGHTS
            if i.layer in alone and i.operation == Operation.LOAD and 0 < begun < place.tiling.count:
                seen += 1
                assert loaded > begun, (layer.name, begun)
    assert seen


def test_spans_differ_by_one_at_most():
    assert balanced(13, 4) == ((0, 4), (4, 7), (7, 10), (10, 13))
    assert balanced(6, 1) == ((0, 6),)
    assert balanced(5, 5) == tuple((n, n + 1) for n in range(5))


def pooled(kernel, window, stride, outputs=16, depth=16):
    """A convolution with a max pooling behind it, and another behind that."""
    c = Branches(1, (depth, 33, 33))
    first = c.conv("x", outputs, kernel)
    c.conv(c.max_pool(first, window, stride, 0), 8, 1)
    return c.graph(0)


def small(graph, **more):
    """An accelerator on which tiles are small; it reads maps at any scale."""
    sizes = {"rows": 8, "columns": 8, "bus_bytes": 8, "activation_kib": 8, "accumulator_kib": 2}
    return parameters_for(graph, **{**sizes, **ANY_SCALES, "operands": True, **more})


@pytest.mark.parametrize(
    ("kernel", "window", "stride", "apart"),
    [(3, 3, 2, True), (3, 2, 2, False), (1, 3, 2, False), (3, 4, 1, False)],
    ids=["overlapping", "side by side", "no time for it", "nothing left of the array's time"],
)
def test_poolings_stand_apart_where_the_vector_unit_has_time_and_windows_overlap(kernel, window, stride, apart):
    graph = pooled(kernel, window, stride)
    found = plan(graph, small(graph))
    assert (len(own(found.layers)) == 1) == apart
    assert any(layer.on_array and layer.pool for layer in found.layers) != apart
    check_against_golden(found)


def test_sums_that_are_handed_out_are_pooled_where_they_are():
    graph = pooled(3, 3, 2)
    p = small(graph)
    before, *_ = lower(graph, 8, lambda before, pooled: True)
    fused, *_ = lower(graph, 8)
    assert pools_apart(before, fused, graph, p)
    assert not pools_apart(replace(before, format=None), fused, graph, p)
    assert not pools_apart(before, fused, graph, small(graph, operands=False)), "it reads no maps"
    lowest = replace(p, shift_low=p.shift_high)
    assert not pools_apart(before, fused, graph, lowest), "at no scale of 1"
