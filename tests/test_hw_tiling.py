"""Tiles cover every layer exactly once, fit their memories, and do not overlap in them."""

import re
from dataclasses import replace
from itertools import islice, pairwise
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings

from systolith.hw.build import parameters_for
from systolith.hw.compiler.cost import (
    ARRAY_GAP,
    DRAIN_GAP,
    SHARED,
    SPAN_READ,
    SPAN_WRITTEN,
    TYPICAL_LATENCY,
    Traffic,
    interval,
    pixel_pitch,
    row_pitch,
)
from systolith.hw.compiler.cutting import (
    channel_tiles,
    inputs_of,
    partitions,
    run_length,
    slices,
    slicings,
    source_columns,
    source_elements,
    source_rows,
    spatial_tile,
    tiles_of,
)
from systolith.hw.compiler.kernel_steps import kernel
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.span import size
from systolith.hw.compiler.tiling import PIECE, Tilings
from systolith.hw.compiler.windows import lifetimes
from systolith.hw.isa.parameters import BURST_BEATS, INSTRUCTION_BYTES, Parameters
from systolith.hw.isa.program import QUEUE, Operation
from systolith.quant import (
    ConfigurationError,
    Graph,
    MaxPool,
    check,
)

from .branches import Branches, branches
from .graphs import conv_graph, pool_graph
from .hw_networks import BRANCHED, NAMES, branched, check_against_golden, network, planned
from .test_hw_plan import chains, sizes


def cover(shape, ranges):
    """How often each element of ``shape`` is in one of ``ranges`` (a range for each axis)."""
    count = np.zeros(shape, int)
    for spans in ranges:
        count[tuple(slice(*span) for span in spans)] += 1
    return count


EVERYTHING = [Traffic(load, operand, store, (40 * 30, 40)) for load in (0, 1) for operand in (0, 1) for store in (0, 1)]


def pieces(g, tiling):
    """Tiles that are loaded as one: those of the same rows may share theirs."""
    tiles = tiles_of(g, *tiling.shape)
    if not tiling.bands:
        return tiles
    return [spatial_tile(g, tile.rows, (0, g.target[2])) for tile in tiles if not tile.columns[0]]


def check_tiling(layer, p, tiling, traffic):
    """Its tiles, their number, and slots that hold each tile's piece of what passes through DRAM."""
    g = layer.geometry.taken if traffic.load else layer.geometry
    tiles = tiles_of(g, *tiling.shape)
    assert len(tiles) == tiling.count
    assert (cover(layer.target[1:], [(t.rows, t.columns) for t in tiles]) == 1).all()
    assert max(size(t.rows) for t in tiles) <= tiling.shape[0]
    assert max(size(t.columns) for t in tiles) <= tiling.shape[1]
    if layer.on_array:
        assert max(t.positions for t in tiles) <= p.accumulator_depth
    each = p.sum_elements if layer.raw else 1
    rows = [(t, size(t.rows)) for t in tiles]
    every = slices(g, p, tiling.sliced)
    assert len(every) == tiling.slices
    depth = max(size(part.outputs) for part in every)
    written = [
        (r - 1) * row_pitch(g, size(t.columns), p, traffic.steps, depth)
        + (size(t.columns) - 1) * pixel_pitch(g, p, traffic.steps, depth)
        + depth * each
        for t, r in rows
    ]
    assert tiling.output_slot % p.bus_elements == tiling.operand_slot % p.bus_elements == 0
    if traffic.store:
        assert tiling.output_slot >= max(written) + p.bus_elements - 1
    else:
        assert tiling.output_slot == 0
    added = max(r * size(t.columns) * depth for t, r in rows)
    assert (added <= tiling.operand_slot < added + p.bus_elements) if traffic.operand else tiling.operand_slot == 0
    series = channel_tiles(g, p)
    channels = inputs_of(series) if layer.on_array else (0, 0)
    k = kernel(g, p)
    loaded = [
        size(source_rows(g, k, t, part)) * size(source_elements(g, k, t, part, channels))
        for t in pieces(g, tiling)
        for part in tiling.parts
    ]
    assert tiling.bands in (0, len(loaded))
    apart = tiling.slices if g.groups > 1 else 1
    assert tiling.input_slices == apart
    if apart > 1:
        inputs = max(size(part.inputs) for part in every)
        loaded = [
            size(source_rows(g, k, t, q)) * size(source_columns(g, k, t, q)) * inputs
            for t in tiles
            for q in tiling.parts
        ]
    assert tiling.input_slot == (max(loaded) if traffic.load else 0)
    double = 2 if tiling.count * tiling.slices > 1 else 1
    loads = min(2, len(loaded) * apart) if traffic.load else 0
    assert tiling.space == loads * tiling.input_slot + double * (tiling.operand_slot + tiling.output_slot)
    assert (tiling.loads, tiling.others) == (loads, double)


