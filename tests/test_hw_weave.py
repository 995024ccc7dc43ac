"""Order of layers and of tiles: everything once, after what it reads, in its working window."""

from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.cutting import channel_tiles, source_rows
from systolith.hw.compiler.kernel_steps import kernel
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.order import array_cycles, ordered, vector_cycles
from systolith.hw.compiler.placement import lifetimes
from systolith.hw.compiler.residency import working_windows
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import Operation
from systolith.quant import Graph

from .branches import Branches, branches
from .hw_networks import BRANCHED, branched, channels_read, elements, planned

pytestmark = pytest.mark.xdist_group("weave")  # on one worker, which plans the branches once
SEEDS = range(500, 530)
WIDE = Parameters(rows=8, columns=8, operands=True, tables=True, normalization=4)


def check_topological(layers):
    """Whoever reads channels of a map comes behind all that write some of them."""
    written = {}
    for n, layer in enumerate(layers):
        written.setdefault(layer.output, []).append(n)
    for n, layer in enumerate(layers):
        assert max(written.get(layer.operand, [-1])) < n, layer.name
        depth, read = layer.source[0], channels_read(layer)
        for maker in written.get(layer.input, []):
            channels = (layers[maker].spread.first + np.arange(layers[maker].target[0])) % depth
            assert maker < n or not np.isin(channels, np.arange(depth)[read]).any(), layer.name


@pytest.mark.parametrize("seed", range(40))
def test_order_is_a_permutation_behind_what_is_read(seed):
    layers = lower(branches(seed, 12, normalization=4), 8)
    found = ordered(layers, WIDE)
    assert Counter(map(id, found)) == Counter(map(id, layers))
    check_topological(found)


def test_of_branches_the_shortest_comes_first_and_pools_as_soon_as_they_can():
    c = Branches(0, (8, 12, 12))
    pooled = c.max_pool("x", 3, 1, 1)
    branches = c.conv("x", 40, 3), c.conv("x", 8, 1), c.conv("x", 24, 3), c.conv(pooled, 8, 1)
    c.concat(*branches)
    layers = ordered(lower(c.graph(0), 8), WIDE)
    assert layers[0].input == "x"
    assert not layers[0].on_array
    sizes = [layer.target[0] for layer in layers if layer.on_array and layer.input == "x"]
    assert sizes == [8, 24, 40]
    times = [array_cycles(layer, WIDE) for layer in layers if layer.on_array and layer.input == "x"]
    assert times == sorted(times)


def test_a_layer_that_is_not_ready_waits_for_those_that_are():
    """The array does not idle for the vector unit while another branch is there."""
    c = Branches(0, (8, 12, 12))
    slow = c.average("x", (3, 2), 1, 0, False)
    behind = c.conv(slow, 4, 1)
    other = c.conv(c.conv("x", 9, 3), 9, 3)
    c.conv(behind, 3, 1)
    c.conv(other, 3, 1)
    layers = ordered(lower(c.graph(0), 8), WIDE)
    names = [layer.name for layer in layers]
    assert vector_cycles(layers[0], WIDE) > 0
    assert names[0] == "l0"
    assert names.index("l2") < names.index("l1"), "it starts while the average is in work"


