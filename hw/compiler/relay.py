"""Relays: a convolution, the maker, hands its map on chip to the depthwise one behind it, the taker.

Both work on one spatial tile, channel tile by channel tile, the taker one behind the maker: so of the map between them
two planes are there at a time, each a channel tile's rectangle, however many channels it has.  What the rectangles of
two spatial tiles share is made twice.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...quant.graph import Pair
from ..isa.parameters import Parameters
from .cutting import SpatialTile, channel_tiles, source_columns, source_rows, spatial_tile, whole
from .dependencies import makers_of, readers_of
from .engine_layer import EngineLayer
from .geometry import Geometry
from .image import Use
from .kernel_steps import kernel
from .span import size
from .spread import dense

PLANES = 2
"""Of the map between the two: one is written while the other is read."""


def relays(layers: Sequence[EngineLayer], kept: Collection[str], p: Parameters) -> list[int]:
    """Layers, by index, that may hand on their map to the next.  ``kept``: tensors that somebody else reads."""
    readers = readers_of(makers_of(layers))
    return [
        n
        for n, (maker, taker) in enumerate(pairwise(layers))
        if readers[n] == [n + 1] and maker.output not in kept and _fit(maker, taker, p)
    ]


def _fit(maker: EngineLayer, taker: EngineLayer, p: Parameters) -> bool:
    """Whether each channel tile of ``taker`` reads one of ``maker``, and nothing but one layer's tables is needed."""
    if not (maker.on_array and taker.on_array and taker.groups == taker.source[0] == taker.target[0]):
        return False
    if maker.groups > 1 or maker.operand or taker.operand or maker.pool or taker.pool or maker.raw:
        return False
    if maker.geometry.taken.skips or taker.geometry.taken.skips:
        return False
    if maker.tables is not None and taker.tables is not None:
        return False
    if maker.output != taker.input or maker.rearranged or maker.spread != dense(maker.target):
        return False
    if maker.neighbours or maker.target != taker.source or maker.output_at != taker.input_at:
        return False
    made, taken = channel_tiles(maker.geometry, p), channel_tiles(taker.geometry, p)
    if not len(made) == len(taken) == 1:
        return False
    return [(tile.output, tile.channels) for tile in made[0]] == [(tile.input, tile.channels) for tile in taken[0]]


@dataclass(frozen=True)
class Streams:
    """What a relay draws from the weight FIFO for a spatial tile, in three streams.

    begin : the maker's first channel tile;  between : all but two, of maker and taker in turn
    end : the taker's last, which comes behind the next spatial tile's ``begin``
    """

    begin: tuple[Use, ...]
    between: tuple[Use, ...]
    end: tuple[Use, ...]


def streams(maker: EngineLayer, taker: EngineLayer, pieces: Pair, p: Parameters) -> Streams:
    """``pieces``: how often maker and taker need the weights of a channel tile."""
    made, taken = (
        [(((it, tile, whole(it.geometry, p).parts),) * count) for tile in channel_tiles(it.geometry, p)[0]]
        for it, count in zip((maker, taker), pieces, strict=True)
    )
    between = [use for pair in zip(made[1:], taken, strict=False) for uses in pair for use in uses]
    return Streams(made[0], tuple(between), taken[-1])


def pieces_of(g: Geometry, tile: SpatialTile, count: int) -> tuple[SpatialTile, ...]:
    """``tile`` cut into ``count`` pieces of whole rows, which fit the accumulators where it does not."""
    first, rows = tile.rows[0], size(tile.rows)
    cuts = [first + rows * n // count for n in range(count + 1)]
    return tuple(spatial_tile(g, span, tile.columns) for span in pairwise(cuts))


def source_tile(maker: Geometry, taker: Geometry, p: Parameters, tile: SpatialTile) -> SpatialTile:
    """What ``maker`` makes for ``tile`` of ``taker``."""
    k, (part,) = kernel(taker, p), whole(taker, p).parts
    return spatial_tile(maker, source_rows(taker, k, tile, part), source_columns(taker, k, tile, part))