def check_cover(layer, p):
    """Parts, channel tiles and spatial tiles each cover the layer once."""
    g = layer.geometry
    if layer.on_array:
        k, run = kernel(g, p), run_length(g, p)
        for partition in partitions(g, p):
            spans = [(part.kernel_rows, part.kernel_columns, part.run) for part in partition.parts]
            assert len(spans) == len(partition)
            assert (cover((k.rows.count, k.columns.count, run), spans) == 1).all()
    series = channel_tiles(g, p)
    tiles = [tile for group in series for tile in group]
    assert (cover((layer.target[0],), [((t.output, t.output + t.channels),) for t in tiles]) == 1).all()
    assert all(1 <= t.channels <= p.columns for t in tiles)
    assert tiles == sorted(tiles, key=lambda t: t.output)
    for group in series:  # what one instruction steps through
        for channel in ("output", "input"):
            assert len({getattr(b, channel) - getattr(a, channel) for a, b in pairwise(group)}) <= 1
        assert all(t.channels == group[0].channels for t in group[:-1])
    for sliced in slicings(g, p):
        every = slices(g, p, sliced)
        assert [tile for part in every for group in part.series for tile in group] == tiles
        assert (cover((layer.target[0],), [(part.outputs,) for part in every]) == 1).all()
        for part in every:
            assert all(part.outputs[0] <= t.output and t.output + t.channels <= part.outputs[1] for t in part.series[0])
            reads = run_length(g, p) if layer.on_array else 0
            needed = [(max(t.input, 0), min(t.input + reads, g.source[0])) for group in part.series for t in group]
            assert all(part.inputs[0] <= low and high <= part.inputs[1] for low, high in needed)
            if sliced and g.groups > 1:
                assert part.inputs == (needed[0][0], needed[-1][1]), "and no more"
    if layer.normalization is not None:
        before = (layer.normalization.size - 1) // 2
        after = layer.normalization.size - 1 - before
        for t in tiles:  # neighbours on both sides are among the C channels that are read
            assert t.input == t.output - before
            assert t.output + t.channels + after <= t.input + p.columns


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_tiles_parts_and_channels_cover_once(graph, chosen):
    p = Parameters(**{k: v for k, v in chosen.items() if k != "activation_kib"}, sum_bits=32)
    for layer in lower(graph, p.activation_bits):
        check_cover(layer, p)
        for traffic in EVERYTHING:
            for tiling in islice(Tilings(layer.geometry, p, traffic).fitting(1 << 20), 8):
                check_tiling(layer, p, tiling, traffic)


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_tiles_of_branches_cover_once(hardware):
    for _, made in branched(hardware, range(200, 215)):
        for layer, place in zip(made.layers, made.placements, strict=True):
            check_cover(layer, made.parameters)
            assert list(place.tiling.tiles) == tiles_of(layer.geometry, *place.tiling.shape)
            for traffic in EVERYTHING:
                for tiling in islice(Tilings(layer.geometry, made.parameters, traffic).fitting(1 << 20), 4):
                    check_tiling(layer, made.parameters, tiling, traffic)


