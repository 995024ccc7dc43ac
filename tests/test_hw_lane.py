"""One lane, and normalization's squares: against golden, and against exact rationals where a value is a tie."""

import operator
from fractions import Fraction

import numpy as np
import pytest

from systolith import golden
from systolith.golden.normalization import square_sums, table_index
from systolith.hw.compiler.formats import fixed_scales
from systolith.hw.engine.lane import (
    Lane,
    LaneConfiguration,
    Squares,
)
from systolith.hw.engine.requantize import Requantize
from systolith.hw.isa.program import TABLE_FRACTION, Combine
from systolith.quant import FeatureMap, Normalization

from .hw_streams import run

PLAIN = {"sum_bits": 24, "activation_bits": 8, "element_bits": 8}
TABLES = {**PLAIN, "tables": True}
NORMALIZED = {**TABLES, "normalization": 4}
EXTREMA = {**TABLES, "extrema": True}
PRODUCTS = {**PLAIN, "products": True}
AFFINE = {**PLAIN, "affine": True}
EVERYTHING = {**EXTREMA, **NORMALIZED, **PRODUCTS, **AFFINE}
HALF = 1 << (TABLE_FRACTION - 1)
WHOLE = FeatureMap("", (1, 1, 1), np.float32(1), 0, -128, 127)
ONE = {"bias": 0, "mantissa": 1 << 23, "shift": 3}
"""Scale 1: the activation is the sum."""


def settings(source=WHOLE, target=WHOLE, combine=Combine.NONE, normalize=0, **others):
    """others : ``operand_zero`` where there are products."""
    return {
        "format": {n: getattr(source, n) for n in ("zero_point", "low", "high")},
        "final_low": target.low,
        "final_high": target.high,
        "combine": int(combine),
        "normalize": normalize,
        **others,
    }


