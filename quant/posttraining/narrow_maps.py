"""A quantized network with the maps on one grid narrower, all others, and all weights, as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..graph import Conv, FeatureMap, Graph
from ..graph.errors import ModelError
from ..graph.progress import Counting
from ..networks.layers import Convolution, FloatGraph
from .assembly import assembled
from .grids import grids, groups, shared_grid
from .histogram import Histogram
from .products import with_factors
from .settings import Settings
from .weights import QuantizedWeights
from .widths import inner_maps, map_bits


def narrow_maps(
    network: FloatGraph,
    graph: Graph,
    histograms: Mapping[str, Histogram],
    choices: Mapping[str, Sequence[int]],
    settings: Settings,
    progress: Counting,
) -> Iterator[tuple[str, int, Graph]]:
    """(layer, bits, ``graph`` with the map that this layer writes, and all on its grid, at so many bits), in turns.

    network, graph : simplified, and what ``build`` made of it with ``settings`` and ``histograms``
    choices : bits to try, by the layer that ``inner_maps`` names;  progress : of (grids done, grids in all)
    A width whose coarser grid the network does not bear, as a tangent next to its pole, is left out.
    """
    group = groups(network)
    bits = map_bits(network, group, settings)
    grid = grids(network, histograms, group, bits, settings)
    inner = inner_maps(network, group)
    known = {layer.name: layer for layer in graph.layers if isinstance(layer, Conv)}

    def integers(layer: Convolution, source: FeatureMap) -> QuantizedWeights:
        """Those that ``graph`` has; a bias counts in steps of what is read."""
        made = known[layer.name]
        steps = np.float64(graph.map_of(made.input).scale) / np.float64(source.scale)
        return QuantizedWeights(made.weights, made.weight_scales, np.rint(made.bias * steps).astype(np.int64))

    for number, (layer, wanted) in enumerate(choices.items()):
        names = inner[layer]
        for width in wanted:
            narrow = bits | dict.fromkeys(names, width)
            own = shared_grid(network, histograms, names, width, settings)
            moved = with_factors(network, grid | dict.fromkeys(names, own), group, narrow)
            try:
                narrowed = assembled(network, moved, narrow, integers)
            except ModelError:
                continue
            yield layer, width, narrowed
        progress(number + 1, len(choices))
