"""The vector unit's two tables, A and B: what they must hold for each operator, proven on all inputs."""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import FeatureMap, Normalization, Table
from ...quant.graph.errors import ConfigurationError
from ..isa.program import TABLE_FRACTION

Tables = NDArray[np.int64]
HALF = 1 << (TABLE_FRACTION - 1)
ENTRY = np.iinfo(np.int32)
MANTISSA = 24
NEAR = 2.0**-10
"""Much more than float32 and float64 may be apart near a tie of 8-bit sums."""
FAR = 1 << 40
"""Beyond every sum of two entries."""


def unary_tables(layer: Table, source: FeatureMap, source_offset: int, target_offset: int) -> Tables:
    """``values[x - low]`` for each stored byte of the source, in table A."""
    return _one(source, source_offset, layer.values.astype(np.int64) - target_offset)


def rescaling_tables(source: FeatureMap, source_offset: int, target: FeatureMap, target_offset: int) -> Tables:
    """``clamp(rne(fl32(fl32(s_x * (x - zp_x)) / s_y)) + zp_y)`` for each stored byte of the source, in table A."""
    integers = np.arange(source.low, source.high + 1)
    reals = (integers - source.zero_point).astype(np.float32) * source.scale
    steps = np.clip(np.rint(reals / target.scale), -(2.0**20), 2.0**20).astype(np.int64) + target.zero_point
    return _one(source, source_offset, np.clip(steps, target.low, target.high) - target_offset)


def normalization_tables(layer: Normalization) -> Tables:
    """The bipartite tables of the factor, as they are."""
    return np.concatenate([layer.coarse, layer.fine]).astype(np.int64)


def _one(source: FeatureMap, offset: int, stored: Tables) -> Tables:
    tables = np.zeros(512, np.int64)
    tables[np.arange(source.low - offset, source.high - offset + 1) & 255] = stored << TABLE_FRACTION
    return tables


def nearest(value: Fraction) -> Fraction:
    """``value`` rounded to a float32's 24 significant bits, half to even."""
    if value == 0:
        return value
    bits = abs(value.numerator).bit_length() - value.denominator.bit_length()
    unit = Fraction(2) ** (bits - MANTISSA)
    unit *= 1 if abs(value) < unit * 2**MANTISSA else 2
    unit /= 1 if abs(value) >= unit * 2 ** (MANTISSA - 1) else 2
    return round(value / unit) * unit


def reference_sum(sources: tuple[FeatureMap, FeatureMap], target: FeatureMap) -> NDArray[np.int64]:
    """What an addition must give for all pairs of integers, low..high of each: the formula of quant.graph.Add.

    Exact rationals where a sum is rounded even in float64, and too near a tie to tell.
    """
    a, b = (np.arange(source.low, source.high + 1) for source in sources)
    ratio_a, ratio_b = (Fraction(float(np.float32(source.scale / target.scale))) for source in sources)
    inner = nearest(ratio_b * sources[1].zero_point)
    offset = nearest(target.zero_point - nearest(ratio_a * sources[0].zero_point + inner))
    partial = [nearest(ratio_b * int(value) + offset) for value in b]
    first, second = float(ratio_a) * a[:, None], np.array([float(value) for value in partial])
    total = first + second
    exact = (total - first == second) & (total - second == first)  # the difference to the larger has no rounding
    bounded = np.clip(total, -(2.0**20), 2.0**20)
    result = np.rint(np.where(exact, bounded.astype(np.float32), bounded)).astype(np.int64)
    tied = np.abs(np.abs(total - np.floor(total)) - 0.5) < NEAR
    for row, column in zip(*np.nonzero(tied & ~exact), strict=True):
        result[row, column] = round(nearest(ratio_a * int(a[row]) + partial[column]))
    return np.asarray(np.clip(result, target.low, target.high), np.int64)


def reference_difference(sources: tuple[FeatureMap, FeatureMap], target: FeatureMap) -> NDArray[np.int64]:
    """As ``reference_sum``, for a subtraction: each step of the formula rounded to float32."""
    a, b = (
        (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.float32) * source.scale
        for source in sources
    )
    steps = np.rint(np.clip((a[:, None] - b) / target.scale, -(2.0**20), 2.0**20)).astype(np.int64)
    return np.clip(steps + target.zero_point, target.low, target.high)


def extremum_tables(
    sources: tuple[FeatureMap, FeatureMap], offsets: tuple[int, int], target: FeatureMap, target_offset: int
) -> Tables:
    """What each stored byte is on the target's grid: of the first source in table A, of the second in table B."""
    a, b = (rescaling_tables(*source, target, target_offset) for source in zip(sources, offsets, strict=True))
    return np.concatenate([a[:256], b[:256]])


def addition_tables(
    sources: tuple[FeatureMap, FeatureMap],
    offsets: tuple[int, int],
    target: FeatureMap,
    target_offset: int,
    name: str,
    *,
    subtracts: bool = False,
) -> Tables:
    """Integers A and B with ``clamp(rne(A[a] + B[b]))`` equal to ``reference_sum``, or difference, for all (a, b).

    For a pair with result y, A + B must lie between the ties around y, which belong to the even one; these are
    difference constraints, which Bellman and Ford's shortest paths solve exactly, from the rounded reals as a start.
    Raises ConfigurationError if they have no solution, or none in 32 bits.
    """
    wanted = reference_difference(sources, target) if subtracts else reference_sum(sources, target)
    stored = wanted - target_offset
    odd = stored & 1
    lowest = np.where(wanted == target.low, -FAR, (stored << TABLE_FRACTION) - HALF + odd)
    highest = np.where(wanted == target.high, FAR, (stored << TABLE_FRACTION) + HALF - odd)
    one = 1 << TABLE_FRACTION
    reals = [(np.arange(s.low, s.high + 1) - s.zero_point) * (float(s.scale) / float(target.scale)) for s in sources]
    a, minus_b = (np.rint(np.clip(r * one, ENTRY.min / 2, ENTRY.max / 2)).astype(np.int64) for r in reals)
    a += (target.zero_point - target_offset) * one
    minus_b = minus_b if subtracts else -minus_b
    for _ in range(len(a) + len(minus_b)):
        nearer_a = np.minimum(a, (minus_b[None, :] + highest).min(axis=1))
        nearer_b = np.minimum(minus_b, (nearer_a[:, None] - lowest).min(axis=0))
        if (nearer_a == a).all() and (nearer_b == minus_b).all():
            break
        a, minus_b = nearer_a, nearer_b
    b = -minus_b
    total = a[:, None] + b[None, :]
    rounded = (total + HALF - 1 + ((total >> TABLE_FRACTION) & 1)) >> TABLE_FRACTION
    exact = (np.clip(rounded, target.low - target_offset, target.high - target_offset) == stored).all()
    if not exact or max(np.abs(a).max(), np.abs(b).max()) > ENTRY.max:
        scales = ", ".join(f"{tensor.scale:g}" for tensor in (*sources, target))
        raise ConfigurationError(
            f"layer '{name}': its sums at scales {scales} fit no tables; requantize its inputs to scales nearer to its"
            " output's"
        )
    tables = np.zeros(512, np.int64)
    for half, source, offset, values in zip((0, 256), sources, offsets, (a, b), strict=True):
        tables[half + (np.arange(source.low - offset, source.high - offset + 1) & 255)] = values
    return tables
