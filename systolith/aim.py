"""What bits are chosen for: a budget, of weights, of feature maps or of both, or a loss."""

from __future__ import annotations

from dataclasses import dataclass

from . import quant
from .quant.posttraining.settings import FEWEST_BITS, MOST_BITS

MOST_LOSS = 100  # points, or dB
LIKELY_BITS = 5  # of maps that are narrowed for a loss


@dataclass(frozen=True)
class Aim:
    """Mean bits, or a loss; what has no budget keeps its bits.

    weights : mean bits of all weights;  maps : mean bits of the elements of all maps that may be narrow
    loss : points of images that keep their class, or dB;  narrow_maps : whether maps are narrowed for it, not weights
    alone
    Raises ConfigurationError unless either a budget or a loss is given, and is possible.
    """

    weights: float | None = None
    maps: float | None = None
    loss: float | None = None
    narrow_maps: bool = False

    def __post_init__(self) -> None:
        if (self.weights is None and self.maps is None) == (self.loss is None):
            raise quant.ConfigurationError("bits are chosen by a budget or by a loss; give one of them")
        if self.narrow_maps and self.loss is None:
            raise quant.ConfigurationError(
                "maps are narrowed for a loss, or for a budget that says their mean bits, as 4.5:6; give one of them"
            )
        for what, bits in (("a budget", self.weights), ("a budget of maps", self.maps)):
            if bits is not None and not FEWEST_BITS <= bits <= MOST_BITS:
                raise quant.ConfigurationError(f"{what} must be {FEWEST_BITS} to {MOST_BITS} bits, not {bits:g}")
        if self.loss is not None and not 0 <= self.loss <= MOST_LOSS:
            raise quant.ConfigurationError(f"a loss must be 0 to {MOST_LOSS}, not {self.loss:g}")

    @property
    def chooses_weights(self) -> bool:
        return self.weights is not None or self.loss is not None

    @property
    def chooses_maps(self) -> bool:
        return self.maps is not None or self.narrow_maps

    @property
    def likely_bits(self) -> int:
        """What many of the maps that it chooses will have."""
        return LIKELY_BITS if self.maps is None else int(self.maps)


def aim_of(budget: float | str | None, loss: float | None, narrow_maps: bool) -> Aim | None:
    """What is asked for, None if nothing is.

    budget : mean bits of weights, or "W", "W:M" or ":M" with M those of maps
    Raises ConfigurationError if it is none of these, or as ``Aim`` does.
    """
    if budget is None and loss is None and not narrow_maps:
        return None
    weights, maps = (None, None) if budget is None else _means(budget)
    return Aim(weights, maps, loss, narrow_maps)


def _means(budget: float | str) -> tuple[float | None, float | None]:
    """Mean bits of weights and of maps, None where none are said."""
    weights, colon, maps = str(budget).partition(":")
    try:
        if not colon:
            return float(weights), None
        return float(weights) if weights else None, float(maps)
    except ValueError:
        raise quant.ConfigurationError(
            f"a budget must be W, W:M or :M, mean bits of weights and of maps, as 4.5, 4.5:6 or :6, not '{budget}'"
        ) from None
