"""Layers without weights, from their float form and the maps around them to their quantized form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

import numpy as np

from ..graph import (
    LOOKUP,
    Add,
    AveragePool,
    Concat,
    DepthToSpace,
    Extremum,
    FeatureMap,
    Layer,
    MaxPool,
    Multiply,
    Selection,
    Table,
)
from ..networks.functions import stored
from ..networks.layers import (
    Addition,
    Average,
    Concatenation,
    Convolution,
    Extreme,
    FloatLayer,
    Function,
    LocalResponse,
    PixelShuffle,
    Pooling,
    Product,
    Slicing,
    simple,
)
from .normalization import normalization
from .tables import table


def copied_bounds(sources: Sequence[FeatureMap], scale: np.float32, zero_point: int) -> tuple[int, int] | None:
    """Bounds of a concatenation that only copies, because all its ``sources`` are on its grid; None if some are not."""
    if any((source.scale, source.zero_point) != (scale, zero_point) for source in sources):
        return None
    return min(source.low for source in sources), max(source.high for source in sources)


def layer_without_weights(layer: FloatLayer, sources: tuple[FeatureMap, ...], target: FeatureMap) -> Layer:
    """The quantized form of a simplified float ``layer`` that has no weights, from ``sources`` to ``target``."""
    layer = simple(layer)
    names = layer.name, sources[0].name, target.name
    of_two = layer.name, (sources[0].name, sources[-1].name), target.name
    match layer:
        case Pooling():
            return MaxPool(*names, layer.kernel, layer.strides, layer.pads)
        case Average():
            return AveragePool(*names, layer.kernel, layer.strides, layer.pads, layer.include_pad, layer.ceil)
        case Product():
            return Multiply(*of_two)
        case Extreme():
            return Extremum(*of_two, "Min" if layer.operator == "Min" else "Max")
        case Addition():
            return Add(*of_two, "Sub" if layer.operator == "Sub" else "Add")
        case Concatenation():
            return Concat(layer.name, tuple(source.name for source in sources), target.name, layer.axis)
        case Slicing():
            return Selection(*names, layer.channels, layer.rows, layer.columns)
        case PixelShuffle():
            return DepthToSpace(*names, layer.block)
        case Function():
            function = replace(layer, attributes=stored(layer.attributes))
            values = table(function, sources[0], target)
            operator = LOOKUP if layer.steps else layer.operator
            return Table(layer.name, operator, sources[0].name, target.name, values, function.attributes)
        case LocalResponse():
            parameters = layer.size, layer.alpha, layer.beta, layer.bias
            return normalization(layer.name, sources[0], target, *parameters)
        case Convolution():
            raise TypeError(f"'{layer.name}' has weights; only layers that have none are made here")
        case unknown:
            assert_never(unknown)
