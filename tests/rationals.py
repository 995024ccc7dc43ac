"""float32 in exact rationals: the twin of every rounding that golden does."""

from __future__ import annotations

from fractions import Fraction


def fl32(value: Fraction | int) -> Fraction:
    """``value`` rounded to 24 significant bits, half to even: float32 without limits on the exponent."""
    value = Fraction(value)
    if value == 0:
        return value
    magnitude = abs(value)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - 24
    unit = Fraction(2) ** exponent
    while magnitude / unit >= 2**24:
        unit *= 2
    while magnitude / unit < 2**23:
        unit /= 2
    return round(value / unit) * unit  # Python rounds a Fraction half to even
