"""The systolic array against a matrix product."""

import random

import numpy as np
import pytest

from systolith.hw.engine.array import SystolicArray, array_latency
from systolith.hw.engine.cell import PORTABLE, Cell, add
from systolith.hw.engine.cell_xilinx import DSP48
from systolith.hw.engine.delay import delayed
from systolith.hw.engine.sizes import array_cell
from systolith.hw.isa.parameters import Parameters

from .hw_streams import run

SHAPES = [(1, 1), (5, 3), (3, 8), (4, 4), (1, 6), (7, 1)]


def plain(m, name, pixel, weights, above, sum_shape):
    """Several columns at once, four cycles: what a family's shared multiplier does, in plain Verilog."""
    products = [delayed(m, pixel * w, 3, name=f"product_{name}_{n}") for n, w in enumerate(weights)]
    return [add(m, f"{name}_{n}", p, s, sum_shape) for n, (p, s) in enumerate(zip(products, above, strict=True))]


CELLS = {
    "portable": PORTABLE,
    "dsp48": DSP48,
    "two columns": Cell(latency=4, multiply_add=plain, columns=2),
    "three columns": Cell(latency=4, multiply_add=plain, columns=3),
}


def extremes(rng, shape, bits):
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = rng.integers(low, high + 1, shape)
    values[rng.random(shape) < 0.2] = low
    values[rng.random(shape) < 0.2] = high
    return values


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize(("activation_bits", "weight_bits"), [(8, 8), (5, 12)])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_array_multiplies(rows, columns, activation_bits, weight_bits, gaps):
    multiplies(rows, columns, activation_bits, weight_bits, gaps, PORTABLE)


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize(("rows", "columns"), SHAPES)
@pytest.mark.parametrize("name", ["dsp48", "two columns"])
def test_array_multiplies_with_other_cells(name, rows, columns, gaps):
    multiplies(rows, columns, 8, 8, gaps, CELLS[name])


@pytest.mark.parametrize(
    ("rows", "columns", "together", "bits"), [(8, 7, 3, 4), (16, 4, 2, 4), (7, 9, 4, 2), (3, 5, 2, 8), (1, 3, 3, 4)]
)
def test_columns_of_one_number_come_apart_below_the_last_row(rows, columns, together, bits):
    """With as many rows as sums of so many bits have room for, or few; all weights, but the lowest, and all pixels."""
    sizes = {"rows": rows, "columns": columns, "weight_bits": bits, "activation_bits": bits, "target": "xilinx"}
    p = Parameters(**sizes, columns_per_multiplier=together)
    assert p.sharing.summed
    multiplies(rows, columns, bits, bits, 0.5, array_cell(p), lowest=False)


def test_a_row_too_many_for_the_bits_of_a_sum_is_not_summed():
    """9 · 7 · 8 = 504 fits 10 bits, 560 does not."""
    sizes = {"columns": 3, "weight_bits": 4, "activation_bits": 4, "target": "xilinx", "columns_per_multiplier": 3}
    assert [Parameters(rows=rows, **sizes).sharing.summed for rows in (9, 10)] == [True, False]


def schedule(weights, gaps, pauses):
    """The cycle of each tile's swap, and of each cycle the row of ``weights``, (tiles, rows, columns), that is written.

    Those of tile t are in the R cycles from swap t - 1 on.
    """
    tiles, rows, _ = weights.shape
    swaps, cycle = [], rows
    for _ in range(tiles):
        swaps.append(cycle)
        cycle += rows
        while pauses.random() < gaps:
            cycle += 1
    starts = [0, *swaps]
    return swaps, {starts[t] + r: (r, weights[t, r]) for t in range(tiles) for r in range(rows)}


