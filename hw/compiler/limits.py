"""The physical limit of a layer: no array of R x C on this bus can be faster."""

from ..isa.parameters import Parameters
from .engine_layer import EngineLayer
from .packing import packing


def weight_bytes(layer: EngineLayer, parameters: Parameters) -> int:
    """Bytes of the layer's weights, each fetched once, packed as the array takes them.  A pooling has none."""
    if not layer.macs:
        return 0
    bits = parameters.word_bits // packing(layer.geometry, parameters)
    return -(-(layer.own_weights or int(layer.weights.size)) * bits // 8)


def limit_cycles(layer: EngineLayer, parameters: Parameters) -> int:
    """max(MACs / (R x C), weight bytes / bus bytes a cycle), rounded up, in cycles (roofline: Williams et al. 2009)."""
    compute = -(-layer.macs // (parameters.rows * parameters.columns))
    return max(compute, -(-weight_bytes(layer, parameters) // parameters.bus_bytes))
