"""How the engine stores feature maps, and how it writes scales down: 24-bit mantissas and shifts."""

from dataclasses import dataclass
from math import frexp

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import FeatureMap
from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import SHIFT_MOST
from ..isa.program import SHIFT_BASE

ONE = (1 << 23, 23 - SHIFT_BASE)
"""Mantissa and shift of scale 1."""


@dataclass(frozen=True)
class Format:
    """How the engine stores a feature map: ``stored = q - offset``, signed; all other numbers are stored ones."""

    offset: int
    zero_point: int
    low: int
    high: int


def storage(tensor: FeatureMap, bits: int) -> Format:
    """How ``tensor`` is stored in ``bits``-bit signed elements.  Raises ConfigurationError if it does not fit."""
    reach = 1 << (bits - 1)
    if tensor.bits > bits:
        raise ConfigurationError(
            f"tensor '{tensor.name}' needs {tensor.bits} bits; generate with at least {tensor.bits} activation bits"
        )
    offset = 0 if -reach <= tensor.low and tensor.high < reach else tensor.low + reach
    if offset % 2 and tensor.high - offset < reach - 1:
        offset -= 1  # even: so a tie goes to the same side, stored or not
    return stored_as(tensor, offset)


def stored_as(tensor: FeatureMap, offset: int) -> Format:
    return Format(offset, tensor.zero_point - offset, tensor.low - offset, tensor.high - offset)


def fixed_scales(scales: NDArray[np.float32], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas (24 bits, leading bit set) and shifts of float32 ``scales``, exactly.

    Raises ConfigurationError for a scale of 16 or more.  A scale so small that any int32 stays 0 becomes 2**-57.
    """
    mantissas, shifts = [], []
    for scale in scales:
        fraction, exponent = frexp(float(scale))
        mantissa, shift = int(fraction * 2**24), 24 - exponent - SHIFT_BASE
        if shift < 0:
            raise ConfigurationError(
                f"layer '{name}': its requantization scale {float(scale):g} is not below 16; "
                "calibrate with data that uses the output's range"
            )
        if shift > SHIFT_MOST:
            mantissa, shift = 1 << 23, SHIFT_MOST
        mantissas.append(mantissa)
        shifts.append(shift)
    return np.array(mantissas, np.int64), np.array(shifts, np.int64)
