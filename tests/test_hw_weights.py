# amaranth: UnusedElaboratable=no
"""Gearbox and weight writer: no bit of the weights is lost, moved or used twice."""

import random

import pytest

from systolith.hw.engine.weights import Gearbox, WeightWriter
from systolith.hw.isa.parameters import ACCUMULATOR_HAZARD, Parameters

from .hw_streams import STALLS, arrival, plain, recorder, run, source

WIDTHS = [(128, 24), (32, 120), (64, 64), (64, 24), (32, 15), (64, 21), (32, 128), (128, 8), (32, 7), (256, 40)]


def weight_writer(p):
    return WeightWriter(
        rows=p.rows, row_bits=p.weight_row_bits, pass_cycles=p.pass_cycles, parameter_rows=p.parameter_rows
    )


def streams_of(rng, beat, word, count):
    """Beats and words of streams that end with less than a beat of residue, whole words."""
    beats, words, flushes = [], [], []
    for _ in range(count):
        used = rng.randint(1, 12)
        total = -(-used * word // beat)
        bits = rng.getrandbits(total * beat)
        beats += [{"data": bits >> (n * beat) & ((1 << beat) - 1), "last": n == total - 1} for n in range(total)]
        words += [bits >> (n * word) & ((1 << word) - 1) for n in range(used)]
        flushes += [False] * (used - 1) + [True]
    return beats, words, flushes


@pytest.mark.parametrize("slow_words", STALLS)
@pytest.mark.parametrize("slow_beats", STALLS)
@pytest.mark.parametrize(("beat", "word"), WIDTHS)
def test_gearbox_repacks_and_flush_drops_only_the_residue(beat, word, slow_beats, slow_words):
    rng = random.Random(beat * 1000 + word)
    beats, expected, flushes = streams_of(rng, beat, word, 12)
    component, found = Gearbox(source=beat, target=word), []

    async def reader(ctx):
        while True:
            ready = rng.random() >= slow_words and len(found) < len(expected)
            # a word is flushed with: the reader knows which one is its last
            ctx.set(component.words.ready, ready)
            flush = ready and flushes[len(found)] and ctx.get(component.words.valid)
            ctx.set(component.flush, flush)
            _, _, valid, payload = await ctx.tick().sample(component.words.valid, component.words.payload)
            if valid and ready:
                found.append(plain(payload))

    run(component, arrival(found, len(expected)), source(component.beats, beats, stall=slow_beats), reader)
    assert found == expected


@pytest.mark.parametrize(("beat", "word"), WIDTHS)
def test_gearbox_keeps_up_with_the_faster_side(beat, word):
    """Unstalled, either a beat or a word moves in every cycle."""
    total = 24
    words = total * beat // word
    component, found = Gearbox(source=beat, target=word), []
    beats = [{"data": n, "last": 0} for n in range(total)]

    async def reader(ctx):
        ctx.set(component.words.ready, 1)
        while len(found) < words:
            await ctx.tick()

    valid = component.words.valid
    run(component, reader, source(component.beats, beats), recorder(found, valid, component.words.payload))
    last_cycle = found[-1][0]
    assert last_cycle <= max(total, words) + Gearbox.LATENCY


@pytest.mark.parametrize(("beat", "word"), WIDTHS)
def test_gearbox_that_nobody_reads_takes_the_beats_of_the_words_it_holds(beat, word):
    component, found = Gearbox(source=beat, target=word), []
    needed = -(-Gearbox.HELD * word // beat)
    beats = [{"data": n, "last": 0} for n in range(needed + 4)]

    async def time(ctx):
        await ctx.tick().repeat(needed + 20)

    taken = component.beats.valid & component.beats.ready
    run(component, time, source(component.beats, beats), recorder(found, taken, component.beats.payload.data))
    assert len(found) == needed


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(
    "sizes",
    [
        {"rows": 5, "columns": 3},
        {"rows": 1, "columns": 2},
        {"rows": 4, "columns": 2, "weight_bits": 16},
        {"rows": 2, "columns": 1, "weight_bits": 5},
    ],
    ids=str,
)
def test_weight_writer_writes_tile_after_tile(sizes, stall):
    p = Parameters(**sizes)
    rng = random.Random(p.rows)
    component = weight_writer(p)
    orders, rows, expected, flush_after = [], [], [], set()
    for number in range(8):
        tiles, passes = rng.randint(1, 3), rng.randint(1, 4)
        parameters, flush = number == 0 or rng.random() < 0.7, rng.random() < 0.5
        orders.append({"tiles": tiles - 1, "passes": passes - 1, "parameters": parameters, "flush": flush})
        for _ in range(tiles):
            if parameters:
                expected.append(("parameters", [rng.getrandbits(p.weight_row_bits) for _ in range(p.parameter_rows)]))
                rows += expected[-1][1]
            for _ in range(passes):
                expected.append(("weights", [rng.getrandbits(p.weight_row_bits) for _ in range(p.rows)]))
                rows += expected[-1][1]
        if flush:
            flush_after.add(len(expected))
    events, swaps, freed = [], [], [0]
    count = sum(len(content) for _, content in expected)

    async def array_and_vector(ctx):
        """Swaps a loaded tile and frees parameter slots, at once or some time later."""
        while True:
            held = rng.random() < stall
            swap = bool(ctx.get(component.loaded)) and not held
            ctx.set(component.held, held)
            held = sum(kind == "parameters" for kind, *_ in events) // p.parameter_rows - freed[0]
            assert held <= 2, "a third channel tile's parameters were written"
            free = held > 0 and rng.random() >= max(stall, 0.1)
            ctx.set(component.parameter_slot_free, free)
            freed[0] += free
            row, weights, write, address, loaded, flush = (
                await ctx.tick().sample(
                    component.weight_row,
                    component.weights,
                    component.parameter_write,
                    component.parameter_row,
                    component.loaded,
                    component.flush,
                )
            )[2:]
            assert not (row and write)
            assert not (row and loaded and not swap), "a tile that nobody has used yet is overwritten"
            if swap:
                swaps.append(len([e for e in events if e[0] == "weights"]))
            if row:
                events.append(("weights", row.bit_length() - 1, plain(weights), bool(flush)))
                assert row == 1 << events[-1][1]
            if write:
                events.append(("parameters", plain(address), plain(weights), bool(flush)))

    async def end(ctx):
        while len(events) < count or len(swaps) < sum(kind == "weights" for kind, _ in expected):
            await ctx.tick()
        for _ in range(60):
            await ctx.tick()
        assert len(events) == count

    run(component, end, source(component.orders, orders), source(component.rows, rows, stall=stall), array_and_vector)
    slot, at = 0, 0
    for kind, content in expected:
        for r, value in enumerate(content):
            address = r + (slot * p.parameter_rows if kind == "parameters" else 0)
            assert events[at][:3] == (kind, address, value)
            at += 1
        slot ^= kind == "parameters"
    tiles = sum(kind == "weights" for kind, _ in expected)
    assert swaps == [p.rows * (n + 1) for n in range(tiles)]


@pytest.mark.parametrize("rows", [6, 3, 2, 1])
def test_weight_writer_needs_no_more_than_a_row_a_cycle(rows):
    """But never less than ACCUMULATOR_HAZARD cycles a tile: an accumulator takes them from one sum to the next."""
    p = Parameters(rows=rows, columns=2)
    component, swaps = weight_writer(p), []

    async def bench(ctx):
        ctx.set(component.orders.payload, {"tiles": 0, "passes": 5, "parameters": 0, "flush": 1})
        ctx.set(component.orders.valid, 1)
        ctx.set(component.rows.valid, 1)
        for cycle in range(50):
            swap = ctx.get(component.loaded)
            ctx.set(component.held, not swap)
            if swap:
                swaps.append(cycle)
            _, _, done = await ctx.tick().sample(component.orders.ready)
            if done:
                ctx.set(component.orders.valid, 0)

    run(component, bench)
    assert swaps == [WeightWriter.LATENCY + max(rows, ACCUMULATOR_HAZARD) * (n + 1) for n in range(6)]


def test_parameters_are_at_most_two_channel_tiles_ahead():
    p = Parameters(rows=2, columns=1, weight_bits=16)
    component, slots = weight_writer(p), []

    async def bench(ctx):
        ctx.set(component.orders.payload, {"tiles": 9, "passes": 0, "parameters": 1, "flush": 0})
        ctx.set(component.orders.valid, 1)
        ctx.set(component.rows.valid, 1)
        for cycle in range(200):
            ctx.set(component.held, not ctx.get(component.loaded))
            ctx.set(component.parameter_slot_free, cycle == 100)
            _, _, write, row = await ctx.tick().sample(component.parameter_write, component.parameter_row)
            slots.extend([(cycle > 100, row)] if write else [])

    run(component, bench)
    first, second = list(range(p.parameter_rows)), list(range(p.parameter_rows, 2 * p.parameter_rows))
    assert [row for late, row in slots if not late] == first + second
    assert [row for late, row in slots if late] == first


@pytest.mark.parametrize("flush", [0, 1])
def test_flush_follows_an_orders_last_row_and_nothing_is_taken_meanwhile(flush):
    p = Parameters(rows=4, columns=2)
    component, taken = weight_writer(p), []

    async def bench(ctx):
        ctx.set(component.orders.payload, {"tiles": 1, "passes": 1, "parameters": 0, "flush": flush})
        ctx.set(component.orders.valid, 1)
        ctx.set(component.rows.valid, 1)
        for _ in range(40):
            ctx.set(component.held, not ctx.get(component.loaded))
            _, _, row, ready, flushed = await ctx.tick().sample(
                component.weight_row, component.rows.ready, component.flush
            )
            assert ready == bool(row)
            taken.extend(["row"] if row else [])
            taken.extend(["flush"] if flushed else [])

    run(component, bench)
    order = ["row"] * 16 + ["flush"] * flush
    assert taken == (order * 3)[: len(taken)]
    assert len(taken) > 2 * len(order)
