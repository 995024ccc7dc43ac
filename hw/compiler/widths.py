"""How wide the numbers of a layer are: its sums, with and without their biases, and its lowest weight."""

from __future__ import annotations

import numpy as np

from ..isa.parameters import product_bits
from ..isa.program import Combine
from .engine_layer import EngineLayer


def needed_sum_bits(layer: EngineLayer, bits: int) -> int:
    """Accumulator width that every partial sum of ``layer`` fits, two's complement, in bits."""
    if not layer.weights.size:
        if layer.combine == Combine.MULTIPLY:
            return product_bits(bits)
        elements = layer.pool.kernel[0] * layer.pool.kernel[1] if layer.pool and layer.pool.average else 1
        return max(bits + 2, (elements << bits).bit_length() + 1)
    worst = int(layer.magnitudes.max()) << (bits - 1)
    return worst.bit_length() + 1


def needed_total_bits(layer: EngineLayer, bits: int) -> int:
    """Width that every sum of ``layer`` with its bias fits, two's complement, in bits."""
    if not layer.weights.size:
        return needed_sum_bits(layer, bits)
    worst = (layer.magnitudes << (bits - 1)) + np.abs(layer.bias)
    return min(32, int(worst.max()).bit_length() + 1)  # beyond int32 no network goes


def has_lowest_weight(layer: EngineLayer, weight_bits: int) -> bool:
    """Whether a weight of ``layer`` is the lowest number of ``weight_bits`` bits, two's complement."""
    return layer.on_array and int(layer.weights.min()) <= -(1 << (weight_bits - 1))
