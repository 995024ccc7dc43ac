"""What a network's layers need of an accelerator, and what one lacks."""

from __future__ import annotations

from collections.abc import Sequence

from ...quant.graph import weight_width
from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import Parameters
from .engine_layer import EngineLayer
from .lowering import has_lowest_weight, needed_sum_bits

LACKS = {
    "weight_bits": "has {}-bit weights, the array takes {} bits (generate it with --weight-bits {})",
    "sum_bits": "needs sums of {} bits, the accumulators have {} (generate them with --sum-bits {})",
    "multiplier": "has scales that are not powers of two (generate with multiplier, or quantize with --scales pow2)",
    "operands": "needs an accelerator with operands (generate it with --general)",
    "tables": "needs an accelerator with tables (generate it with --general, at most 8 activation bits and at least 4"
    " columns)",
    "normalization": "normalizes over {} channels, the accelerator over {} (generate it with --normalization {})",
}
"""By the parameter that is too small: what is needed, what is there, what would do."""


def layer_needs(layer: EngineLayer, activation_bits: int) -> dict[str, int]:
    """The least that each parameter of LACKS must be for ``layer``; True is more than False."""
    return {
        "weight_bits": weight_width(layer.weights),
        "sum_bits": needed_sum_bits(layer, activation_bits),
        "multiplier": not layer.shifts_only,
        "operands": layer.reads_maps,
        "tables": layer.tables is not None,
        "normalization": layer.normalization.size if layer.normalization else 0,
    }


def network_needs(layers: Sequence[EngineLayer], activation_bits: int) -> dict[str, int]:
    """The least that each parameter of LACKS must be for all ``layers``.

    Raises ConfigurationError if no accelerator's sums are so wide.
    """
    each = [layer_needs(layer, activation_bits) for layer in layers]
    needs = {name: max(layer[name] for layer in each) for name in LACKS}
    if needs["sum_bits"] > 32:
        raise ConfigurationError(
            f"the sums need {needs['sum_bits']} bits; 32 is the most: use fewer weight or activation bits"
        )
    return needs


def check_needs(layers: Sequence[EngineLayer], p: Parameters) -> None:
    """Raise ConfigurationError naming all that the accelerator lacks, and for each the layer that needs most of it."""
    needs = network_needs(layers, p.activation_bits)
    lacks = []
    for name, message in LACKS.items():
        there = getattr(p, name)
        if needs[name] > there:
            layer = max(layers, key=lambda it, name=name: layer_needs(it, p.activation_bits)[name])  # type: ignore[misc]
            lacks.append(f"layer '{layer.name}' {message.format(needs[name], there, needs[name])}")
    lowest = next((layer.name for layer in layers if p.paired and has_lowest_weight(layer, p.weight_bits)), None)
    if lowest is not None:
        lacks.append(
            f"layer '{lowest}' has weights of {-(1 << p.weight_bits - 1)}, which paired columns cannot take (generate "
            "without --paired)"
        )
    if lacks:
        raise ConfigurationError("; ".join(lacks))