def multiplies(rows, columns, activation_bits, weight_bits, gaps, cell, lowest=True):
    """Tiles of R pixels follow each other at once or with pauses; weights are written while others are used."""
    rng, pauses = np.random.default_rng(rows * 10 + columns), random.Random(3)
    tiles = 6
    weights = extremes(rng, (tiles, rows, columns), weight_bits)
    weights = weights if lowest else np.maximum(weights, 1 - (1 << weight_bits - 1))
    weights[1], weights[2] = weights.min(), weights.max()
    component = SystolicArray(
        rows=rows, columns=columns, activation_bits=activation_bits, weight_bits=weight_bits, sum_bits=32, cell=cell
    )
    pixels_at, expected_at, found = {}, {}, []

    swaps, writes = schedule(weights, gaps, pauses)
    end = swaps[-1] + rows + 8
    for t in range(tiles):
        until = swaps[t + 1] if t + 1 < tiles else end
        for cycle in range(swaps[t] + 1, until + 1):
            pixels_at[cycle] = extremes(rng, rows, activation_bits)
            if cycle % 4 == 0:  # the greatest sums that there are
                pixels_at[cycle][:] = -(1 << activation_bits - 1)
            expected_at[cycle] = pixels_at[cycle] @ weights[t]
    last = end + array_latency(rows, cell) + columns + 2

    async def bench(ctx):
        for cycle in range(last):
            row, values = writes.get(cycle, (None, rng.integers(-2, 2, columns)))
            ctx.set(component.weight_row, 0 if row is None else 1 << row)
            ctx.set(component.weights, [int(v) for v in values])
            ctx.set(component.swap, cycle in swaps)
            ctx.set(component.pixels, [int(v) for v in pixels_at.get(cycle, np.zeros(rows))])
            _, _, *sums = await ctx.tick().sample(*(component.sums[c] for c in range(columns)))
            found.append(sums)

    run(component, bench)
    seen = 0
    for cycle, expected in expected_at.items():
        for c in range(columns):
            assert found[cycle + array_latency(rows, cell) + c][c] == expected[c], (cycle, c)
            seen += 1
    assert seen == columns * len(expected_at) > 0


def test_latency_is_the_rows_and_the_cells_own():
    latencies = {name: [array_latency(r, cell) for r in (1, 2, 9)] for name, cell in CELLS.items()}
    assert latencies == {
        "portable": [2, 3, 10],
        "dsp48": [3, 4, 11],
        "two columns": [4, 5, 12],
        "three columns": [4, 5, 12],
    }


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("name", ["portable", "two columns", "three columns"])
@pytest.mark.parametrize(("rows", "columns", "lines"), [(9, 4, 3), (4, 6, 1), (8, 8, 2), (7, 3, 2)])
def test_columns_with_a_channel_each_add_along_the_lines(rows, columns, lines, name, gaps):
    """Tiles of both kinds follow each other; what a row sees enters as many cycles later as it lies lower."""
    cell = CELLS[name]
    rng, pauses = np.random.default_rng(rows), random.Random(5)
    tiles, channels, taps = 8, min(rows, columns), rows // lines
    depthwise = [bool(n % 3) for n in range(tiles)]
    weights = extremes(rng, (tiles, rows, columns), 8)
    for t in range(tiles):
        if depthwise[t]:
            weights[t, lines * taps :] = 0
            weights[t, :, channels:] = 0
    component = SystolicArray(
        rows=rows, columns=columns, activation_bits=8, weight_bits=8, sum_bits=32, lines=lines, cell=cell
    )
    swaps, writes = schedule(weights, gaps, pauses)
    end = swaps[-1] + 2 * rows
    latency = array_latency(rows, cell, lines)
    pixels = extremes(rng, (end + 2 * rows, rows), 8)
    buffered = extremes(rng, (end + 2 * rows, lines - 1, channels), 8)
    mode = [0] * (end + 2 * rows)
    for t in range(tiles):
        mode[swaps[t] + 1 :] = [depthwise[t]] * (len(mode) - swaps[t] - 1)
    found = []

    async def bench(ctx):
        for cycle in range(end + latency + columns):
            now = min(cycle, len(pixels) - 1)
            row, values = writes.get(cycle, (None, rng.integers(-2, 2, columns)))
            ctx.set(component.weight_row, 0 if row is None else 1 << row)
            ctx.set(component.weights, [int(v) for v in values])
            ctx.set(component.swap, cycle in swaps)
            ctx.set(component.depthwise, mode[now])
            ctx.set(component.pixels, [int(v) for v in pixels[now]])
            ctx.set(component.buffered, [[int(v) for v in line] for line in buffered[now]])
            _, _, *sums = await ctx.tick().sample(*(component.sums[c] for c in range(columns)))
            found.append(sums)

    run(component, bench)
    for t in range(tiles):
        for cycle in range(swaps[t] + 1, (swaps[t + 1] if t + 1 < tiles else end) + 1):
            wanted = pixels[cycle] @ weights[t]
            if depthwise[t]:
                seen = np.zeros((rows, columns), np.int64)
                for r in range(lines * taps):
                    later = pixels[cycle + r] if r < taps else buffered[cycle + r, r // taps - 1]
                    for c in range(channels):  # what shares a multiplier sees the first one's
                        seen[r, c] = later[c - c % cell.columns]
                wanted = (seen * weights[t]).sum(axis=0)
            assert [found[cycle + latency + c][c] for c in range(columns)] == wanted.tolist(), (t, cycle)
