"""How to quantize, checked as soon as it is said."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ..graph.errors import ConfigurationError

Scales = Literal["float", "pow2"]
Ranges = Literal["minmax", "percentile", "mse"]
SCALES: tuple[Scales, ...] = get_args(Scales)
RANGES: tuple[Ranges, ...] = get_args(Ranges)
PERCENTILE = 0.9999  # share of values inside the range, at each end, that "percentile" keeps


@dataclass(frozen=True)
class Settings:
    """Post-training quantization: kind of scales, widths in bits, and how ranges are chosen.

    Raises ConfigurationError if a value is not one of those that work.
    """

    scales: Scales = "float"
    weight_bits: int = 8
    activation_bits: int = 8
    ranges: Ranges = "mse"

    def __post_init__(self) -> None:
        for what, found, known in (("scales", self.scales, SCALES), ("range", self.ranges, RANGES)):
            if found not in known:
                raise ConfigurationError(f"{what} must be one of {', '.join(known)}, not '{found}'")
        for what, bits in (("weight", self.weight_bits), ("activation", self.activation_bits)):
            if not 2 <= bits <= 16:
                raise ConfigurationError(f"{what} bits must be 2 to 16, not {bits}")

    @property
    def power_of_two(self) -> bool:
        return self.scales == "pow2"
