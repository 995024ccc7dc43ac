"""Operators of which a node may become several layers, or have several outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .context import Context
from .extremes import extreme
from .padding import pad
from .pooling import global_max_pool, max_pool, reduce
from .rearranging import Composed, depth_to_space, gather, slice_, space_to_depth, split
from .resizing import resize, upsample
from .spreading import expand, tile

COMPOSED: Mapping[str, Callable[[Context], Composed]] = {
    "DepthToSpace": depth_to_space,
    "Expand": expand,
    "Gather": gather,
    "GlobalMaxPool": global_max_pool,
    "Max": extreme,
    "MaxPool": max_pool,
    "Min": extreme,
    "Pad": pad,
    "ReduceMax": reduce,
    "ReduceMean": reduce,
    "ReduceSum": reduce,
    "Resize": resize,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Tile": tile,
    "Upsample": upsample,
}
"""Each makes layers, and tells the dimensions of the node's outputs."""
