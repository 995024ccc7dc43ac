"""Columns of the array that share a multiplier: where their weights lie in one operand, and when that is exact.

The weights of n columns are one operand, ``w0 + (w1 << k) + (w2 << 2k) ...``, and its product with the pixel x is
``w0 x + (w1 x << k) + ...``.  As long as no weight is the lowest of its width a product has b = weight + activation
bits - 1, and what lies below the column j is in -2**(jk - 1) .. 2**(jk - 1) - 1 if b is at most k: then it takes one
from the column above it where it is negative, which the bit below that column says.  If b is more, the highest b - k
bits of each product overlap the lowest of the next one, which are computed again beside the multiplier.
"""

from dataclasses import dataclass

from .target import Target

MOST_COLUMNS = 4
MOST_OVERLAP = 6
"""Bits; computing more of them again takes about what a multiplier made of LUTs does."""

HALF = 8
"""Bits of the operands of each of the two multipliers that a SB_MAC16 can be."""

OPERANDS: dict[Target, tuple[int, ...]] = {"ecp5": (18,), "ice40": (16,), "xilinx": (25,), "gowin": (9, 18)}
"""Width of the operand that the weights share, of each of a family's multipliers: a DSP48E2's has two bits more."""

CASCADE = 48
"""Bits of the sum that goes down a column of DSP48."""


@dataclass(frozen=True)
class Sharing:
    """How ``columns`` neighbouring columns share a multiplier.

    operand : bits of the multiplier's operand;  distance : from one weight to the next, bits; 0: an operand for each
    overlap : bits of a product that lie on the next one, and are computed again
    summed : the products stay in one number on their way down, and come apart below the last row
    free : it takes hardly more LUTs than a multiplier for each column
    """

    columns: int
    operand: int
    distance: int
    overlap: int = 0
    summed: bool = False
    free: bool = True

    @property
    def lowest(self) -> bool:
        """Whether a weight may be the lowest number of its width."""
        return self.distance == 0


def product_range(activation_bits: int, weight_bits: int) -> int:
    """The greatest magnitude of a product, if no weight is the lowest of its width."""
    return ((1 << weight_bits - 1) - 1) << activation_bits - 1


def packed(columns: int, operand: int, activation_bits: int, weight_bits: int) -> Sharing | None:
    """``columns`` weights, as far apart as an operand of so many bits allows; None if it is not exact."""
    distance = (operand - weight_bits) // (columns - 1)
    overlap = max(0, weight_bits + activation_bits - 1 - distance)
    if distance < weight_bits or overlap > min(distance, MOST_OVERLAP) or activation_bits > operand:
        return None
    return Sharing(columns, operand, distance, overlap, free=overlap == 0)


def sharing(target: Target, columns: int, rows: int, activation_bits: int, weight_bits: int) -> Sharing | None:
    """How ``columns`` of an array, 2 or more, share each multiplier of ``target``; None if they cannot."""
    if target == "ice40" and columns == 2 and max(activation_bits, weight_bits) <= HALF:
        return Sharing(columns, HALF, 0)
    found = [packed(columns, operand, activation_bits, weight_bits) for operand in OPERANDS.get(target, ())]
    possible = [it for it in found if it is not None]
    if not possible:
        return None
    best = min(possible, key=lambda it: it.overlap)  # the first, the smallest multiplier, of those with as little
    if target != "xilinx":
        return best
    # the DSP48 adds by itself what stays in one number; else its adder is lost
    worst = rows * product_range(activation_bits, weight_bits)
    summed = columns * best.distance <= CASCADE and worst < 1 << best.distance - 1
    return Sharing(columns, best.operand, best.distance, best.overlap, summed, free=summed)
