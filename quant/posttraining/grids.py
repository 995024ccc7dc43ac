"""Which tensors share a grid, and the scale and zero point of each: from the histograms of a float network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

from ..networks.layers import (
    Clamped,
    Concatenation,
    FloatGraph,
    Moving,
    PixelShuffle,
    Pooling,
    Slicing,
    simple,
)
from .histogram import Histogram, merged
from .products import with_factors
from .range_search import Grid, choose_grid
from .settings import Settings


def grids(
    network: FloatGraph,
    histograms: Mapping[str, Histogram],
    group: Mapping[str, str],
    bits: Mapping[str, int],
    settings: Settings,
) -> dict[str, Grid]:
    """Scale and zero point of every tensor of a simplified ``network`` that is a map, by name.

    group : as ``groups`` finds it;  bits : of each map
    Tensors of one group share theirs, and it suits the values that leave the group: what a max pooling does not let
    through, or lies before a concatenation, is not looked at.
    """
    found: dict[str, Grid] = {}
    for names in members(group).values():
        found |= dict.fromkeys(names, shared_grid(network, histograms, names, bits[names[0]], settings))
    return with_factors(network, found, group, bits)


def shared_grid(
    network: FloatGraph, histograms: Mapping[str, Histogram], names: Sequence[str], bits: int, settings: Settings
) -> Grid:
    """Scale and zero point of the maps ``names``, all that share one grid, for integers of ``bits``."""
    readers = network.readers()
    leaving = [
        name for name in names if name in network.outputs or any(reader.output not in names for reader in readers[name])
    ]
    return choose_grid(merged([histograms[name] for name in leaving]), bits, settings)


def members(group: Mapping[str, str]) -> dict[str, list[str]]:
    """The tensors that share a grid, by the one that stands for them."""
    found: dict[str, list[str]] = {}
    for name, root in group.items():
        found.setdefault(root, []).append(name)
    return found


def groups(network: FloatGraph) -> dict[str, str]:
    """The tensor that stands for each tensor's group.

    What moves values keeps its input's grid.  A concatenation copies, instead of rescaling, what has its output's
    grid: so every map that nobody else reads takes that grid, as far back as poolings and concatenations keep it.  So
    does another concatenation, whoever reads it: in a dense block each map would else be rounded at every layer.  And
    so does what is joined again and again, whoever reads it: it is then in memory once, as a part of the largest.
    """
    stands_for = {name: name for name in (*network.inputs, *(layer.output for layer in network.layers))}

    def root(name: str) -> str:
        while stands_for[name] != name:
            name = stands_for[name]
        return name

    producers, private, again = network.producers(), network.private(), _joined_again(network)

    def follows(name: str) -> bool:
        """Whether the grid of ``name`` is nobody else's concern, or that of other concatenations only."""
        if name not in producers:
            return False
        layer = simple(producers[name])
        match layer:
            case Concatenation():
                return True
            case Clamped():
                return name in private
            case Pooling() | Slicing() | PixelShuffle():
                return name in private and all(follows(source) for source in layer.inputs)
            case unknown:
                assert_never(unknown)

    def shared(name: str) -> bool:
        """Whether ``name``, which is joined again and again, takes the grid of what it is joined to."""
        layer = simple(producers[name]) if name in producers else None
        return isinstance(layer, Clamped) or (layer is not None and all(map(follows, layer.inputs)))

    for layer in network.layers:
        for name in layer.inputs:
            joined = isinstance(layer, Concatenation) and (
                follows(name) or (name in again[layer.output] and shared(name))
            )
            if isinstance(layer, Moving) or joined:
                stands_for[root(name)] = root(layer.output)
    return {name: root(name) for name in stands_for}


def _joined_again(network: FloatGraph) -> dict[str, set[str]]:
    """For each concatenation, those of its inputs that stand beside the same maps in a smaller or larger one too.

    A larger one names the smaller one, Concat(Concat(a, b), c), or all that it joins, Concat(a, b, c).
    """
    joins = [layer for layer in network.layers if isinstance(layer, Concatenation)]
    again: dict[str, set[str]] = {layer.output: set() for layer in joins}
    for small in joins:
        for large in joins:
            if small.output in large.inputs:
                again[small.output] |= set(small.inputs)
            elif set(small.inputs) < set(large.inputs) and len(set(small.inputs)) > 1:
                again[small.output] |= set(small.inputs)
                again[large.output] |= set(small.inputs)
    return again
