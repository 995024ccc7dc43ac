"""Convolutions that scale each channel by itself become layers of the vector unit, beside the array.

They are what normalizations before a convolution are (pre-activation: He et al. 2016, "Identity Mappings in Deep
Residual Networks"), depthwise and of 1x1: the array would take a pass for one product of each pixel.
"""

from collections.abc import Sequence
from dataclasses import replace

from ...quant.graph import weight_width
from ..isa.parameters import FACTOR_BITS, Parameters
from ..isa.program import Combine
from .cost import AFFINE_GAP
from .cutting import tile_count
from .engine_layer import EngineLayer
from .order import SPARE, array_cycles, vector_cycles
from .tiling import PIECE
from .windows import working_windows

SHOWN = 0.3
"""Of what such a layer takes on the array, what may be left beside it: nothing hides its first rows, nor its last."""

WORTH = 0.01
"""Share of the array's cycles that these layers must take for an accelerator to have what they need."""


def affine(layers: Sequence[EngineLayer], p: Parameters) -> tuple[EngineLayer, ...]:
    """``layers``, those changed so that are faster: what the array's layers meanwhile at work hide costs nothing."""
    able = [replace(it, combine=Combine.AFFINE) if _scales_channels(it) else it for it in layers]
    spare = [SPARE * array_cycles(it, p) - vector_cycles(it, p) if it.on_array else 0.0 for it in able]
    chosen = list(layers)
    for n, (first, _) in enumerate(working_windows(able, set())):
        if able[n].affine:
            shown = _beside(able[n], p)
            for other in range(first, n):
                hidden = min(shown, max(0.0, spare[other]))
                spare[other], shown = spare[other] - hidden, shown - hidden
            if shown < SHOWN * max(array_cycles(layers[n], p), vector_cycles(layers[n], p)):
                chosen[n] = able[n]
    return tuple(chosen)


def affine_pays(layers: Sequence[EngineLayer], p: Parameters) -> bool:
    """Whether what ``affine`` takes from the array is WORTH it."""
    cycles = [array_cycles(layer, p) if layer.on_array else 0 for layer in layers]
    left = sum(one for one, layer in zip(cycles, affine(layers, p), strict=True) if layer.on_array)
    return sum(cycles) - left > WORTH * sum(cycles)


def _beside(layer: EngineLayer, p: Parameters) -> float:
    """Cycles of the vector unit for ``layer`` on its own."""
    tiles, cycles = tile_count(layer.geometry, p), vector_cycles(layer, p)
    return cycles + max(1, cycles / PIECE) * tiles * AFFINE_GAP


def _scales_channels(layer: EngineLayer) -> bool:
    """Each output is a channel times a factor, requantized, and nothing else is done on the way."""
    channels = layer.convolved[0]
    alone = layer.on_array and layer.kernel == (1, 1)
    own = layer.groups == channels == len(layer.weights) > 1 and layer.source[1:] == layer.convolved[1:]
    plain = layer.pool is None and layer.combine == Combine.NONE and not layer.raw
    return alone and own and plain and weight_width(layer.weights) <= FACTOR_BITS