@pytest.mark.parametrize("name", ["same_relu", "tiny", "conv_pool_overlap", "groups2"])
@pytest.mark.parametrize("space", [300, 700, 1500, 1 << 20])
def test_the_best_tiling_fits_and_is_the_smallest_of_those_that_are_near_the_cheapest(name, space):
    p = Parameters(rows=4, columns=4, sum_bits=32, accumulator_kib=1)
    for layer in lower(network(name), 8):
        for slack in (1.0, 1.02, 1.5):
            traffic = Traffic(True, False, True, layer.spread.steps)
            tilings = Tilings(layer.geometry, p, traffic)
            found = list(tilings.fitting(space))
            best = tilings.best(space, slack)
            if not found:
                assert best is None
                continue
            limit = min(t.cost for t in found) * slack
            assert best.cost <= limit
            assert best.space == min(t.space for t in found if t.cost <= limit) <= space
            assert best in found
            near = [t for t in found if t.cost <= limit]
            whole = tilings.best(space, slack, whole=True)
            assert whole in near
            assert (whole.slices, whole.space) == min((t.slices, t.space) for t in near)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_measured_for_one_room_serves_all(name):
    """Layers of one geometry share their tilings, whatever room was asked for before."""
    p = Parameters(rows=4, columns=4, sum_bits=32, accumulator_kib=1, operands=True)
    spaces = [64, 1 << 20, 300, 2000, 700]
    for layer in lower(network(name), 8):
        for traffic in EVERYTHING:
            shared = Tilings(layer.geometry, p, traffic)
            for space in spaces:
                fresh = Tilings(layer.geometry, p, traffic)
                assert shared.best(space) == fresh.best(space)
                assert list(shared.fitting(space)) == list(fresh.fitting(space))


def span_beats(p, elements, step):
    """Beats of a span, on average over where the spans begin in one."""
    starts = {n * step % p.bus_elements for n in range(p.bus_elements)} | {elements % p.bus_elements}
    return elements / p.bus_elements if starts == {0} else (elements - 1) / p.bus_elements + 1


def beyond_queue(instructions):
    return max(0.0, 1 - QUEUE / instructions) if instructions else 0.0


