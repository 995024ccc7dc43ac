"""Narrow weights that come several rows to a word: the array, its writer, plans, and whole accelerators."""

import random
import re

import numpy as np
import pytest

from systolith.hw import packed
from systolith.hw.build import general_parameters, parameters_for
from systolith.hw.choice import choose
from systolith.hw.compiler.limits import limit_cycles
from systolith.hw.compiler.packing import packing
from systolith.hw.compiler.planner import plan
from systolith.hw.engine.array import SystolicArray, array_latency
from systolith.hw.engine.weights import WeightWriter
from systolith.hw.engine.widening import Widening
from systolith.hw.isa.parameters import ACCUMULATOR_HAZARD
from systolith.hw.isa.program import Operation
from systolith.hw.model.schedule import predict

from . import models
from .hw_networks import check_against_golden, narrowed, network, planned, quantized
from .hw_streams import STALLS, run, source
from .test_hw_array import CELLS, extremes
from .test_system import WIDE
from .test_system import run as simulated

SMALL = {"activation_kib": 2, "accumulator_kib": 1, "weight_fifo_kib": 1}
PACKED = {
    "4x4, 2 rows, not at once": {"rows": 4, "columns": 4, "bus_bytes": 4, **SMALL, "packing": 2},
    "4x6, 2 at once": {"rows": 4, "columns": 6, "bus_bytes": 8, **SMALL, "packing": 2, "row_parts": 2},
    "8x5, 4 at once": {"rows": 8, "columns": 5, "bus_bytes": 16, **SMALL, "packing": 4, "row_parts": 4},
    "12x3, 2 of 4 at once": {"rows": 12, "columns": 3, "bus_bytes": 16, **SMALL, "packing": 4, "row_parts": 2},
    "8x4, 7 bits": {"rows": 8, "columns": 4, "bus_bytes": 4, **SMALL, "packing": 2, "row_parts": 2, "weight_bits": 7},
    "8x4, words of 16 bits": {
        "rows": 8, "columns": 4, "bus_bytes": 16, **SMALL, "packing": 4, "row_parts": 4, "word_bits": 16,
    },
    "4x4, 4 bits in words of 8": {
        "rows": 4, "columns": 4, "bus_bytes": 8, **SMALL, "packing": 2, "row_parts": 2,
        "weight_bits": 4, "word_bits": 8,
    },
}  # fmt: skip
WIDTHS = (4, 8, 2, 3, 6)
FORMS = [
    (4, 2, 1, 8), (4, 2, 2, 16), (8, 4, 1, 8), (8, 4, 2, 8), (8, 4, 4, 8), (12, 2, 2, 7), (4, 4, 4, 32), (2, 2, 2, 8),
]  # fmt: skip
"""Rows of the array, most in a word, parts, and word bits."""


def cycles_of(weights, count, parts, bits):
    """Of a tile, (R, C), whose words carry ``count`` rows: each cycle's rows as a mask, word of each column, piece."""
    rows, columns = weights.shape
    together, width = min(count, parts), bits // count
    steps, pieces = rows // together, count // together
    for step in range(steps):
        word = [0] * columns
        for piece in range(pieces):
            for n in range(together):
                row = step // pieces * pieces + piece + n * steps
                for c in range(columns):
                    word[c] |= (int(weights[row, c]) & ((1 << width) - 1)) << (width * (piece * together + n))
        mask = sum(1 << (step + n * steps) for n in range(together))
        yield mask, [w - ((w >> (bits - 1)) << bits) for w in word], step % pieces


