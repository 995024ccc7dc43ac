"""How the vector unit is set up for a layer, and the rectangles of its result that one setting serves."""

from collections.abc import Iterator, Sequence

from ...quant.graph import Pair
from ..isa.parameters import Parameters
from ..isa.program import AFFINE_ROWS, SHIFT_BASE, Combine
from .cutting import ChannelTile, SpatialTile, spatial_tile
from .engine_layer import EngineLayer, Pool
from .sliding import slides


def rectangles(layer: EngineLayer, tile: SpatialTile) -> Iterator[tuple[SpatialTile, Pair]]:
    """``tile``, cut where the number of elements that a window counts changes, and the scale of each piece."""
    pool = layer.pool
    if pool is None or pool.average is None:
        yield tile, layer.scale
        return
    for rows, high in pool.runs(0, tile.rows, layer.source[1]):
        for columns, wide in pool.runs(1, tile.columns, layer.source[2]):
            yield spatial_tile(layer.geometry, rows, columns), pool.scales[high * wide]


def settings(
    it: EngineLayer,
    p: Parameters,
    group: Sequence[ChannelTile],
    scale: Pair,
    depth: int,
    pixel: int,
    operand_pixel: int,
) -> dict[str, int]:
    """Fields of SETUP for ``group``'s channel tiles of layer ``it``, but for its tables.

    scale : mantissa and shift of a map's windows;  depth : channels in a pixel of the source on chip
    pixel, operand_pixel : elements from pixel to pixel of the result, and of the map that is added
    """
    pool = it.pool or Pool((1, 1), (1, 1), (0, 0, 0, 0))
    each = p.sum_elements if it.raw else 1
    fields = {
        "from_map": not it.on_array,
        "total": pool.average is not None,
        "raw": it.raw,
        "combine": it.combine,
        "window_rows": pool.kernel[0] - 1,
        "window_columns": pool.kernel[1] - 1,
        "stride_rows": pool.strides[0],
        "stride_columns": pool.strides[1],
        "source_column_step": pool.strides[1] * (1 if it.on_array else depth),
        "window_column_step": 1 if it.on_array else depth,
        "column_step": pixel,
        "tile_step": group[0].channels * each,
    }
    if not it.on_array:
        fields |= {"mantissa": scale[0], "shift": scale[1], "source_zero": it.source_zero}
        fields["source_tile_step"] = group[1].input - group[0].input if len(group) > 1 else 0
    if slides(it.geometry, p):
        fields["slides"] = 1
    if it.format is not None:
        fields |= {n: getattr(it.format, n) for n in ("zero_point", "low", "high")}
    if it.combine == Combine.MULTIPLY:
        fields["operand_zero"] = it.operand_zero
    elif it.affine:
        fields["operand_tile_step"] = AFFINE_ROWS * p.columns
    elif it.combine != Combine.NONE:
        fields |= {"final_low": it.final[0], "final_high": it.final[1]}
    if it.operand:
        fields |= {"operand_column_step": 0 if it.one_pixel else operand_pixel, "operand_tile_step": group[0].channels}
    if (layer := it.normalization) is not None:
        before = (layer.size - 1) // 2
        fields |= {
            "normalize": 1,
            "size": layer.size - 1,
            "before": before,
            "drop": layer.shift,
            "shift": layer.exponent - SHIFT_BASE,
            "depth": it.target[0] + before,
            "source_tile_step": p.columns - layer.size + 1,
        }
    return fields
