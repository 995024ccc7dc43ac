"""The quantized graph while it is being read: what a QuantizeLinear makes of the layer and the maps before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from ..arithmetic.weightless import copied_bounds, layer_without_weights
from ..graph import (
    Concat,
    DepthToSpace,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Selection,
    Table,
    Tensor,
)
from ..graph.layers import output_shape
from ..networks.layers import INFINITY, Concatenation, FloatLayer, Function, Padding
from ..onnx.file import refuse
from .linear import StoredGrid
from .lookup import Lookup
from .read_layers import clamp_function, rounded
from .reals import Reals, Weighted, by_channel, finished, handed_out, maps_of
from .residual import moved_to, side_by_side, tap, with_residual


class Assembly:
    """Layers by the tensor that they make, and tensors by name, in order."""

    def __init__(self) -> None:
        self.inputs: dict[str, str] = {}  # of the model: the map that each is quantized to
        self.layers: dict[str, Layer] = {}
        self.names: set[str] = set()  # of layers
        self.tensors: dict[str, Tensor] = {}

    def add(self, layer: Layer, target: Tensor) -> None:
        """Add ``layer``, which makes ``target``; what ends in several grids is computed for each, under a new name."""
        name = layer.name if layer.name not in self.names else f"{layer.name}_{target.name}"
        self.names.add(name)
        self.layers[target.name] = replace(layer, name=name, output=target.name)
        self.tensors[target.name] = target

    def made_of(self, layer: Layer, target: FeatureMap) -> FeatureMap:
        """``target``, which ``layer`` makes."""
        target = replace(target, name=self._fresh(target.name))
        self.add(layer, target)
        return target

    def graph(self, outputs: tuple[str, ...]) -> Graph:
        """What ``outputs`` depend on."""
        wanted, needed = {*self.inputs.values(), *outputs}, []
        for layer in reversed(self.layers.values()):
            if layer.output in wanted:
                wanted |= set(layer.inputs)
                needed.append(layer)
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in wanted}
        return Graph(tuple(self.inputs.values()), outputs, tuple(reversed(needed)), tensors)

    def quantized(self, node: onnx.NodeProto, value: Reals, grid: StoredGrid, name: str = "") -> FeatureMap:
        """The map that ``node`` makes of ``value`` on ``grid``, called ``name`` or as its output."""
        name = name or node.output[0]
        first = self._fresh(value.moves[0].inputs[0]) if value.moves else name
        low, high = rounded(value.low, value.high, grid)
        made = self._computed(node, value, grid, FeatureMap(first, value.shape, grid.scale, grid.zero_point, low, high))
        for index, move in enumerate(value.moves, start=1):
            target = name if index == len(value.moves) else self._fresh(move.output)
            made = self._moved(move, made, target)
        return made

    def settled(self, node: onnx.NodeProto, value: Reals, name: str) -> FeatureMap:
        """The map of ``value``, reals called ``name`` that ``node`` reads although no QuantizeLinear ended them.

        It has the grid of the maps it is made of, if those have one and nothing is computed between.
        """
        if value.map is not None:
            return value.map
        if value.layer is None and not value.sources:
            raise refuse(
                node,
                f"reads the input '{name}' before a QuantizeLinear; leave what is before the first one to the host"
                " (onnx.utils.extract_model), or quantize the model first",
            )
        grid = _common_grid(value)
        if grid is None:
            place = "after" if name in node.output else "before"
            raise refuse(
                node,
                f"{'makes' if place == 'after' else 'reads'} '{name}', which is not quantized; it needs QuantizeLinear"
                f" and DequantizeLinear {place}",
            )
        if not all(_on_steps(bound, grid) for bound in (value.low, value.high)):
            raise refuse(
                node,
                f"reads '{name}', clipped to {value.low:g}..{value.high:g} but not quantized, and a bound is no"
                f" multiple of its scale {grid.scale:g}; it needs QuantizeLinear and DequantizeLinear before",
            )
        return self.quantized(node, value, grid, self._fresh(name))

    def with_map(self, value: Reals, other: FeatureMap, name: str) -> Reals | None:
        """A convolution plus a map, reals called ``name``, as one convolution over both; None if they cannot be."""
        layer, (source,) = value.layer, maps_of(value)
        assert isinstance(layer, Weighted)
        place = tap(layer.conv, source, other)
        if place is None:
            return None
        near = other
        if not on_grid(other, source):
            near = self.made_of(*moved_to(other, source, f"{name}_moved"))
        both = self.made_of(*side_by_side(source, near, f"{name}_joined"))
        return Reals(with_residual(layer, source, other, place, both.name), (both,), value.shape)

    def _computed(self, node: onnx.NodeProto, value: Reals, grid: StoredGrid, target: FeatureMap) -> FeatureMap:
        """``target``, what the layer of ``value`` makes before it is moved."""
        layer = value.layer
        if layer is None and not value.sources:
            if made := self.inputs[value.name]:
                raise refuse(node, f"quantizes the input again, after '{made}'; one grid for it works")
            self.inputs[value.name] = target.name
            self.tensors[target.name] = target
        elif layer is None:
            return self._changed(value, target)
        elif isinstance(layer, Weighted):
            (source,) = maps_of(value)
            self.add(finished(layer, source, target), target)
        elif isinstance(layer, Padding):
            (source,) = maps_of(value)
            copying = by_channel(layer, source)
            self.add(finished(replace(copying, conv=replace(copying.conv, pads=layer.pads)), source, target), target)
        elif isinstance(layer, Lookup):
            (source,) = maps_of(value)
            self.add(layer.table(source, target), target)
        elif isinstance(layer, Concatenation):
            self._joined(node, value, layer, grid, target)
        else:
            self.add(layer_without_weights(layer, maps_of(value), target), target)
        return self._map(target.name)

    def sums(self, value: Reals, name: str) -> None:
        """The last layer, ``value``, has no Q: it hands out its sums, called ``name``."""
        (source,) = maps_of(value)
        assert isinstance(value.layer, Weighted)
        self.add(*handed_out(value.layer, source, name, value.shape))

    def _joined(
        self, node: onnx.NodeProto, value: Reals, layer: Concatenation, grid: StoredGrid, target: FeatureMap
    ) -> None:
        """A concatenation: a Q of it is one of each part.  What clamps it is a table of its own."""
        maps = tuple(self._part(node, part, grid, name) for part, name in zip(value.sources, layer.inputs, strict=True))
        low, high = copied_bounds(maps, grid.scale, grid.zero_point) or (grid.low, grid.high)
        name = layer.output if value.clamped else target.name
        whole = replace(target, name=name, low=low, high=high)
        self.add(layer_without_weights(layer, maps, whole), whole)
        if value.clamped:
            self._table(clamp_function(value.function, value.low, value.high, whole, target.name), whole, target)

    def _part(self, node: onnx.NodeProto, part: Reals | FeatureMap, grid: StoredGrid, name: str) -> FeatureMap:
        if isinstance(part, FeatureMap):
            return part
        return part.map or self.quantized(node, part, grid, self._fresh(name))

    def _changed(self, value: Reals, target: FeatureMap) -> FeatureMap:
        """A map on another grid or clamped: as it is, narrowed if nobody else reads it, else through a table."""
        (source,) = maps_of(value)
        if on_grid(source, target):
            if not value.clamped:
                return source
            if value.alone and self._can_narrow(source, target):
                return self.narrowed(source, target.name, target.low, target.high)
        if value.clamped:
            function = clamp_function(value.function, value.low, value.high, source, target.name)
        else:  # y = x, under a name that ONNX Runtime does not optimize away together with one of the two grids
            function = Function(f"{target.name}_rescale", "LeakyRelu", (source.name,), target.name, {"alpha": 1.0})
        self._table(function, source, target)
        return target

    def _table(self, function: Function, source: FeatureMap, target: FeatureMap) -> None:
        self.add(layer_without_weights(function, (source,), target), target)

    def _moved(self, move: FloatLayer, source: FeatureMap, name: str) -> FeatureMap:
        target = replace(source, name=name)
        layer = layer_without_weights(move, (source,), target)
        target = replace(target, shape=output_shape(layer, (source.shape,)))
        self.add(layer, target)
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
            self.inputs = {source: name if made == before.name else made for source, made in self.inputs.items()}
            self.tensors[name] = narrowed
            return narrowed
        layer = self.layers.pop(before.name)
        self.names.discard(layer.name)
        if isinstance(layer, Table):
            layer = replace(layer, values=layer.values.clip(narrowed.low, narrowed.high))
        self.add(layer, narrowed)
        return narrowed

    def _map(self, name: str) -> FeatureMap:
        tensor = self.tensors[name]
        assert isinstance(tensor, FeatureMap)
        return tensor

    def _fresh(self, name: str) -> str:
        """``name``, or that with a number if a tensor has it."""
        found, number = name, 1
        while found in self.tensors:
            number += 1
            found = f"{name}_{number}"
        return found


def _common_grid(value: Reals) -> StoredGrid | None:
    """The grid of the maps that ``value`` only moves or joins, None if there are several or it computes."""
    maps = _copied(value)
    if not maps or len({(source.scale, source.zero_point) for source in maps}) > 1:
        return None
    low, high = min(source.low for source in maps), max(source.high for source in maps)
    return StoredGrid(maps[0].scale, maps[0].zero_point, low, high, "")


def _copied(value: Reals) -> list[FeatureMap]:
    """The maps that ``value`` is made of if it only moves and joins them, else none."""
    if not (value.layer is None or isinstance(value.layer, Concatenation)):
        return []
    found = []
    for source in value.sources:
        parts = [source] if isinstance(source, FeatureMap) else [] if source.clamped else _copied(source)
        if not parts:
            return []
        found += parts
    return found


def _on_steps(bound: float, grid: StoredGrid) -> bool:
    """Whether clamping integers of ``grid`` clamps their reals at ``bound``: it is one of them, or infinite."""
    if abs(bound) == INFINITY:
        return True
    return bool(np.rint(np.float32(bound) / grid.scale) * grid.scale == np.float32(bound))


def on_grid(source: FeatureMap, grid: StoredGrid | FeatureMap) -> bool:
    """Whether ``source`` has the scale and the zero point of ``grid``."""
    return (source.scale, source.zero_point) == (grid.scale, grid.zero_point)
