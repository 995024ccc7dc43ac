"""Grids of products: each is moved by a unit in the last place until hardware has a factor that gives QLinearMul."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import FeatureMap, product_factor
from ..graph.legality import TABLE_BITS
from ..networks.layers import FloatGraph, Product
from .range_search import Grid

ATTEMPTS = 64
"""Of about a hundred scales one needs another; what needs more than so many has none."""


def with_factors(
    network: FloatGraph, grids: Mapping[str, Grid], group: Mapping[str, str], bits: Mapping[str, int]
) -> dict[str, Grid]:
    """``grids`` by tensor, those of products moved, with all that share them, as little as makes a factor possible.

    group : the tensor that stands for all that share one grid;  bits : of each tensor
    """
    found = dict(grids)
    products = [layer for layer in network.layers if isinstance(layer, Product) and _narrow(layer, bits)]
    for _ in range(ATTEMPTS):
        without = [layer for layer in products if not _has_factor(layer, found, bits)]
        for layer in without:
            scale, zero_point = found[layer.output]
            grid = np.nextafter(scale, np.float32(np.inf)), zero_point
            found |= {name: grid for name in found if group[name] == group[layer.output]}
        if not without:
            break
    return found


def _narrow(layer: Product, bits: Mapping[str, int]) -> bool:
    """Whether products take its maps at all; the graph's check refuses it if not."""
    return max(bits[name] for name in (*layer.inputs, layer.output)) <= TABLE_BITS


def _has_factor(layer: Product, grids: Mapping[str, Grid], bits: Mapping[str, int]) -> bool:
    a, b, target = (
        FeatureMap(name, (1, 1, 1), *grids[name], 0, 2 ** bits[name] - 1) for name in (*layer.inputs, layer.output)
    )
    return product_factor(a, b, target) is not None