def emitted(made):
    """(layer, instruction number) of every VECTOR, in order."""
    return [(i.layer, n) for n, i in enumerate(made.program) if i.operation == Operation.VECTOR]


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_every_tile_of_every_layer_is_emitted_once(hardware):
    for _, made in branched(hardware, SEEDS):
        check_topological(made.layers)
        assert {d.layer for d in made.drained} == {*range(len(made.layers))}
        covered = {name: np.zeros(made.graph.tensors[name].shape, int) for name in {x.output for x in made.layers}}
        pieces = Counter()
        for d in made.drained:
            layer = made.layers[d.layer]
            covered[layer.output].reshape(-1)[elements(layer, d)] += 1
            pieces[d.layer] += 1
        assert all((count == 1).all() for count in covered.values())
        # as many channel tiles as instructions say, and as many sums as the array makes
        counted, summed = Counter(), Counter()
        for i in made.program:
            if i.operation == Operation.VECTOR:
                counted[i.layer] += i.fields["tiles"] + 1
            elif i.operation == Operation.ARRAY:
                summed[i.layer] += i.fields["last"] * (i.fields["tiles"] + 1)
        assert counted == pieces
        for n, layer in enumerate(made.layers):
            tiles, channels = (
                made.placements[n].tiling.tiles,
                sum(map(len, channel_tiles(layer.geometry, made.parameters))),
            )
            assert summed[n] == (len(tiles) * channels if layer.on_array else 0)
            if layer.on_array or layer.pool is None or layer.pool.average is None:
                assert pieces[n] == len(tiles) * channels


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_woven_tiles_never_leave_their_working_window(hardware):
    """The array's layers are at work one after the other; whatever else is emitted belongs to its window."""
    woven = 0
    for _, made in branched(hardware, SEEDS):
        on_array = [n for n, layer in enumerate(made.layers) if layer.on_array]
        work = [n for i in made.program if (n := i.layer) in on_array]
        assert work == sorted(work)
        now, before = 0, None
        for i in made.program:
            if i.layer < 0:
                continue
            start, end = made.layout.windows[i.layer]
            if i.layer in on_array:
                now = i.layer
                assert (start, end) == (now, now)
                woven += before is not None and before not in on_array and now in (work[0], before)
            else:
                # between the array's layer in work and the one that comes next
                following = min((n for n in on_array if n > now), default=len(made.layers))
                assert start < following, (i, made.layout.windows[i.layer])
                assert end >= now
            before = i.layer


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_rows_are_there_before_anybody_reads_them(hardware):
    """Of every map: whoever reads rows comes behind the tiles that make them, in the program's order."""
    for graph, made in branched(hardware, SEEDS):
        done = defaultdict(lambda: None)
        shapes = {name: tensor.shape for name, tensor in made.graph.tensors.items()}
        results = iter(made.drained)
        for i in made.program:
            layer = made.layers[i.layer] if i.layer >= 0 else None
            read = channels_read(layer) if layer else slice(0)
            if i.operation == Operation.VECTOR:
                tiles = [next(results) for _ in range(i.fields["tiles"] + 1)]
                rows = tiles[0].rows[0] + tiles[0].rows[1]
                if not layer.on_array:
                    low, high = tiles[0].rows[0], rows
                    pool = layer.pool
                    last = high
                    if pool is not None:
                        last = min(layer.source[1], (high - 1) * pool.strides[0] - pool.pads[0] + pool.kernel[0])
                    assert layer.input == graph.input or (done[layer.input][:last, :, read] > 0).all(), (
                        layer.name,
                        low,
                    )
                if layer.operand and layer.operand != graph.input:
                    assert (done[layer.operand][:rows] > 0).all(), layer.name
                for d in tiles:
                    if done[layer.output] is None:
                        channels, height, width = shapes[layer.output]
                        done[layer.output] = np.zeros((height, width, channels), int)
                    done[layer.output].reshape(-1)[elements(layer, d)] += 1
            elif i.operation == Operation.ARRAY and layer.input != graph.input:
                place = made.placements[i.layer]
                line = i.fields["line"]
                reach = line + i.fields["rows"] * i.fields["line_step"]
                reach += i.fields["kernel_rows"] * i.fields["kernel_line_step"]
                flat = layer.source[1] == 1 and shapes[layer.input][1] > 1
                last = shapes[layer.input][1] if flat else min(layer.source[1], reach + 1)
                read = slice(None) if flat else read
                assert (done[layer.input][: max(last, 0), :, read] > 0).all(), layer.name
                assert all(
                    source_rows(layer.geometry, kernel(layer.geometry, made.parameters), t, q)[1] <= layer.source[1]
                    for t in place.tiling.tiles
                    for q in place.tiling.parts
                )


