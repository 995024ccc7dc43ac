"""Grids of products: each is moved by a unit in the last place until hardware has a factor that gives QLinearMul."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import FeatureMap, product_factor
from ..graph.legality import TABLE_BITS
from ..networks.layers import FloatGraph, Product
from .range_search import Grid
from .settings import Settings

ATTEMPTS = 64
"""Of about a hundred scales one needs another; what needs more than so many has none."""


def with_factors(
    network: FloatGraph, grids: Mapping[str, Grid], group: Mapping[str, str], settings: Settings
) -> dict[str, Grid]:
    """``grids`` by tensor, those of products moved, with all that share them, as little as makes a factor possible.

    group : the tensor that stands for all that share one grid
    """
    found = dict(grids)
    if settings.activation_bits > TABLE_BITS:
        return found  # which products do not take: the graph's check says so
    products = [layer for layer in network.layers if isinstance(layer, Product)]
    for _ in range(ATTEMPTS):
        without = [layer for layer in products if not _has_factor(layer, found, settings)]
        for layer in without:
            scale, zero_point = found[layer.output]
            grid = np.nextafter(scale, np.float32(np.inf)), zero_point
            found |= {name: grid for name in found if group[name] == group[layer.output]}
        if not without:
            break
    return found


def _has_factor(layer: Product, grids: Mapping[str, Grid], settings: Settings) -> bool:
    a, b, target = (
        FeatureMap(name, (1, 1, 1), *grids[name], 0, 2**settings.activation_bits - 1)
        for name in (*layer.inputs, layer.output)
    )
    return product_factor(a, b, target) is not None