def cycles_of(g, p, tiling, traffic):
    """A tiling's estimated cycles, tile by tile: what each unit is busy with."""
    g = g.taken if traffic.load else g
    k, series, every = kernel(g, p), channel_tiles(g, p), slices(g, p, tiling.sliced)
    count, tiles, parts = sum(map(len, series)), tiles_of(g, *tiling.shape), tiling.parts
    channels = inputs_of(series) if g.on_array else (0, 0)
    repeats = count if len(parts) > 1 else 1
    arrays = max(repeats * len(parts), len(every))
    steps = sum(part.passes(p) for part in parts) if g.on_array else 0
    weights = count * (steps * p.rows + p.parameter_rows) * p.weight_row_bits / 8 if g.on_array else 0
    own_loads, each = len(every) > 1 and g.groups > 1, p.sum_elements if g.raw else 1
    narrow = min(size(t.columns) for t in tiles) < g.target[2]
    across = max(size(source_columns(g, k, t, parts[0])) for t in tiles)
    fewest = min(across, max(size(source_rows(g, k, t, parts[0])) for t in tiles))
    apart = len(every) > 1 or g.target[0] != traffic.steps[1]
    gaps = narrow or traffic.steps[0] > g.target[2] * traffic.steps[1]

    def beats(tile, part):
        if own_loads:
            pixels = size(source_rows(g, k, tile, part)) * size(source_columns(g, k, tile, part))
            return [pixels * max(SPAN_READ, span_beats(p, size(of.inputs), g.source[0])) for of in every]
        row = size(source_elements(g, k, tile, part, channels)) / p.bus_elements + 1
        if g.skips:
            row = size(source_columns(g, k, tile, part)) * max(SPAN_READ, span_beats(p, size(part.run), g.source[0]))
        return [size(source_rows(g, k, tile, part)) * row]

    array = drain = loader = sliced_loads = storer = 0.0
    loads = stores = others = 0
    for tile in tiles:
        vectors = size(tile.rows) * size(tile.columns)
        if g.on_array:
            windows = max(k.pass_windows(tile.convolved), p.pass_cycles)
            array += count * steps * windows + arrays * ARRAY_GAP
        drain += count * (vectors * interval(g, p) + p.parameter_rows + DRAIN_GAP)
        if traffic.operand and len(every) > 1:
            loader += sum(vectors * max(SPAN_READ, span_beats(p, size(of.outputs), g.target[0])) for of in every)
            others += len(every) * (min(tiling.shape) if narrow else 1)
        elif traffic.operand:
            loader += vectors * g.target[0] / p.bus_elements
            others += 1
        if traffic.store:
            for of in every:
                elements = size(of.outputs) * each
                instructions = min(tiling.shape) if apart and gaps else 1
                stores += instructions
                spans = vectors if apart else size(tile.rows) if gaps else 1
                long = span_beats(p, elements, traffic.steps[1] * each) if apart else elements / p.bus_elements
                storer += vectors * long + spans * SPAN_WRITTEN + instructions * TYPICAL_LATENCY
        others += 1 + len(every) + arrays
        each_time = fewest if g.skips or (own_loads and narrow) else 1
        loads += traffic.load * each_time * (len(every) if own_loads else repeats * len(parts))
    loaded = pieces(g, tiling)
    if traffic.load:
        sliced_loads = sum(sum(beats(tile, part)) for tile in loaded for part in parts)
        loader += repeats * sliced_loads
    bus = (len(tiles) * weights + (loads + stores + others) * INSTRUCTION_BYTES) / p.bus_bytes + loader
    if traffic.begins and traffic.load and not own_loads and len(loaded) * len(parts) > 2:
        bus += p.weight_fifo_beats
    passing = array
    array += sliced_loads * beyond_queue(loads / len(tiles) / arrays)
    array += storer * beyond_queue(stores / len(tiles) / arrays)
    share = size(tiles[-1].rows) * size(tiles[-1].columns) / (g.target[1] * g.target[2])
    last = drain / len(tiles) / count + traffic.trailing * size(tiles[-1].rows) / g.target[1]
    last += storer * share / len(every)
    first = beats(loaded[0], parts[0])[0] if traffic.load else 0.0
    if traffic.begins and traffic.load and not own_loads:
        rows, elements = (
            size(source_rows(g, k, loaded[0], parts[0])),
            size(source_elements(g, k, loaded[0], parts[0], channels)),
        )
        bursts = (elements / p.bus_elements + 1) / BURST_BEATS
        spans = rows * (bursts if elements == g.source[0] * g.source[2] else ceil(bursts))
        first += min(BURST_BEATS * ceil(spans), p.weight_fifo_beats, weights / p.bus_bytes)
    writes = loader + g.target[1] * g.target[2] * count
    halves = (passing + drain + len(tiles) * count * (p.rows + p.columns + 9)) / 2 if g.on_array else 0.0
    return max(array, drain, bus, storer, writes, halves) + SHARED * (drain + bus) + first + last


@pytest.mark.parametrize("name", NAMES)
def test_costs_are_those_of_all_tiles(name):
    p = Parameters(rows=4, columns=5, sum_bits=32, bus_bytes=4, accumulator_kib=1, operands=True)
    for layer in lower(network(name), 8):
        for traffic in EVERYTHING:
            traffic = replace(traffic, trailing=77.0, begins=layer.on_array)
            for space in (500, 1 << 20):
                for tiling in islice(Tilings(layer.geometry, p, traffic).fitting(space), 40):
                    assert tiling.cost == pytest.approx(cycles_of(layer.geometry, p, tiling, traffic), rel=1e-9)


