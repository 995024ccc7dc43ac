"""What ``make bench-bits`` compares at: widths, equal for all quantizers, and what each may cost."""

from __future__ import annotations

from dataclasses import dataclass

ENDS = 8
"""Bits of the first and the last layer, of their weights and of what they read, where they are kept wide."""


@dataclass(frozen=True)
class Setting:
    """Widths in bits, and the points of accuracy that they may cost.

    wide_ends : the weights of the first and the last layer, and what these read, have ENDS bits
    """

    name: str
    weights: int
    activations: int
    wide_ends: bool
    points: float

    def weights_of(self, end: bool) -> int:
        """Bits of the weights of a layer that is at an ``end``, or of another."""
        return ENDS if end and self.wide_ends else self.weights

    def activations_of(self, end: bool) -> int:
        """Bits of what a layer that is at an ``end``, or another, reads."""
        return ENDS if end and self.wide_ends else self.activations


SETTINGS = (
    Setting("8", 8, 8, False, 0.3),
    Setting("6-bit weights", 6, 8, False, 0.5),
    Setting("4-bit weights, ends 8", 4, 8, True, 1.0),
    Setting("4-bit weights", 4, 8, False, 2.5),
    Setting("4-bit weights and activations, ends 8", 4, 4, True, 3.0),
)