@pytest.mark.parametrize(("rows", "most", "parts", "bits"), FORMS)
@pytest.mark.parametrize(("cell", "lines", "gaps"), [("portable", 0, 0.0), ("two columns", 1, 0.5)])
def test_array_takes_packed_rows_as_soon_and_as_late_as_wide_ones(cell, lines, rows, most, parts, bits, gaps):
    """Tiles of all packings follow each other; each cycle of one comes at the earliest it may, or some time later."""
    rng, pauses = np.random.default_rng(rows * most + parts), random.Random(rows)
    columns, widest, made = 3, min(bits, 8), CELLS[cell]
    counts = [1 << int(rng.integers(most.bit_length())) for _ in range(10)]
    weights = [extremes(rng, (rows, columns), min(widest, bits // count)) for count in counts]
    writes, swaps, cycle = {}, [], 0
    for tile, count in zip(weights, counts, strict=True):
        for mask, word, piece in cycles_of(tile, count, parts, bits):
            while pauses.random() < gaps:
                cycle += 1
            writes[cycle] = (mask, word, count.bit_length() - 1, piece)
            cycle += 1
        swaps.append(cycle + Widening.latency(most) + sum(pauses.random() < gaps for _ in range(3)))
        cycle = swaps[-1] - Widening.latency(most)
    latency, end = array_latency(rows, made, lines), swaps[-1] + rows
    pixels = extremes(rng, (end + 1, rows), 8)
    component = SystolicArray(
        rows=rows, columns=columns, activation_bits=8, weight_bits=widest, sum_bits=32, cell=made, lines=lines,
        word_bits=bits, packing=most, parts=parts,
    )  # fmt: skip
    found = []

    async def bench(ctx):
        for cycle in range(end + latency + columns):
            mask, word, code, piece = writes.get(cycle, (0, rng.integers(-64, 64, columns).tolist(), 0, 0))
            ctx.set(component.weight_row, mask)
            ctx.set(component.weights, word)
            ctx.set(component.form, {"packing": code, "piece": piece})
            ctx.set(component.swap, cycle in swaps)
            ctx.set(component.pixels, [int(v) for v in pixels[min(cycle, end)]])
            _, _, *sums = await ctx.tick().sample(*(component.sums[c] for c in range(columns)))
            found.append(sums)

    run(component, bench)
    for tile, first, last in zip(weights, swaps, [*swaps[1:], end], strict=True):
        for cycle in range(first + 1, last + 1):
            assert [found[cycle + latency + c][c] for c in range(columns)] == (pixels[cycle] @ tile).tolist(), cycle


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("rows", "most", "parts", "bits"), FORMS)
def test_writer_takes_words_apart(rows, most, parts, bits, stall):
    """Of orders of all packings every cycle's rows, word and piece; without stalls tiles come as soon as they may."""
    rng, cycle = random.Random(rows * most + parts), [0]
    component = WeightWriter(
        rows=rows, row_bits=12, pass_cycles=ACCUMULATOR_HAZARD, parameter_rows=8, packing=most, parts=parts
    )
    orders, words, expected, least = [], [], [], []
    for number in range(12):
        count, passes = 1 << rng.randrange(most.bit_length()), rng.randint(1, 4)
        parameters = number % 3 == 0
        orders.append({"tiles": 0, "passes": passes - 1, "parameters": parameters, "flush": rng.randint(0, 1)})
        orders[-1]["packing"] = count.bit_length() - 1
        words += [rng.getrandbits(12) for _ in range(8 * parameters)]
        for n in range(passes):
            steps = list(cycles_of(np.zeros((rows, 1), int), count, parts, bits))
            for mask, _, piece in steps:
                words += [rng.getrandbits(12)] * (piece == 0)
                expected.append((mask, words[-1], count.bit_length() - 1, piece))
            least.append(max(len(steps), ACCUMULATOR_HAZARD) if n else None)
    found, swaps = [], []

    async def array(ctx):
        while True:
            held = rng.random() < stall
            swap = bool(ctx.get(component.loaded)) and not held
            ctx.set(component.held, held)
            ctx.set(component.parameter_slot_free, ctx.get(component.parameter_write))
            swaps.extend([cycle[0]] * swap)
            shown = component.weight_row, component.weights, component.form
            mask, word, form = (await ctx.tick().sample(*shown))[2:]
            pieces = max(1, (1 << form.packing) // parts)
            found.extend([(mask, word, form.packing, form.piece % pieces)] * bool(mask))
            cycle[0] += 1

    async def end(ctx):
        while len(swaps) < len(least):
            await ctx.tick()
        await ctx.tick().repeat(20)

    run(component, end, source(component.orders, orders), source(component.rows, words, stall=stall), array)
    assert found == expected
    if not stall:
        assert [later - one for one, later, n in zip(swaps, swaps[1:], least[1:], strict=False) if n] == [
            n for n in least[1:] if n
        ]


def fully_connected():
    """A convolution and four fully connected layers, whose weights the bus brings all the time."""
    net = models.Builder((4, 8, 8), 1).conv(4, 8, 3, pads=[1, 1, 1, 1]).relu().pool().flatten()
    net = net.gemm(128, 60).relu().gemm(60, 40).relu().gemm(40, 30).relu().gemm(30, 10)
    return quantized(net.model())


@pytest.mark.parametrize("sizes", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("name", ["tiny", "groups2", "conv_pool_overlap", "gemm_of_map"])
def test_program_with_packed_weights_computes_what_golden_does(name, sizes):
    widest = sizes.get("weight_bits", 8)
    widths = [min(width, widest) for width in WIDTHS]
    made = planned(narrowed(network(name), widths), **{"weight_bits": widest, **sizes})
    check_against_golden(made)


CHOICES = [
    # bus bytes, widths of the layers, then word bits, rows in a word and at once
    (8, (8,), (8, 1, 1)),
    (8, (8, 4, 4, 4, 4), (8, 2, 2)),
    (4, (8, 4, 4, 4, 4), (8, 2, 1)),
    (8, (4,), (8, 2, 2)),
    (4, (4,), (4, 1, 1)),
    (8, (8, 6, 6, 6, 6), (12, 2, 2)),
    (4, (8, 3, 3, 3, 3), (12, 4, 2)),
    (4, (8, 5, 5, 5, 5), (10, 2, 1)),
    (4, (8, 6, 6, 6, 6), (12, 2, 1)),
]


@pytest.mark.parametrize(("bus_bytes", "widths", "chosen"), CHOICES)
def test_what_is_chosen_saves_as_many_cycles_as_it_says(bus_bytes, widths, chosen, monkeypatch):
    """And what is not worth it is not there: of 8 bits, or where the bus is as slow as a row a cycle."""
    graph = narrowed(fully_connected(), widths)
    plainly = parameters_for(graph, rows=8, columns=8, bus_bytes=bus_bytes)
    made = choose(graph, plainly, lanes=2, unfold_input=False)
    assert (made.parameters.word_bits, made.parameters.packing, made.parameters.row_parts) == chosen
    if max(chosen[1:]) > 1:
        (reason,) = made.reasons
        saved = float(re.search("about (.*)% fewer cycles", reason)[1]) / 100
        before, after = (predict(plan(graph, p), 30).cycles for p in (plainly, made.parameters))
        assert 1 - after / before == pytest.approx(saved, abs=0.1), reason
        assert after < before
    kept = choose(graph, plainly, lanes=2, unfold_input=False, word_bits=plainly.word_bits, packing=1, row_parts=1)
    assert kept.parameters == plainly
    monkeypatch.setattr(packed, "WORTH", 1.0)
    assert choose(graph, plainly, lanes=2, unfold_input=False).parameters == plainly, "it saves less than that"
    full = choose(graph, plainly, lanes=2, unfold_input=False, fits=lambda p: p.packing == 1)
    assert full.parameters.packing == 1


def test_an_accelerator_without_packing_takes_narrow_weights_as_wide_ones():
    graph = narrowed(fully_connected(), (4,))
    general = {"rows": 8, "columns": 8, "bus_bytes": 8}
    wide, narrow = (plan(graph, general_parameters(**general, packing=n, row_parts=n)) for n in (1, 2))
    for made in (wide, narrow):
        check_against_golden(made)
    assert not any("packing" in i.fields for i in wide.program)
    assert {i.fields["packing"] for i in narrow.program if i.operation == Operation.ARRAY} == {1}
    assert max(len(p.dram.constants) for p in (wide, narrow)) == len(wide.dram.constants)
    limits = [sum(limit_cycles(layer, made.parameters) for layer in made.layers) for made in (wide, narrow)]
    assert limits[1] < 0.6 * limits[0]


SIMULATED = {
    "8x2, 8-byte bus, 2 of 4 at once": {
        "rows": 8, "columns": 2, "bus_bytes": 8, **SMALL, "packing": 4, "row_parts": 2, "line_buffer": 64,
    },
    "4x4, 8-byte bus, words of 16 bits": {
        "rows": 4, "columns": 4, "bus_bytes": 8, **SMALL, "packing": 2, "row_parts": 2, "word_bits": 16,
    },
    "4x6, 8-byte bus, words of 12 bits": {
        "rows": 4, "columns": 6, "bus_bytes": 8, **SMALL, "packing": 4, "row_parts": 2, "word_bits": 12,
    },
}  # fmt: skip
MIXED = {"several": WIDTHS, "depthwise": (4,), "conv_pool_overlap": (2,)}


@pytest.mark.parametrize(("name", "bench"), [*zip(SIMULATED, ["bulk", "protocol", "bulk"], strict=True)])
def test_networks_of_mixed_widths_are_exact(name, bench, tmp_path):
    """One Verilog for all; the protocol bench stalls each channel at random."""
    sizes = {**WIDE, **SIMULATED[name], "multiplier": True}
    for name, widths in list(MIXED.items())[: 3 if bench == "bulk" else 1]:
        graph = narrowed(fully_connected() if name == "several" else network(name), widths)
        (tmp_path / name).mkdir()
        report, made = simulated(graph, sizes, tmp_path / name, images=1, bench=bench)
        counts = {packing(layer.geometry, made.parameters) for layer in made.layers if layer.on_array}
        assert counts == {made.parameters.packing_of(width) for width in widths}
        if bench == "bulk":
            assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=0.01), name
