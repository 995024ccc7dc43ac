"""A table that is no operator of ONNX: Gather of its reals by the map's integers, which QuantizeLinear rounds.

The integers are indices, so every ONNX Runtime at every level of optimization reads the same entries; a chain of float
operators in their place would be as exact as the libraries that compute it.  Negative integers count from the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from ..arithmetic.tables import on_grid
from ..graph import LOOKUP, FeatureMap, Table
from ..onnx.file import Array, Attributes, refuse

INDEX_TYPES = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def entries(layer: Table, source: FeatureMap, target: FeatureMap) -> NDArray[np.float32]:
    """What ``layer``'s Gather reads: a real for each integer of ``source``, found by the integer, float32."""
    reals = (layer.values - target.zero_point).astype(np.float32) * target.scale
    if source.low >= 0:
        return np.concatenate([np.full(source.low, reals[0], np.float32), reals])
    return np.roll(reals, source.low)


@dataclass(frozen=True, eq=False)
class Lookup:
    """A Gather that was read: ``reals``, one for each integer low..high of its map."""

    name: str
    reals: NDArray[np.float32]

    def table(self, source: FeatureMap, target: FeatureMap) -> Table:
        return Table(self.name, LOOKUP, source.name, target.name, on_grid(self.reals, target))


def is_index(node: onnx.NodeProto) -> bool:
    """Whether what ``node``, a Cast of integers, makes are the same integers, for a Gather to count by."""
    return Attributes(node).integer("to", 0) in INDEX_TYPES


def lookup(node: onnx.NodeProto, name: str, values: Array, source: FeatureMap) -> Lookup:
    """The table that ``node``, a Gather of the constant ``values`` by the integers of ``source``, is."""
    attributes = Attributes(node)
    axis = attributes.integer("axis", 0)
    attributes.finish()
    if values.ndim != 1 or axis not in (0, -1) or values.dtype != np.float32 or not np.isfinite(values).all():
        raise refuse(
            node, f"looks integers up in a constant of {values.dtype}, {values.shape}; one row of finite float32 works"
        )
    if not -len(values) <= source.low <= source.high < len(values):
        raise refuse(node, f"looks up {source.low}..{source.high} in {len(values)} values; each needs its own")
    return Lookup(name, values[np.arange(source.low, source.high + 1)])
