"""How to quantize, checked as soon as it is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from ..graph.errors import ConfigurationError

Scales = Literal["float", "pow2"]
Ranges = Literal["minmax", "percentile", "mse"]
Effort = Literal["fast", "default", "best"]
SCALES: tuple[Scales, ...] = get_args(Scales)
RANGES: tuple[Ranges, ...] = get_args(Ranges)
EFFORTS: tuple[Effort, ...] = get_args(Effort)
FEWEST_BITS, MOST_BITS = 2, 16
PERCENTILE = 0.9999  # share of values inside the range, at each end, that "percentile" keeps


@dataclass(frozen=True)
class Settings:
    """Post-training quantization: kind of scales, widths in bits, and how ranges and integers are chosen.

    bits : "WEIGHTS" or "WEIGHTS:ACTIVATIONS" of the layers whose names match a pattern (``fnmatch``'s ``*``, ``?`` and
    ``[...]``), the last one that does; ACTIVATIONS are the bits of what the layer reads
    effort : "fast" rounds each weight to the nearest integer, "default" learns the rounding of weights of at
    most 8 bits, "best" tries more;  seed : of the samples that rounding is learned from
    maps : bits of the map that a layer writes, by the layer's name, and of all maps on its grid, where ``bits`` says
    none
    Raises ConfigurationError if a value is not one of those that work.
    """

    scales: Scales = "float"
    weight_bits: int = 8
    activation_bits: int = 8
    ranges: Ranges = "mse"
    bits: Mapping[str, str] = field(default_factory=dict)
    effort: Effort = "fast"
    seed: int = 0
    maps: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kinds = ("scales", self.scales, SCALES), ("range", self.ranges, RANGES), ("effort", self.effort, EFFORTS)
        for what, found, known in kinds:
            if found not in known:
                raise ConfigurationError(f"{what} must be one of {', '.join(known)}, not '{found}'")
        for what, bits in (("weight", self.weight_bits), ("activation", self.activation_bits)):
            check_bits(f"{what} bits", bits)
        for pattern, said in self.bits.items():
            said_bits(pattern, said)
        for layer, bits in self.maps.items():
            check_bits(f"bits of the map of '{layer}'", bits)

    @property
    def power_of_two(self) -> bool:
        return self.scales == "pow2"

    def of(self, weight_bits: int) -> Settings:
        """These settings for a layer of ``weight_bits``."""
        return self if weight_bits == self.weight_bits else replace(self, weight_bits=weight_bits)

    def wide(self) -> Settings:
        """These settings, no weight narrower than 8 bits, each rounded to the nearest: what ranges are chosen by."""
        wide = {}
        for pattern, said in self.bits.items():
            weights, activations = said_bits(pattern, said)
            wide[pattern] = f"{max(weights, 8)}" + (f":{activations}" if activations else "")
        return replace(self, weight_bits=max(self.weight_bits, 8), bits=wide, effort="fast")


def said_bits(pattern: str, said: str) -> tuple[int, int | None]:
    """(weight bits, activation bits or None) of "WEIGHTS" or "WEIGHTS:ACTIVATIONS", as said of ``pattern``.

    Raises ConfigurationError if it is neither, or no width that works.
    """
    weights, colon, activations = said.partition(":")
    if not weights.isdecimal() or (colon and not activations.isdecimal()):
        raise ConfigurationError(
            f"bits of '{pattern}' must be WEIGHTS or WEIGHTS:ACTIVATIONS, as 4 or 4:8, not '{said}'"
        )
    check_bits(f"weight bits of '{pattern}'", int(weights))
    if colon:
        check_bits(f"activation bits of '{pattern}'", int(activations))
    return int(weights), int(activations) if colon else None


def check_bits(what: str, bits: int) -> None:
    """Raises ConfigurationError unless ``bits`` is a width that weights and activations may have."""
    if not FEWEST_BITS <= bits <= MOST_BITS:
        raise ConfigurationError(f"{what} must be {FEWEST_BITS} to {MOST_BITS}, not {bits}")