def test_a_tile_of_the_vector_unit_alone_is_short_where_it_can_be():
    """So that the array, two channel tiles ahead, need not wait for it."""
    graph = pool_graph((24, 60, 50), (3, 3), (1, 1), (1, 1, 1, 1))
    (layer,) = lower(graph, 8)
    for columns, width in ((2, 17), (4, 25), (8, 50), (16, 50)):
        p = Parameters(rows=4, columns=columns, sum_bits=32, operands=True)
        best = Tilings(layer.geometry, p, Traffic(True, False, True, layer.spread.steps)).best(p.activation_elements)
        assert best.shape[1] == width, "as wide as can be"
        row = width * -(-24 // columns) * interval(layer.geometry, p)
        assert best.shape[0] * row <= PIECE < (best.shape[0] + 1) * row, "and not a row longer"
        narrow = Tilings(layer.geometry, p, Traffic(True, False, True, layer.spread.steps)).best(best.space - 1)
        assert narrow.space < best.space, "a smaller one where that one has no room"


@pytest.mark.parametrize("bus_bytes", [4, 8, 16])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("bits", [8, 12])
def test_pixels_and_rows_start_in_a_slot_where_they_do_in_memory_within_a_beat(bus_bytes, raw, bits):
    p = Parameters(rows=4, columns=4, bus_bytes=bus_bytes, activation_bits=bits)
    graph = conv_graph((4, 9, 11), np.ones((5, 4, 1, 1)), target=None if raw else (0, 255, 128))
    (layer,) = lower(graph, bits)
    each = p.sum_elements if raw else 1
    for whole in (5, 6, 13, 32):
        for rows, columns in ((1, 11), (3, 4), (9, 1)):
            for tile in tiles_of(layer.geometry, rows, columns):
                steps = 11 * whole, whole
                near = pixel_pitch(layer.geometry, p, steps, 5)
                assert near >= 5 * each
                assert (near - whole * each) % p.bus_elements == 0
                assert near == 5 * each or whole != 5
                pitch = row_pitch(layer.geometry, size(tile.columns), p, steps, 5)
                assert pitch >= size(tile.columns) * near
                assert (pitch - 11 * whole * each) % p.bus_elements == 0
                assert pitch < size(tile.columns) * near + p.bus_elements


def meet(a, b):
    return max(a[0], b[0]) <= min(a[1], b[1])


def table_bytes(made, n):
    """Of layer ``n``'s tables; or nine vectors for each channel tile that it scales, whole beats."""
    p, layer = made.parameters, made.layers[n]
    if layer.tables is not None:
        return 2048
    vectors = 9 * p.columns * -(-layer.target[0] // p.columns)
    return vectors + -vectors % p.bus_bytes


def regions_of(made):
    """(owner, kind, first and last element + 1, first and last layer at work) of all that lies in activation memory."""
    windows = made.layout.windows
    for name, address in made.layout.resident.items():
        users = [n for n, layer in enumerate(made.layers) if name in (*layer.inputs, layer.output)]
        life = min(windows[n][0] for n in users), max(windows[n][1] for n in users)
        yield name, "map", (address, address + int(np.prod(made.graph.tensors[name].shape))), life
    for n, place in enumerate(made.placements):
        tiling = place.tiling
        for kind, slots, length in (
            ("input", place.input_slots, tiling.input_slot),
            ("operand", place.operand_slots, tiling.operand_slot),
            ("output", place.output_slots, tiling.output_slot),
            ("tables", [] if place.tables is None else [place.tables], table_bytes(made, n)),
        ):
            for start in slots:
                yield n, kind, (start, start + length), windows[n]


def check_layout(made):
    p, graph = made.parameters, made.graph
    regions = list(regions_of(made))
    for n, (owner, kind, span, life) in enumerate(regions):
        assert 0 <= span[0] < span[1] <= p.activation_elements, (owner, kind)
        for other in regions[:n]:
            apart = span[1] <= other[2][0] or other[2][1] <= span[0]
            assert apart or not meet(life, other[3]), ((owner, kind, span, life), other)
    for number, (layer, place) in enumerate(zip(made.layers, made.placements, strict=True)):
        resident = made.layout.resident
        assert (place.source, place.output) == (resident.get(layer.input), resident.get(layer.output))
        assert place.operand == (resident.get(layer.operand) if layer.operand else None)
        assert bool(place.input_slots) == (place.source is None and not made.layout.takes(number))
        assert bool(place.output_slots) == (place.output is None)
        assert bool(place.operand_slots) == (bool(layer.operand) and place.operand is None)
        assert (place.tables is None) == (layer.tables is None and not layer.affine)
        # it touches nothing but its own
        mine = {"tables": [], "input": [], "operand": [], "output": []}
        for owner, kind, span, _ in regions:
            if owner == number:
                mine[kind].append(span)
            if owner == number - 1 and kind == "output" and made.layout.takes(number):
                mine["input"].append(span)
            for name, role in ((layer.input, "input"), (layer.operand, "operand"), (layer.output, "output")):
                if owner == name and kind == "map":
                    mine[role].append(span)
        for i in (i for i in made.program if i.layer == number):
            reads = {"ARRAY": ["input"], "VECTOR": ["input", "operand"], "SETUP": ["tables"], "STORE": ["output"]}
            reads["VECTOR"] += ["tables"] * layer.affine
            writes = {"LOAD": ["tables", "input", "operand"], "VECTOR": ["output"]}
            for touched, kinds in (
                *((span, reads.get(i.operation.name, [])) for span in i.chip_reads),
                (i.chip_writes, writes.get(i.operation.name, [])),
            ):
                if touched[0] < touched[1]:
                    holders = [s for kind in kinds for s in mine[kind] if s[0] <= touched[0] and touched[1] <= s[1]]
                    assert holders, (layer.name, i.operation, touched)
    for region, following in pairwise(sorted(made.regions.values(), key=lambda r: r.address)):
        assert region.address % 4096 == 0
        assert region.address + region.bytes <= following.address or not region.bytes
    # maps in DRAM: input and output on their own, the others apart while they live
    lives, scratch = lifetimes(made.layers, made.layout.windows), made.regions["scratch"]
    passing = [(name, r) for name, r in made.dram.maps.items() if name not in (graph.input, graph.output)]
    handed = {layer.output for layer, place in zip(made.layers, made.placements, strict=True) if place.hands_on}
    assert {*lives} == {*made.dram.maps} | {*made.layout.resident} | handed
    assert not handed & ({*made.dram.maps} | {*made.layout.resident})
    assert not {*made.dram.maps} & {*made.layout.resident}
    for n, (name, r) in enumerate(passing):
        assert scratch.address <= r.address
        assert r.address + r.bytes <= scratch.address + scratch.bytes
        for other, o in passing[:n]:
            apart = r.address + r.bytes <= o.address or o.address + o.bytes <= r.address
            assert apart or not meet(lives[name], lives[other]), (name, other)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_slots_and_resident_maps_do_not_overlap(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError:
        return
    check_layout(made)


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_what_lives_at_once_does_not_overlap_in_branches(hardware):
    resident = passing = 0
    for _, made in branched(hardware, range(40)):
        check_layout(made)
        resident += len(made.layout.resident)
        passing += len(made.dram.maps) - 2
    assert resident
    assert passing or hardware.get("activation_kib", 64) > 32


@pytest.mark.parametrize(("name", "kib"), [*((n, k) for n in NAMES for k in range(1, 6)), ("cifar", 3), ("cifar", 5)])
def test_layouts_of_the_test_networks(name, kib):
    graph = network(name)
    chosen = {"rows": 5, "columns": 3, "bus_bytes": 16, "activation_kib": kib, "accumulator_kib": 1}
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError as error:
        enough = int(re.search(r"(\d+) KiB would do", str(error)).group(1))
        made = plan(graph, parameters_for(graph, **{**chosen, "activation_kib": enough}))
    check_layout(made)


@pytest.mark.parametrize("kib", [1, 2, 3])
def test_the_size_that_a_refusal_names_does(kib):
    refused = 0
    for seed in range(30):
        graph = branches(seed, 6)
        chosen = {"rows": 4, "columns": 4, "bus_bytes": 4, "accumulator_kib": 1, "activation_kib": kib}
        layers = set()
        for _ in range(6):  # a layer for each refusal
            try:
                check_layout(plan(graph, parameters_for(graph, **chosen)))
                break
            except ConfigurationError as error:
                refused += 1
                layer, enough = re.search(r"^layer '(.*)': .* (\d+) KiB would do", str(error)).groups()
                enough = int(enough)
                assert enough > chosen["activation_kib"], error  # noqa: PT017
                assert layer not in layers, error  # noqa: PT017
                layers.add(layer)
                chosen["activation_kib"] = enough
        else:
            raise AssertionError(f"seed {seed}: {chosen} should do")
    assert refused or kib > 2


def test_slots_alternate():
    """So that the next tile loads while this one is in use, and the last one leaves meanwhile."""
    chosen = {"rows": 4, "columns": 4, "activation_kib": 1, "accumulator_kib": 1}
    graph = network("same_relu")
    made = plan(graph, parameters_for(graph, **chosen))
    (place,) = made.placements
    for operation, slots, slot in (
        (Operation.LOAD, place.input_slots, place.tiling.input_slot),
        (Operation.STORE, place.output_slots, place.tiling.output_slot),
    ):
        assert [b - a for a, b in pairwise(slots)] == [slot]
        used = [(i.fields["chip"] - slots[0]) // slot for i in made.program if i.operation == operation]
        assert len(used) > 2
        assert used == [n % 2 for n in range(len(used))]


def test_slots_of_what_is_added_alternate():
    chain = Branches(0, (4, 14, 12))
    chain.sum(chain.conv("x", 4, 3), "x")
    made = planned(chain.graph(0), rows=4, columns=4, activation_kib=4, accumulator_kib=1)
    place = made.placements[0]
    assert place.tiling.count > 2
    operands = [i.fields["chip"] for i in made.program if i.operation == Operation.LOAD and i.layer == 0]
    operands = [chip for chip in operands if chip in place.operand_slots]
    assert operands == [place.operand_slots[n % 2] for n in range(place.tiling.count)]


def test_a_layer_that_does_not_fit_names_the_memory_and_the_size_that_does():
    # the 1500 channels of one window must lie in one slot, and those of its result in another
    graph = pool_graph((1500, 2, 2), (2, 2), (1, 1), (0, 0, 0, 0))
    chosen = {"rows": 4, "columns": 4, "activation_kib": 1}
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, parameters_for(graph, **chosen))
    assert str(caught.value) == "layer 'pool': no tile of it fits the activation memory of 1 KiB; 8 KiB would do"
    check_against_golden(plan(graph, parameters_for(graph, **{**chosen, "activation_kib": 8})))
    # of a convolution the results of each channel tile can leave alone
    graph = conv_graph((4, 1, 1), np.ones((1500, 4, 1, 1)))
    check_against_golden(plan(graph, parameters_for(graph, **chosen)))


def test_a_pooling_window_that_does_not_fit_names_the_accumulators():
    graph = conv_graph((3, 20, 20), np.ones((5, 3, 1, 1)))
    pool = MaxPool("pool", "y", "z", (18, 18))
    after = replace(graph.map_of("y"), name="z", shape=(5, 3, 3))
    graph = check(Graph(("x",), ("z",), (*graph.layers, pool), {**graph.tensors, "z": after}))
    chosen = {"rows": 4, "columns": 8, "accumulator_kib": 8}
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, parameters_for(graph, **chosen))
    needed = ceil(18 * 18 * 8 * 8 / 1024)
    assert str(caught.value) == (
        "layer 'conv+pool': one pooling window needs 324 accumulators a column, the accumulator memory of 8 KiB holds "
        f"128; {needed} KiB would do"
    )
    check_against_golden(plan(graph, parameters_for(graph, **{**chosen, "accumulator_kib": needed})))


LIMITS = {
    "kernel rows of 257; the engine counts to 256": ((1, 300, 1), (257, 1), {}),
    "kernel columns of 257; the engine counts to 256": ((1, 1, 300), (1, 257), {}),
    "row stride of 256; the engine counts to 255": ((1, 300, 2), (2, 2), {"strides": (256, 1)}),
    "row dilation of 256; the engine counts to 255": ((1, 300, 2), (2, 2), {"dilations": (256, 1)}),
    "values in a column stride of 4194304; the engine counts to 4194303": (
        (1, 1, 1), (1, 1), {"strides": (1, 1 << 22), "pads": (0, 1 << 22, 0, 0)},
    ),
    "values in a column dilation of 4194304; the engine counts to 4194303": (
        (1, 1, 1), (1, 2), {"dilations": (1, 1 << 22), "pads": (0, 1 << 22, 0, 0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("message", "window"), LIMITS.items(), ids=LIMITS)
def test_windows_beyond_the_counters_are_refused(message, window):
    shape, kernel, attributes = window
    graph = conv_graph(shape, np.ones((1, 1, *kernel)), **attributes)
    with pytest.raises(ConfigurationError, match=f"^layer 'conv': {re.escape(message)}$"):
        plan(graph, parameters_for(graph, rows=4, columns=4))


@pytest.mark.parametrize("kernel", [(1, 1), (1, 2), (2, 1)])
def test_steps_that_are_never_made_may_be_of_any_length(kernel):
    """A stride where one window fits, a dilation where a kernel has one row or column."""
    weights = np.arange(1, 4 * np.prod(kernel) + 1).reshape(2, 2, *kernel)
    for axis in (0, 1):
        far = tuple(1 << 28 if n == axis else 1 for n in (0, 1))
        if kernel[axis] == 1:
            graph = conv_graph((2, 3, 4), weights, dilations=far)
            check_against_golden(planned(graph, rows=4, columns=4))
        graph = conv_graph((2, *kernel), weights, strides=far)
        check_against_golden(planned(graph, rows=4, columns=4))


def test_a_pooling_stride_that_is_never_made_may_be_of_any_length():
    check_against_golden(planned(pool_graph((5, 2, 3), (2, 3), (1 << 28, 1 << 28), (0, 0, 0, 0)), rows=4, columns=4))


WIDE = (1, 256, 66_000)
FAR_ROWS = {
    "stride": conv_graph(WIDE, np.ones((1, 1, 1, 1)), strides=(255, 1)),
    "dilation": conv_graph(WIDE, np.ones((1, 1, 2, 1)), dilations=(255, 1)),
    "pooling stride": pool_graph(WIDE, (1, 1), (255, 1), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("graph", FAR_ROWS.values(), ids=FAR_ROWS)
def test_rows_further_apart_than_memory_is_large_are_planned(graph):
    """255 rows of 66,000 values are beyond 24 bits; no two of them are on chip at once, so no such step is made."""
    assert planned(graph, rows=4, columns=4, activation_kib=512).program


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"weight_bits": 7},
            "layer 'conv' has 8-bit weights, the array takes 7 bits (generate it with --weight-bits 8)",
        ),
        (
            {"sum_bits": 12, "multiplier": False},
            "layer 'conv' needs sums of 17 bits, the accumulators have 12 (generate them with --sum-bits 17); "
            "layer 'conv' has scales that are not powers of two (generate with multiplier, or quantize with"
            " --scales pow2)",
        ),
        ({"activation_bits": 7}, "tensor 'x' needs 8 bits; generate with at least 8 activation bits"),
    ],
)
def test_narrow_accelerators_are_refused(sizes, message):
    graph = conv_graph((4, 3, 3), np.full((2, 4, 1, 1), 127))
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        plan(graph, parameters_for(graph, rows=4, columns=4, **sizes))
