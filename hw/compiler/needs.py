"""What a network's layers need of an accelerator, and what one lacks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...quant.graph import weight_width
from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import SHIFT_MOST, Parameters
from ..isa.program import Combine
from .engine_layer import EngineLayer
from .formats import ONE
from .widths import has_lowest_weight, needed_sum_bits, needed_total_bits

LACKS = {
    "weight_bits": "has {}-bit weights, the array takes {} bits (generate it with --weight-bits {})",
    "sum_bits": "needs sums of {} bits, the accumulators have {} (generate them with --sum-bits {})",
    "total_bits": "needs {} bits for a sum with its bias, the requantizers have {} (generate with --general)",
    "shift_low": "shifts its scales by {}, the requantizers by {} and more (generate with --general)",
    "shift_high": "shifts its scales by {}, the requantizers by at most {} (generate with --general)",
    "multiplier": "has scales that are not powers of two (generate with multiplier, or quantize with --scales pow2)",
    "operands": "needs an accelerator with operands (generate it with --general)",
    "tables": "needs an accelerator with tables (generate it with --general, at most 8 activation bits and at least 4"
    " columns)",
    "extrema": "takes the larger or the smaller of two maps, which needs an accelerator with extrema (generate it with"
    " --general, at most 8 activation bits and at least 4 columns)",
    "products": "multiplies two maps, which needs an accelerator with products (generate it with --general, at most 8"
    " activation bits)",
    "normalization": "normalizes over {} channels, the accelerator over {} (generate it with --normalization {})",
}
"""By the parameter that is too small (``shift_low``: too great): what is needed, what is there, what would do."""


def _more(name: str, need: int) -> int:
    """Greater where ``need`` asks for more."""
    return -need if name == "shift_low" else need


def layer_needs(layer: EngineLayer, activation_bits: int) -> dict[str, int]:
    """What each parameter of LACKS must be for ``layer``, at least, ``shift_low`` at most; True is more than False."""
    shifts = layer.shifts_in_use
    return {
        "weight_bits": 0 if layer.affine else weight_width(layer.weights),
        "sum_bits": needed_sum_bits(layer, activation_bits),
        "total_bits": needed_total_bits(layer, activation_bits),
        "shift_low": min(shifts, default=SHIFT_MOST),
        "shift_high": max(shifts, default=0),
        "multiplier": not layer.shifts_only,
        "operands": layer.reads_maps,
        "tables": layer.tables is not None,
        "extrema": layer.combine in (Combine.MAXIMUM, Combine.MINIMUM),
        "products": layer.combine == Combine.MULTIPLY,
        "normalization": layer.normalization.size if layer.normalization else 0,
    }


def reads_maps_as_they_are(p: Parameters) -> bool:
    """Whether the accelerator with ``p`` has layers that hand on a map at its own scale."""
    return p.operands and p.shift_low <= ONE[1] <= p.shift_high


def network_needs(layers: Sequence[EngineLayer], activation_bits: int) -> dict[str, int]:
    """As ``layer_needs``, for all ``layers``.

    Raises ConfigurationError if no accelerator's sums are so wide.
    """
    each = [layer_needs(layer, activation_bits) for layer in layers]
    needs = {name: max((layer[name] for layer in each), key=partial(_more, name)) for name in LACKS}
    needs["shift_low"] = min(needs["shift_low"], needs["shift_high"])  # without any scale it is the other way round
    if needs["sum_bits"] > 32:
        raise ConfigurationError(
            f"the sums need {needs['sum_bits']} bits; 32 is the most: use fewer weight or activation bits"
        )
    return needs


def _moves_ties(layer: EngineLayer) -> bool:
    """Whether a zero point, by whose parity ties of products go, has another when it is stored."""
    return layer.combine == Combine.MULTIPLY and layer.format is not None and layer.format.offset % 2 == 1


def check_needs(layers: Sequence[EngineLayer], p: Parameters) -> None:
    """Raise ConfigurationError naming all that the accelerator lacks, and for each the layer that needs most of it."""
    needs = network_needs(layers, p.activation_bits)
    lacks = []
    for name, message in LACKS.items():
        there = getattr(p, name)
        if _more(name, needs[name]) > _more(name, there):
            each = [_more(name, layer_needs(layer, p.activation_bits)[name]) for layer in layers]
            layer = layers[each.index(max(each))]
            lacks.append(f"layer '{layer.name}' {message.format(needs[name], there, needs[name])}")
    if p.sharing and not p.sharing.lowest:
        lowest = next((layer.name for layer in layers if has_lowest_weight(layer, p.weight_bits)), None)
        if lowest is not None:
            lacks.append(
                f"layer '{lowest}' has weights of {-(1 << p.weight_bits - 1)}, which columns that share a multiplier "
                "cannot take (generate with --columns-per-multiplier 1)"
            )
    odd = next((layer.name for layer in layers if _moves_ties(layer)), None)
    if odd is not None:
        lacks.append(
            f"layer '{odd}' makes products whose integers fill all {p.activation_bits} bits from an odd one on, where"
            " ties go the wrong way (requantize its output so that they begin at an even one)"
        )
    if lacks:
        raise ConfigurationError("; ".join(lacks))
