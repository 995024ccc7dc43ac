"""Maps that are channels of another: read where they lie in it, and written there by the layers that make them."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from ...quant.graph import AveragePool, Concat, Conv, DepthToSpace, Extremum, Graph, MaxPool, Selection, Table
from .engine_layer import EngineLayer
from .formats import storage
from .offsets import results_less, rounds_alike, source_less

READ_PARTS = (Conv, MaxPool, AveragePool, Table, Concat, Selection, DepthToSpace)
"""Layers that can read some channels of each pixel, as an Extremum can as its first input; an operand and a
normalization's neighbours are whole maps."""

Place = tuple[str, int]
"""A tensor, and the first channel of it that is meant."""


class Views:
    """Which maps of ``graph``, of ``bits``-bit elements, are channels of which others."""

    def __init__(self, graph: Graph, bits: int) -> None:
        self._graph, self._bits = graph, bits
        self._places: dict[str, Place] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __getitem__(self, name: str) -> Place:
        """The tensor in whose pixels ``name`` lies, itself as a rule, and its first channel there."""
        return self._places.get(name, (name, 0))

    def __setitem__(self, name: str, place: Place) -> None:
        self._places[name] = place

    def hold(self, tensor: str) -> bool:
        """Whether some map is channels of ``tensor``."""
        return any(found == tensor for found, _ in self._places.values())

    def allowed(self, name: str) -> bool:
        """Whether all who read ``name`` can read a part of each pixel."""
        readers = [layer for layer in self._graph.layers if name in layer.inputs]
        return name not in (*self._graph.inputs, *self._graph.outputs) and all(
            isinstance(layer, READ_PARTS) or (isinstance(layer, Extremum) and name not in layer.inputs[1:])
            for layer in readers
        )

    def side_by_side(self, joined: Concat) -> Place | None:
        """Where the maps that ``joined`` joins lie already as it wants them, if its readers can read them there."""
        if joined.axis != 1 or not self.allowed(joined.output):
            return None
        tensor, first = self[joined.inputs[0]]
        begin = first
        for name in joined.inputs:
            if self[name] != (tensor, first) or not self.alike(name, joined.output):
                return None
            first += self._graph.map_of(name).shape[0]
        return (tensor, begin) if self.alike(joined.output, tensor) else None

    def settle(self, joined: Concat, layers: list[EngineLayer]) -> None:
        """Let what lies before ``joined``, and is read by others too, be written where it lies in it.

        That is a tensor all of whose channels it joins, in their order and on its own grid: those of ``layers`` that
        make or read it are changed.  A dense block's features are each written once so, into the last concatenation.
        """
        if joined.axis != 1 or self._taken_up(joined.output):
            return
        depths = [self._graph.map_of(name).shape[0] for name in joined.inputs]
        begins = [0, *accumulate(depths)]
        for name, channel in zip(joined.inputs, begins, strict=False):
            tensor, first = self[name]
            at = channel - first
            parts = zip(joined.inputs, begins, depths, strict=False)
            there = sum(depth for part, begin, depth in parts if self[part] == (tensor, begin - at))
            if tensor != joined.output and there == self._graph.map_of(tensor).shape[0]:
                self._move(tensor, joined.output, at, layers)

    def _taken_up(self, name: str) -> bool:
        """Whether the only reader of ``name`` becomes a part of the layers that make it, copies as well as others."""
        readers = [layer for layer in self._graph.layers if name in layer.inputs]
        return len(readers) == 1 and name not in self._graph.outputs and isinstance(readers[0], Table | DepthToSpace)

    def alike(self, name: str, other: str) -> bool:
        """Whether ``name``'s integers are ``other``'s, among whose all of them are."""
        source, target = self._graph.map_of(name), self._graph.map_of(other)
        same = (source.scale, source.zero_point) == (target.scale, target.zero_point)
        return same and target.low <= source.low and source.high <= target.high

    def _move(self, tensor: str, target: str, channel: int, layers: list[EngineLayer]) -> None:
        """Make ``tensor`` the channels of ``target`` from ``channel`` on, if all who make and read it can do so."""
        before, after = self._graph.map_of(tensor), self._graph.map_of(target)
        offset = storage(after, self._bits).offset - storage(before, self._bits).offset
        makers = [n for n, layer in enumerate(layers) if layer.output == tensor]
        where = before.shape, after.shape, (channel, 0, 0)
        parts = {n: layers[n].spread.moved(*where, layers[n].target[0]) for n in makers}
        if not makers or not self.allowed(tensor) or not self.alike(tensor, target):
            return
        if any(part is None or layers[n].raw or not rounds_alike(layers[n], offset) for n, part in parts.items()):
            return
        if any(layer.operand == tensor for layer in layers):
            return
        for n, layer in enumerate(layers):
            if layer.input == tensor:
                moved = replace(layer, input=target, source=after.shape, first_channel=layer.first_channel + channel)
                layers[n] = source_less(moved, offset)
        for n, part in parts.items():
            layers[n] = replace(results_less(layers[n], offset), output=target, part=part)
        self._places |= {name: (target, at + channel) for name, (held, at) in self._places.items() if held == tensor}
        self._places[tensor] = target, channel
