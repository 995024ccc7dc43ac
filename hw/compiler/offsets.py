"""Layers whose maps are stored with another offset: the integers are the same, what lies in memory is less by it."""

from dataclasses import replace

import numpy as np

from ..isa.program import TABLE_FRACTION, Combine
from .engine_layer import EngineLayer
from .formats import Format

EXTREMA = (Combine.MAXIMUM, Combine.MINIMUM)


def results_less(layer: EngineLayer, offset: int) -> EngineLayer:
    """``layer`` with stored results that are less by ``offset``."""
    if offset == 0 or layer.format is None:
        return layer
    if layer.tables is not None and layer.combine != Combine.NONE:
        tables = layer.tables.copy()
        for table in (tables[:256], tables[256:]) if layer.combine in EXTREMA else (tables[:256],):
            table -= offset << TABLE_FRACTION
        return replace(layer, tables=tables, final=(layer.final[0] - offset, layer.final[1] - offset))
    form = layer.format
    moved = Format(form.offset + offset, form.zero_point - offset, form.low - offset, form.high - offset)
    return replace(layer, format=moved)


def source_less(layer: EngineLayer, offset: int) -> EngineLayer:
    """``layer`` for an input whose stored elements are less by ``offset``."""
    if not layer.on_array:
        return replace(layer, source_zero=layer.source_zero - offset)
    bias = layer.bias + offset * layer.weights.astype(np.int64).sum(axis=(1, 2, 3))
    return replace(layer, bias=bias, padding=layer.padding - offset)


def rounds_alike(layer: EngineLayer, offset: int) -> bool:
    """Whether ties go where they went once results are less by ``offset``: tables and products round what is stored."""
    return offset % 2 == 0 or layer.combine == Combine.NONE