def lane(c, tables, inputs, chosen, factors=None):
    """(activation, raw sum) for each of ``inputs``: (sum, channel, operand, index), a value a cycle.

    factors : of affine channels, for each input; any where none is used
    """
    component, found = Lane(configuration=c), []
    factors = [-77] * len(inputs) if factors is None else factors
    latency, late = c.latency, c.squares_latency

    async def bench(ctx):
        if tables is not None:
            step = c.table_entries
            for first in range(0, 512, step):
                ctx.set(component.table.valid, 1)
                ctx.set(component.table.b, first >= 256)
                ctx.set(component.table.row, first % 256 // step)
                ctx.set(component.table.entries, [int(v) for v in tables[first : first + step]])
                await ctx.tick()
            ctx.set(component.table.valid, 0)
            ctx.set(component.table.entries, [7] * step)
        ctx.set(component.settings, chosen)
        for cycle in range(len(inputs) + latency):
            if cycle < len(inputs):
                total, channel, operand, _ = inputs[cycle]
                ctx.set(component.sum, int(total))
                ctx.set(component.channel, channel)
                ctx.set(component.operand, int(operand) & 255)
                if c.affine:
                    ctx.set(component.factor, factors[cycle])
            if late <= cycle < len(inputs) + late:
                ctx.set(component.index, int(inputs[cycle - late][3]))
            _, _, activation, raw = await ctx.tick().sample(component.activation, component.raw_sum)
            if cycle >= latency:
                found.append((activation, raw))

    run(component, bench)
    return found


def rounded(exact):
    """Half to even, at the tables' binary point."""
    return round(Fraction(exact, 1 << TABLE_FRACTION))


KINDS = {
    "plain": PLAIN,
    "tables": TABLES,
    "normalization": NORMALIZED,
    "products": PRODUCTS,
    "affine": AFFINE,
    "all": EVERYTHING,
}


@pytest.mark.parametrize("sizes", KINDS.values(), ids=KINDS)
def test_without_tables_a_lane_is_the_requantizer(sizes):
    c = LaneConfiguration(**sizes)
    assert (c.latency == Requantize.LATENCY) == (not c.tables and not c.multiplies)
    rng = np.random.default_rng(1)
    target = FeatureMap("", (1, 1, 1), np.float32(1), 3, -100, 120)
    count = 500
    sums = rng.integers(-(2**23), 2**23, count) >> rng.integers(0, 23, count)
    bias = rng.integers(-(2**20), 2**20, count)
    scale = np.ldexp(rng.integers(2**23, 2**24, count) / 2**23, rng.integers(-20, -2, count)).astype(np.float32)
    mantissa, shift = fixed_scales(scale, "")
    channels = [
        {"bias": int(b) & 0xFFFFFFFF, "mantissa": int(m), "shift": int(s)}
        for b, m, s in zip(bias, mantissa, shift, strict=True)
    ]
    inputs = [(s, c, rng.integers(256), rng.integers(4096)) for s, c in zip(sums, channels, strict=True)]
    noise = rng.integers(-(2**31), 2**31, 512) if c.tables else None
    found = lane(c, noise, inputs, settings(target, **({"operand_zero": -77} if c.products else {})))
    total = (sums + bias).astype(np.int32).reshape(1, -1, 1, 1)
    expected = golden.requantize(total, scale, target).reshape(-1)
    assert [a for a, _ in found] == expected.tolist()
    assert [r for _, r in found] == (sums + bias).tolist()


def hard_tables(rng):
    """Entries on ties, beside them, at the ends of 32 bits, and any."""
    steps = rng.integers(-140, 140, 512) << TABLE_FRACTION
    near = steps + rng.choice([0, HALF, HALF - 1, HALF + 1, -HALF], 512)
    wide = rng.integers(-(2**31), 2**31, 512)
    ends = rng.choice([-(2**31), 2**31 - 1, 0, -1, HALF, -HALF, 3 * HALF, -3 * HALF], 512)
    return np.choose(rng.integers(0, 5, 512), [near, near, near, wide, ends])


COMBINED = {Combine.TABLE: lambda a, _: a, Combine.ADD: operator.add, Combine.MAXIMUM: max, Combine.MINIMUM: min}
"""What is rounded, of an entry of A and one of B."""


@pytest.mark.parametrize(
    ("combine", "sizes", "entries"),
    [
        *((combine, TABLES, entries) for combine in (Combine.TABLE, Combine.ADD) for entries in (1, 2, 4)),
        (Combine.TABLE, EXTREMA, 2),
        (Combine.ADD, EVERYTHING, 1),
        (Combine.MAXIMUM, EXTREMA, 1),
        (Combine.MINIMUM, EVERYTHING, 4),
    ],
)
def test_entries_are_rounded_to_even_and_clamped(combine, sizes, entries):
    c = LaneConfiguration(**sizes, table_entries=entries)
    rng = np.random.default_rng(entries)
    ties = 0
    for low, high in ((-128, 127), (-20, 90)):
        tables = hard_tables(rng)
        target = FeatureMap("", (1, 1, 1), np.float32(1), 0, low, high)
        values = rng.permutation(np.repeat(np.arange(-128, 128), 4))
        operands = rng.integers(-128, 128, len(values))
        inputs = [(v, ONE, o, 0) for v, o in zip(values, operands, strict=True)]
        found = lane(c, tables, inputs, settings(WHOLE, target, combine))
        pairs = zip(tables[values & 255].tolist(), tables[256 + (operands & 255)].tolist(), strict=True)
        exact = [COMBINED[combine](*pair) for pair in pairs]
        ties += sum(e % (1 << TABLE_FRACTION) == HALF for e in exact)
        assert [a for a, _ in found] == [min(max(rounded(e), low), high) for e in exact]
        assert [r for _, r in found] == values.tolist()
    assert ties > 50


@pytest.mark.parametrize(("sizes", "zero_point"), [(PRODUCTS, -128), (PRODUCTS, 0), (PRODUCTS, 31), (EVERYTHING, -7)])
def test_products_are_goldens(sizes, zero_point):
    """At scales of powers of two, of which a quarter are ties; they go where the sum with the zero point is even."""
    c = LaneConfiguration(**{**sizes, "sum_bits": 18, "total_bits": 18})
    rng = np.random.default_rng(7)
    first = FeatureMap("", (1, 1, 1), np.float32(2**-5), int(rng.choice([-128, 127, 5])), -128, 127)
    second = FeatureMap("", (1, 1, 1), np.float32(2**-4), zero_point, -128, 127)
    ends = [(a, b) for a in (-128, -1, 0, 127) for b in (-128, -1, 0, 127)]
    a, b = np.concatenate([rng.integers(-128, 128, (300, 2)), np.array(ends)]).T
    noise = rng.integers(-(2**31), 2**31, 512) if c.tables else None
    for steps, target_zero in ((8, 3), (8, -4), (128, 127), (1, -128)):
        target = FeatureMap("", (1, 1, 1), np.float32(steps * 2**-9), target_zero, -128, 120)
        (mantissa,), (shift,) = fixed_scales(np.float32([1 / steps]), "")
        channel = {"bias": 0, "mantissa": int(mantissa), "shift": int(shift)}
        inputs = [(v, channel, o, rng.integers(4096)) for v, o in zip(a - first.zero_point, b, strict=True)]
        found = lane(c, noise, inputs, settings(target, WHOLE, Combine.MULTIPLY, operand_zero=zero_point))
        products = (a - first.zero_point) * (b - zero_point)
        assert steps == 1 or (2 * products % (2 * steps) == steps).sum() > 2
        assert [x for x, _ in found] == golden.multiply(a, b, (first, second), target).tolist()
        assert [raw for _, raw in found] == products.tolist()


@pytest.mark.parametrize("sizes", [AFFINE, EVERYTHING])
def test_affine_channels_are_convolutions_of_one_weight(sizes):
    """Of every factor; ties go to even before the zero point, as a convolution's."""
    c = LaneConfiguration(**sizes)
    rng = np.random.default_rng(5)
    factors = np.arange(-128, 128).repeat(9)
    values = rng.choice([-255, -128, -1, 0, 1, 127, 255, 77], factors.size)
    bias = rng.integers(-(2**20), 2**20, factors.size) >> rng.integers(0, 21, factors.size)
    scale = np.ldexp(rng.choice([1.0, 1.0, 1.2345], factors.size), rng.integers(-12, -2, factors.size)).astype(
        np.float32
    )
    mantissa, shift = fixed_scales(scale, "")
    target = FeatureMap("", (1, 1, 1), np.float32(1), 3, -128, 120)
    fields = zip(values, bias, mantissa, shift, strict=True)
    inputs = [(v, {"bias": int(b) & 0xFFFFFFFF, "mantissa": int(m), "shift": int(s)}, 9, 99) for v, b, m, s in fields]
    noise = rng.integers(-(2**31), 2**31, 512) if c.tables else None
    more = {"operand_zero": -5} if c.products else {}
    found = lane(c, noise, inputs, settings(target, WHOLE, Combine.AFFINE, **more), factors.tolist())
    totals = values * factors + bias
    ties = np.abs(totals * scale.astype(np.float64)) % 1 == 0.5
    assert ties.sum() > 20
    expected = golden.requantize(totals.astype(np.int32).reshape(1, -1, 1, 1), scale, target)
    assert [a for a, _ in found] == expected.reshape(-1).tolist()
    assert [raw for _, raw in found] == totals.tolist()


@pytest.mark.parametrize("combine", [Combine.NONE, Combine.ADD])
def test_ties_of_sums_go_to_even_before_the_zero_point_beside_products_too(combine):
    c = LaneConfiguration(**EVERYTHING)
    middle = FeatureMap("", (1, 1, 1), np.float32(2), 3, -128, 127)
    sums = np.arange(-251, 250)
    (mantissa,), (shift,) = fixed_scales(np.float32([0.5]), "")
    inputs = [(v, {"bias": 0, "mantissa": int(mantissa), "shift": int(shift)}, 0, 0) for v in sums]
    stored = (np.arange(256) + 128) % 256 - 128
    tables = np.concatenate([stored << TABLE_FRACTION, np.zeros(256, int)])
    found = lane(c, tables, inputs, settings(middle, WHOLE, combine, operand_zero=5))
    assert [a for a, _ in found] == (np.rint(sums / 2) + 3).astype(int).tolist()


@pytest.mark.parametrize("bits", [5, 8])
def test_indices_are_the_stored_bytes_of_clamped_activations(bits):
    c = LaneConfiguration(**{**TABLES, "activation_bits": bits})
    rng = np.random.default_rng(bits)
    reach = 1 << (bits - 1)
    source = FeatureMap("", (1, 1, 1), np.float32(1), 2, -reach + 1, reach - 1)
    tables = np.arange(512) - 256 << TABLE_FRACTION
    values = rng.integers(-400, 400, 300)
    target = FeatureMap("", (1, 1, 1), np.float32(1), 0, -128, 127)
    found = lane(c, tables, [(v, ONE, 0, 0) for v in values], settings(source, target, Combine.TABLE))
    clamped = np.clip(values + 2, source.low, source.high)
    assert [a for a, _ in found] == np.clip((clamped & 255) - 256, -128, 127).tolist()


def test_normalization_scales_by_the_sum_of_both_tables():
    c = LaneConfiguration(**NORMALIZED)
    rng = np.random.default_rng(5)
    coarse, fine = rng.integers(2**19, 2**24 - 2**19, 256), rng.integers(-(2**19), 2**19, 256)
    coarse[7], fine[:16] = 2**24 - 1, 0  # the largest factor there is
    target = FeatureMap("", (1, 1, 1), np.float32(1), 5, -120, 127)
    count, exponent = 2000, 24
    values, index = rng.integers(-255, 256, count), rng.integers(0, 4096, count)
    index[:20] = 7 << 4
    channel = {"bias": 0, "mantissa": rng.integers(2**24).item(), "shift": exponent - 20}
    inputs = [(v, channel, rng.integers(256), i) for v, i in zip(values, index, strict=True)]
    found = lane(c, np.concatenate([coarse, fine]), inputs, settings(target, normalize=1))
    factors = coarse[index >> 4] + fine[(index >> 8 << 4) + (index & 15)]
    assert factors.max() == 2**24 - 1
    expected = []
    for v, g in zip(values.tolist(), factors.tolist(), strict=True):
        steps = round(Fraction(float(np.float32(float(v * g) * 2.0**-exponent))))
        expected.append(min(max(steps + 5, -120), 127))
    assert [a for a, _ in found] == expected


def test_a_lane_that_normalizes_agrees_with_golden_channel_by_channel():
    c = LaneConfiguration(**NORMALIZED)
    rng = np.random.default_rng(6)
    source = FeatureMap("", (40, 3, 3), np.float32(1), 9, -128, 127)
    target = FeatureMap("", (40, 3, 3), np.float32(1), -3, -128, 127)
    size, shift, exponent = 3, 2, 24
    coarse = rng.integers(2**20, 2**23, 256).astype(np.int32)
    fine = rng.integers(-(2**18), 2**18, 256).astype(np.int32)
    layer = Normalization("n", "x", "y", size, 1e-4, 0.75, 1.0, shift, exponent, coarse, fine)
    values = rng.integers(-128, 128, (1, 40, 3, 3))
    centred = values.astype(np.int32) - 9
    index = table_index(square_sums(size, centred) >> shift).reshape(-1)
    channel = {"bias": 0, "mantissa": 0, "shift": exponent - 20}
    inputs = [(v, channel, 0, i) for v, i in zip(centred.reshape(-1), index, strict=True)]
    found = lane(c, np.concatenate([coarse, fine]), inputs, settings(target, normalize=1))
    assert [a for a, _ in found] == golden.normalize(layer, values, source, target).reshape(-1).tolist()


def as_float(kept):
    """12 bits: below 512 the number itself, above it how often it must be halved to get there, and what is left."""
    exponent = 0
    while kept >> exponent >= 1024:
        exponent += 1
    return kept if kept < 512 else ((exponent + 1) << 9) + (kept >> exponent) - 512


@pytest.mark.parametrize(("lanes", "most"), [(1, 1), (1, 5), (3, 4), (2, 16)])
def test_squares_are_summed_over_each_lanes_neighbours(lanes, most):
    component, rng = Squares(lanes=lanes, normalization=most), np.random.default_rng(most)
    width, latency = lanes + most - 1, LaneConfiguration(**TABLES, normalization=most).squares_latency
    for size in range(1, most + 1):
        found, expected = [], []
        rows = rng.integers(-255, 256, (60, width))
        rows[0], rows[1] = 255, -255
        drop = max(0, (size * 255**2).bit_length() - 16)

        async def bench(ctx, size=size, rows=rows, drop=drop, found=found):
            ctx.set(component.size, size - 1)
            ctx.set(component.drop, drop)
            for cycle in range(len(rows) + latency):
                if cycle < len(rows):
                    ctx.set(component.values, rows[cycle].tolist())
                _, _, index = await ctx.tick().sample(component.index)
                if cycle >= latency:
                    found.append([int(v) for v in index])

        run(component, bench)
        for row in rows:
            expected.append([as_float(int((row[n : n + size] ** 2).sum()) >> drop) for n in range(lanes)])
        assert found == expected
        assert max(map(max, expected)) < 4096
