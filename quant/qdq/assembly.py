"""The quantized graph while it is being read: what a QuantizeLinear makes of the layer and the maps before it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx

from ..arithmetic.weightless import copied_bounds, layer_without_weights
from ..graph import (
    Concat,
    Conv,
    DepthToSpace,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Selection,
    Shape,
    Table,
    Tensor,
)
from ..graph.errors import ModelError
from ..networks.layers import (
    INFINITY,
    Concatenation,
    FloatLayer,
    Moving,
)
from ..onnx.file import refuse
from .linear import StoredGrid
from .lookup import Lookup
from .read_layers import clamp_function, rounded


@dataclass(frozen=True, eq=False)
class Pending:
    """A layer over ``sources`` that no Q has ended, its output's shape, and its activation function's bounds and node.

    ``layer`` is None for the model's input, and for a map that went through an activation function only.  ``alone``
    says that such a map has no other reader.
    """

    layer: Conv | FloatLayer | Lookup | None
    sources: tuple[FeatureMap, ...]
    shape: Shape
    low: float = -INFINITY
    high: float = INFINITY
    function: str = ""
    alone: bool = True

    @property
    def clamped(self) -> bool:
        return (self.low, self.high) != (-INFINITY, INFINITY)


class Assembly:
    """Layers by the tensor that they make, and tensors by name, in order."""

    def __init__(self) -> None:
        self.input = ""
        self.layers: dict[str, Layer] = {}
        self.tensors: dict[str, Tensor] = {}

    def add(self, layer: Layer, target: Tensor) -> None:
        self.layers[target.name] = replace(layer, output=target.name)
        self.tensors[target.name] = target

    def graph(self, output: str) -> Graph:
        """What ``output`` depends on."""
        wanted, needed = {self.input, output}, []
        for layer in reversed(self.layers.values()):
            if layer.output in wanted:
                wanted |= set(layer.inputs)
                needed.append(layer)
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in wanted}
        return Graph(self.input, output, tuple(reversed(needed)), tensors)

    def quantized(self, node: onnx.NodeProto, value: Pending, grid: StoredGrid) -> FeatureMap:
        """The map that ``node``, a QuantizeLinear to ``grid``, makes of ``value``."""
        low, high = rounded(value.low, value.high, grid)
        target = FeatureMap(node.output[0], value.shape, grid.scale, grid.zero_point, low, high)
        if value.layer is None and not value.sources:
            self.input = target.name
            self.tensors[target.name] = target
        elif value.layer is None:
            return self._clamped(value, target)
        elif isinstance(value.layer, Conv):
            self.add(value.layer, target)
        elif isinstance(value.layer, Lookup):
            self.add(value.layer.table(value.sources[0], target), target)
        elif isinstance(value.layer, Moving | Concatenation):
            self._kept(node, value, value.layer, grid, target)
        else:
            self.add(layer_without_weights(value.layer, value.sources, target), target)
        return self._map(target.name)

    def moved(self, node: onnx.NodeProto, source: FeatureMap, grid: StoredGrid) -> FeatureMap:
        """The map that ``node``, a QuantizeLinear to ``grid``, makes of ``source`` with no layer between."""
        if not on_grid(source, grid):  # ONNX Runtime drops one of the two grids, whatever the file says
            raise changed_scale(node, source, grid)
        return source

    def _kept(
        self, node: onnx.NodeProto, value: Pending, layer: Moving | Concatenation, grid: StoredGrid, target: FeatureMap
    ) -> None:
        """A layer that moves values as they are; what clamps them is a table of its own."""
        before = value.sources[0]
        if isinstance(layer, Moving) and not on_grid(before, grid):
            raise changed_scale(node, before, grid)
        low, high = copied_bounds(value.sources, grid.scale, grid.zero_point) or (grid.low, grid.high)
        name = layer.output if value.clamped else target.name
        whole = replace(target, name=name, low=low, high=high)
        self.add(layer_without_weights(layer, value.sources, whole), whole)
        if value.clamped:
            function = clamp_function(value.function, value.low, value.high, whole, target.name)
            self.add(layer_without_weights(function, (whole,), target), target)

    def _clamped(self, value: Pending, target: FeatureMap) -> FeatureMap:
        """A map after an activation function: narrowed if it keeps its grid and nobody else reads it, else a table."""
        (source,) = value.sources
        same = (source.scale, source.zero_point) == (target.scale, target.zero_point)
        if same and value.alone and self._can_narrow(source, target):
            return self.narrowed(source, target.name, target.low, target.high)
        function = clamp_function(value.function, value.low, value.high, source, target.name)
        self.add(layer_without_weights(function, (source,), target), target)
        return target

    def _can_narrow(self, source: FeatureMap, target: FeatureMap) -> bool:
        """Whether the layer that makes ``source`` can clamp: one that copies what is outside ``target`` cannot."""
        layer = self.layers.get(source.name)
        if isinstance(layer, Concat):
            parts = [self._map(name) for name in layer.inputs]
            copied = [part for part in parts if copied_bounds([part], target.scale, target.zero_point)]
            return all(target.low <= part.low and part.high <= target.high for part in copied)
        return not isinstance(layer, MaxPool | Selection | DepthToSpace)

    def narrowed(self, before: FeatureMap, name: str, low: int, high: int) -> FeatureMap:
        """``before`` clamped to low..high as well, under a new name; the wider map is forgotten."""
        narrowed = replace(before, name=name, low=max(low, before.low), high=min(high, before.high))
        del self.tensors[before.name]
        if before.name not in self.layers:
            self.input = name
            self.tensors[name] = narrowed
            return narrowed
        layer = self.layers.pop(before.name)
        if isinstance(layer, Table):
            layer = replace(layer, values=layer.values.clip(narrowed.low, narrowed.high))
        self.add(layer, narrowed)
        return narrowed

    def _map(self, name: str) -> FeatureMap:
        tensor = self.tensors[name]
        assert isinstance(tensor, FeatureMap)
        return tensor


def changed_scale(node: onnx.NodeProto, source: FeatureMap, grid: StoredGrid) -> ModelError:
    """The error for a QuantizeLinear that has another grid than ``source``, and no layer that computes between."""
    return refuse(
        node,
        f"changes the scale from {source.scale:g} to {grid.scale:g} (zero point {source.zero_point} to"
        f" {grid.zero_point}) with no convolution between; only the same scale works",
    )


def on_grid(source: FeatureMap, grid: StoredGrid) -> bool:
    """Whether ``source`` has the scale and the zero point of ``grid``."""
    return (source.scale, source.zero_point) == (grid.scale, grid.zero_point)