def test_a_working_window_lasts_from_the_last_maker_to_the_first_reader():
    c = Branches(0, (8, 6, 6))
    first, second = c.conv("x", 8, 1), c.conv("x", 8, 3)
    total = c.sum(first, second)  # both have other readers, so it is the vector unit's own
    readers = [c.conv(total, 8, 1), c.conv(total, 8, 3), c.conv(first, 8, 1), c.conv(second, 8, 3)]
    pooled = c.max_pool(total, 2, 1, 0)
    c.tensors = dict(c.tensors)
    layers = {layer.name: layer for layer in lower(Graph(("x",), (pooled,), tuple(c.layers), c.tensors), 8)}
    assert not layers["l2"].on_array
    order = [layers[name] for name in ("l0", "l1", "l5", "l2", "l6", "l3", "l4", "l7")]
    assert [layer.output for layer in order[5:7]] == readers[:2]
    windows = working_windows(order, set())
    assert windows == [(0, 0), (1, 1), (2, 2), (1, 5), (4, 4), (5, 5), (6, 6), (1, 7)]
    assert working_windows(order, {3})[3] == (3, 3), "on its own"
    lives = lifetimes(order, windows)
    assert lives["x"] == (0, 1)
    assert (lives[first], lives[second], lives[total]) == ((0, 5), (1, 5), (1, 7))


def test_the_vector_units_own_tiles_go_between_the_arrays_channel_tiles():
    """Where the array leaves the vector unit time, a branch's pooling is done when the other branch is."""
    c = Branches(2, (32, 28, 28))
    pooled = c.max_pool("x", 3, 1, 1)
    long = c.conv("x", 40, 5)
    c.concat(c.conv(pooled, 16, 1), long)
    made = planned(c.graph(0), rows=8, columns=8, bus_bytes=8)
    numbers = {layer.name.split("+")[0]: n for n, layer in enumerate(made.layers)}
    first, last = {}, {}
    for n, i in enumerate(made.program):
        if i.operation == Operation.VECTOR:
            first.setdefault(i.layer, n)
            last[i.layer] = n
    pool, conv, behind = numbers["l0"], numbers["l1"], numbers["l2"]
    assert first[conv] < first[pool] < last[pool] < last[conv] < first[behind]
    # while it is waiting the array's channel tiles come one by one, then as many as there are
    grouped = [
        (n, i.fields["tiles"]) for n, i in enumerate(made.program) if (i.operation, i.layer) == (Operation.VECTOR, conv)
    ]
    assert all(tiles == 0 for n, tiles in grouped if n < last[pool])
    assert grouped[-1][1] == 4
    between = [sum(a < n < b for n, _ in grouped) for a, b in pairwise(tiles_of(made, pool))]
    assert all(1 <= count <= 3 for count in between), "spread out among them"


def tiles_of(made, number):
    return [n for n, i in enumerate(made.program) if i.operation == Operation.VECTOR and i.layer == number]


def test_settings_are_sent_when_they_change_and_only_then():
    for _, made in branched(BRANCHED["8x8, all fits"], SEEDS):
        before = None
        for i in made.program:
            if i.operation == Operation.SETUP:
                fields = {n: int(v) for n, v in i.fields.items() if n not in ("load_tables", "tables")}
                assert fields != before or i.fields.get("load_tables"), "twice the same"
                before = fields


def test_tables_are_loaded_into_the_lanes_before_each_layer_that_uses_them():
    for _, made in branched(BRANCHED["4x4, all cut"], SEEDS):
        held, asked = None, Counter()
        for i in made.program:
            layer = made.layers[i.layer] if i.layer >= 0 else None
            if i.operation == Operation.SETUP and i.fields.get("load_tables"):
                held = i.layer
            elif i.operation == Operation.VECTOR and layer.tables is not None:
                assert held == i.layer
            elif i.operation == Operation.LOAD and made.placements[i.layer].tables == i.fields["chip"]:
                asked[i.layer] += i.chip_writes[1] - i.chip_writes[0] == 2048
        assert {*asked.values()} <= {1}, "from DRAM they come once"
        assert {*asked} >= {n for n, layer in enumerate(made.layers) if layer.tables is not None}
    assert parameters_for(branches(3, 6), rows=4, columns=4).tables
