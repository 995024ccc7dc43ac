"""Operators of which a node may become several layers, or have several outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .context import Context
from .rearranging import Composed, depth_to_space, gather, slice_, space_to_depth, split
from .resizing import resize, upsample

COMPOSED: Mapping[str, Callable[[Context], Composed]] = {
    "DepthToSpace": depth_to_space,
    "Gather": gather,
    "Resize": resize,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Upsample": upsample,
}
"""Each makes layers, and tells the dimensions of the node's outputs."""
