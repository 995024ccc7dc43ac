"""The requantizer against golden's float32, and the argument behind its single rounding."""

import numpy as np
import pytest

from systolith import golden
from systolith.hw.compiler.formats import fixed_scales
from systolith.hw.engine.cell import multiplied
from systolith.hw.engine.requantize import Requantize
from systolith.hw.isa.parameters import SHIFT_MOST
from systolith.quant import ConfigurationError, FeatureMap

from .hw_streams import plain, run

BITS = (2, 4, 8, 16)


def requantize(bits, multiplier=True, total_bits=32, shifts=(0, SHIFT_MOST)):
    return Requantize(
        sum_bits=32,
        total_bits=total_bits,
        shifts=shifts,
        activation_bits=bits,
        element_bits=8 if bits <= 8 else 16,
        multiply=multiplied if multiplier else None,
    )


def scales(count, random, multiplier, shifts):
    """Float32 scales over all that matters: from far too small to saturating everything, but of ``shifts`` alone."""
    exponents = np.clip(random.integers(-34, 4, count), 3 - shifts[1], 3 - shifts[0])
    mantissas = np.ones(count) if not multiplier else random.integers(2**23, 2**24, count) / 2**23
    return np.ldexp(mantissas, exponents).astype(np.float32)


def hard_sums(random, scale, bits, count):
    """Sums (int32) that are random, extreme, and as near to ties and to the saturation edges as integers come."""
    steps = random.integers(-(1 << bits), 1 << bits, count) + random.choice([0.5, 0.5, 0.0], count)
    near = np.clip(np.rint(steps / scale.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int64)
    near += random.integers(-2, 3, count)
    wide = random.integers(-(2**31), 2**31, count) >> random.integers(0, 31, count)
    edges = random.choice([0, 1, -1, 2**24 + 1, -(2**24) - 1, 2**25 + 2, 2**31 - 1, -(2**31), -(2**31) + 1], count)
    chosen = np.choose(random.integers(0, 4, count), [near, near, wide, edges])
    return np.clip(chosen, -(2**31), 2**31 - 1)


def hard_pairs(random, count):
    """Scales below 2, and sums that are hard with them."""
    mantissas = random.integers(2**23, 2**24, count) / 2**23
    scale = np.ldexp(mantissas, random.integers(-30, 1, count)).astype(np.float32)
    return scale, hard_sums(random, scale, 8, count)


def bounds(random, bits):
    """low, high, zero point."""
    reach = 1 << (bits - 1)
    low, high = sorted(random.integers(-reach, reach, 2).tolist())
    low, high = random.choice([low, -reach]).item(), max(low, random.choice([high, reach - 1]).item())
    return low, high, random.choice([low, high, random.integers(low, high + 1)]).item()


NARROWED = [(23, (8, 12)), (24, (7, 7)), (25, (0, 8)), (27, (17, 33)), (13, (3, 10)), (30, (13, 37))]


@pytest.mark.parametrize("multiplier", [True, False], ids=["multiplier", "shift only"])
@pytest.mark.parametrize(
    ("bits", "total_bits", "shifts"),
    [*((bits, 32, (0, SHIFT_MOST)) for bits in BITS), *((8, *narrow) for narrow in NARROWED), (4, 20, (10, 14))],
)
def test_requantize_matches_golden(bits, total_bits, shifts, multiplier):
    random = np.random.default_rng(100 + bits)
    count = 4000 if total_bits == 32 else 1500
    scale = scales(count, random, multiplier, shifts)
    reach = (1 << total_bits - 1) - (total_bits < 32)
    total = np.clip(hard_sums(random, scale, bits, count), -reach, reach - (total_bits == 32))
    bias = random.choice([0, 1], count) * random.integers(-(2**31), 2**31, count)
    acc = total - bias
    fits = (acc >= -(2**31)) & (acc < 2**31)
    bias, acc = np.where(fits, bias, 0), np.where(fits, acc, total)
    mantissa, shift = fixed_scales(scale, "test")
    assert (min(shift), max(shift)) == shifts or total_bits == 32
    targets = [bounds(random, bits) for _ in range(count)]
    expected = []
    for number, (low, high, zero_point) in enumerate(targets):
        target = FeatureMap("y", (1, 1, 1), np.float32(1), zero_point, low, high)
        sums = total[number].astype(np.int32).reshape(1, 1, 1, 1)
        expected.append((golden.requantize(sums, scale[number : number + 1], target).item(), int(total[number])))

    component, found = requantize(bits, multiplier, total_bits, shifts), []

    async def bench(ctx):
        for number in range(count + Requantize.LATENCY):
            if number < count:
                low, high, zero_point = targets[number]
                ctx.set(component.sum, int(acc[number]))
                fields = {"bias": int(bias[number]) & 0xFFFFFFFF, "mantissa": int(mantissa[number])}
                ctx.set(component.channel, {**fields, "shift": int(shift[number])})
                ctx.set(component.format, {"zero_point": zero_point, "low": low, "high": high})
            _, _, activation, raw = await ctx.tick().sample(component.activation, component.raw_sum)
            if number >= Requantize.LATENCY:
                found.append((activation, raw))

    run(component, bench)
    assert found == expected


def test_what_a_narrowed_shifter_never_sees_still_counts():
    """Values a little beyond the tie's window: by less than the 25 fraction bits that are kept, in bits that no shift
    moves, because all scales are shifted by 13.
    """
    random, found, expected = np.random.default_rng(3), [], []
    mantissas = random.integers(2**23, 2**24, 2_000_000)
    edge = int((4.5 + 2.0**-22) * 2**33)  # of 4.5's window, a tie of which becomes 4, in steps of the product
    sums = -(-edge // mantissas)
    beyond = (sums * mantissas > edge) & (sums * mantissas < edge + 256)
    pairs = list(zip(sums[beyond].tolist(), mantissas[beyond].tolist(), strict=True))
    assert len(pairs) > 20
    target = FeatureMap("y", (1, 1, 1), np.float32(1), 0, -128, 127)
    for total, mantissa in pairs:
        scale = np.ldexp(np.array([mantissa], np.float32), -33)
        expected.append(golden.requantize(np.array(total, np.int32).reshape(1, 1, 1, 1), scale, target).item())
    component = requantize(8, total_bits=24, shifts=(13, 13))

    async def bench(ctx):
        ctx.set(component.format, {"zero_point": 0, "low": -128, "high": 127})
        for number in range(len(pairs) + Requantize.LATENCY):
            total, mantissa = pairs[min(number, len(pairs) - 1)]
            ctx.set(component.sum, total)
            ctx.set(component.channel, {"bias": 0, "mantissa": mantissa, "shift": 13})
            _, _, activation = await ctx.tick().sample(component.activation)
            if number >= Requantize.LATENCY:
                found.append(activation)

    run(component, bench)
    assert found == expected
    assert set(expected) == {5}


def test_latency():
    component = requantize(8)
    when = []

    async def bench(ctx):
        ctx.set(component.format, {"zero_point": 0, "low": -128, "high": 127})
        ctx.set(component.channel, {"bias": 0, "mantissa": 1 << 23, "shift": 3})
        await ctx.tick().repeat(20)
        ctx.set(component.sum, 77)
        for cycle in range(20):
            _, _, activation, raw = await ctx.tick().sample(component.activation, component.raw_sum)
            ctx.set(component.sum, 0)
            found = {"activation": plain(activation), "raw": plain(raw)}
            when.extend((cycle, name) for name, value in found.items() if value == 77)

    run(component, bench)
    assert when == [(Requantize.LATENCY, "activation"), (Requantize.LATENCY, "raw")]


def once_rounded(sums, scale):
    """The docstring's claim: one rounding, with a tie as wide as half a step of float32's grid on either side.

    Returns the integers, and where there was anything to round.
    """
    magnitude = np.abs(sums.astype(np.int64)).astype(np.float64)
    extra = np.maximum(0, np.frexp(magnitude)[1] - 24)
    total = np.rint(np.ldexp(magnitude, -extra)).astype(np.int64)  # fl32 of the sum, half to even
    mantissa, exponent = np.frexp(scale.astype(np.float64))
    product = total * np.ldexp(mantissa, 24).astype(np.int64)  # below 2**49; the value is product * 2**-shift
    shift = 24 - exponent - extra
    top = np.frexp(product.astype(np.float64))[1] - 1
    window = np.where(top >= 24, np.int64(1) << np.clip(top - 24, 0, 40), 0)
    rounds = (shift >= 1) & (shift <= 62)
    shift = np.clip(shift, 1, 62)
    whole, rest, middle = product >> shift, product & ((np.int64(1) << shift) - 1), np.int64(1) << (shift - 1)
    rounded = whole + np.where(np.abs(rest - middle) <= window, whole & 1, rest > middle)
    return np.where(sums < 0, -rounded, rounded), rounds & (rounded < 2**16)


def test_widened_ties_equal_two_roundings():
    """Twelve million pairs, most of them next to a tie."""
    random = np.random.default_rng(7)
    checked = 0
    for _ in range(12):
        count = 1_000_000
        scale, sums = hard_pairs(random, count)
        expected = np.rint(sums.astype(np.float32) * scale)
        found, valid = once_rounded(sums, scale)
        np.testing.assert_array_equal(found[valid], expected[valid])
        checked += int(valid.sum())
    assert checked > 10_000_000


def test_a_plain_rounding_would_differ():
    """The window is needed: these are pairs that one rounding gets wrong, and the random ones above hold such."""
    random = np.random.default_rng(7)
    scale, sums = hard_pairs(random, 1_000_000)
    double = sums.astype(np.float64) * scale.astype(np.float64)
    assert (np.rint(double) != np.rint(sums.astype(np.float32) * scale)).any()


def test_scales_are_exact():
    scale = np.array([1, 0.1, 2.0**-30, 15.99, 3e-7, 2.0**-60], np.float32)
    mantissa, shift = fixed_scales(scale, "c")
    again = np.ldexp(mantissa.astype(np.float64), -(shift + 20))
    np.testing.assert_array_equal(again[:5], scale[:5].astype(np.float64))
    assert abs(float(np.ldexp(float(mantissa[5]), -int(shift[5] + 20)))) * 2**31 < 0.5


def test_a_scale_of_16_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        fixed_scales(np.array([0.5, 16], np.float32), "conv1")
    assert str(caught.value) == (
        "layer 'conv1': its requantization scale 16 is not below 16; calibrate with data that uses the output's range"
    )
