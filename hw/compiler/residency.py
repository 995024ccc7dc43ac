"""Which feature maps stay in the activation memory while they live, and where everything lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from math import inf

from ...quant.graph import Graph, Sums
from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import Parameters
from .cost import Traffic
from .cutting import tiles_of
from .dependencies import makers_of, readers_of
from .engine_layer import EngineLayer
from .geometry import Geometry
from .order import vector_cycles
from .placement import Layout, Placement, constant_bytes
from .relay_layout import hand_on
from .rooms import RoomChooser, rooms_of
from .stacking import stacked
from .tiling import CLOSE, Tiling, Tilings, refuse
from .windows import Lifetime, lifetimes, meet, working_windows

ROOMY = 1.02
"""Room that maps leave for slots: that of the smallest tiling at most so much slower than the best."""


def lay_out(layers: Sequence[EngineLayer], graph: Graph, p: Parameters, *, relays: bool = True) -> Layout:
    """Decide what is resident and where all of it lies.

    The network's input and output are in DRAM.  Others stay on chip while they live, those first that take the least
    of it, as long as every layer's slots still have room.  ``relays``: where it pays, layers hand on their maps.

    Raises ConfigurationError for a layer that no tiling fits.
    """
    layouter = _Layouter(layers, graph, p)
    layout = layouter.layout()
    return hand_on(layers, graph, p, layout, layouter.bottoms, layouter.traffic) if relays else layout


class _Layouter:
    def __init__(self, layers: Sequence[EngineLayer], graph: Graph, p: Parameters) -> None:
        self.layers, self.graph, self.p = layers, graph, p
        self.capacity = p.activation_elements
        self.beginning = next((n for n, layer in enumerate(layers) if layer.input in graph.inputs), -1)
        self.last_on_array = max((n for n, layer in enumerate(layers) if layer.on_array), default=len(layers))
        self.resident: dict[str, int] = {}
        self.tops = [0] * len(layers)
        self.rooms = [self.capacity] * len(layers)
        self.bottoms = [self.capacity] * len(layers)
        self.tilings = cache(self._tilings)
        self.best = cache(self._best)
        self.makers = makers_of(layers)
        self.first = [min(readers, default=-1) for readers in readers_of(self.makers)]
        self.trailing = [self._trailing(n) for n in range(len(layers))]

    def layout(self) -> Layout:
        for n in range(len(self.layers)):
            if self._reserve(n) > self.capacity:
                raise self._refuse(n)
        alone: set[int] = set()
        while True:
            self._spread(alone)
            self._choose()
            placements = self._place()
            if not isinstance(placements, int):
                return Layout(tuple(placements), tuple(self.windows), self.resident)
            beside = {n for n in self._active(placements) if not self.layers[n].on_array} - alone
            if not beside:
                raise self._refuse(placements)
            alone |= beside

    def _spread(self, alone: set[int]) -> None:
        """Nothing is resident; whoever is not in ``alone`` works beside the array, if its slots have room."""
        self.resident, self.tops = {}, [0] * len(self.layers)
        self.rooms = [self.capacity] * len(self.layers)
        self.windows = working_windows(self.layers, alone)
        if not any(self._need(step) > self.capacity for step in range(len(self.layers))):
            return
        found = RoomChooser(self.layers, self.p, self._within, self._taken).choose(alone)
        alone |= found.alone
        self.windows = working_windows(self.layers, alone)
        self.rooms = rooms_of(self.windows, found.rooms, self.capacity)

    # what a layer needs

    def _trailing(self, n: int) -> float:
        """Cycles of the vector unit's own layers that follow array layer ``n`` row by row, if it joins last."""
        if not self.layers[n].on_array:
            return 0.0
        cycles, followed = 0.0, [n]
        for number in range(n + 1, len(self.layers)):
            other = self.layers[number]
            if other.on_array and any(self._joins(number, before) for before in followed):
                return 0.0  # somebody after it makes a part of the same map
            if not other.on_array and set(followed) & set(self.makers[number]):
                cycles += vector_cycles(other, self.p)
                followed.append(number)
        return cycles

    def _joins(self, n: int, other: int) -> bool:
        """Whether layers ``n`` and ``other`` write parts of one tensor that the same layer is the first to read."""
        return self.layers[n].output == self.layers[other].output and self.first[n] == self.first[other]

    def traffic(self, n: int) -> Traffic:
        layer = self.layers[n]
        return Traffic(
            layer.input not in self.resident,
            bool(layer.operand) and layer.operand not in self.resident,
            layer.output not in self.resident,
            layer.spread.steps,
            self.trailing[n],
            layer.on_array and n == self.beginning,
            n > self.last_on_array,
        )

    def _tilings(self, geometry: Geometry, traffic: Traffic) -> Tilings:
        return Tilings(geometry, self.p, traffic)

    def _best(self, geometry: Geometry, traffic: Traffic, space: int, slack: float) -> Tiling | None:
        return self.tilings(geometry, traffic).best(space, slack, whole=slack == CLOSE)

    def _tiling(self, n: int, space: int, slack: float) -> Tiling | None:
        """The best for layer ``n`` in ``space`` elements; the same for all layers of its geometry and traffic."""
        return self.best(self.layers[n].geometry, self.traffic(n), space, slack)

    def _tables(self, n: int) -> int:
        return constant_bytes(self.layers[n], self.p)

    def _within(self, n: int, room: int) -> Tiling | None:
        """The best for layer ``n`` in ``room`` elements, tables among them."""
        return self._tiling(n, room - self._tables(n), CLOSE)

    def _taken(self, n: int, tiling: Tiling) -> int:
        """Elements of slots and tables."""
        return self._tables(n) + tiling.space + -tiling.space % self.p.bus_elements

    def _reserve(self, n: int) -> int:
        """Elements of the layer's slots and tables, at least."""
        tiling = self._tiling(n, self.rooms[n] - self._tables(n), ROOMY)
        return self.capacity + 1 if tiling is None else self._taken(n, tiling)

    def _refuse(self, n: int) -> ConfigurationError:
        layer = self.layers[n]
        return refuse(layer.name, layer.geometry, self.p, self.traffic(n), self._tables(n))

    def _active(self, step: int) -> list[int]:
        return [n for n, (start, end) in enumerate(self.windows) if start <= step <= end]

    def _need(self, step: int) -> int:
        return self.tops[step] + sum(self._reserve(n) for n in self._active(step))

    # maps

    def _choose(self) -> None:
        lives = lifetimes(self.layers, self.windows)
        sizes = {}
        for name in lives:
            tensor = self.graph.tensors[name]
            if name not in (*self.graph.inputs, *self.graph.outputs) and not isinstance(tensor, Sums):
                channels, rows, columns = tensor.shape
                size = channels * rows * columns
                sizes[name] = size + -size % self.p.bus_elements
        for name in sorted(sizes, key=lambda n: sizes[n] * (lives[n][1] - lives[n][0] + 1)):
            self._settle(name, sizes[name], lives, sizes)

    def _settle(self, name: str, size: int, lives: dict[str, Lifetime], sizes: dict[str, int]) -> None:
        """Make ``name`` resident at the lowest free address, if every layer keeps its room."""
        first, last = lives[name]
        taken = sorted(
            (address, address + sizes[other])
            for other, address in self.resident.items()
            if meet(lives[other], (first, last))
        )
        address = 0
        for start, end in taken:
            if address + size <= start:
                break
            address = max(address, end)
        before = self.tops[first : last + 1]
        self.resident[name] = address
        self.tops[first : last + 1] = [max(top, address + size) for top in before]
        if any(self._need(step) > self.capacity for step in range(first, last + 1)):
            del self.resident[name]
            self.tops[first : last + 1] = before

    # slots

    def _place(self) -> list[Placement] | int:
        """The vector unit's own layers get their slots at the memory's end, the array's the room between.

        The index of the first layer that finds none, if there is one.
        """
        tilings: dict[int, Tiling] = {}
        for n, layer in enumerate(self.layers):
            if not layer.on_array:
                tiling = self._tiling(n, self.rooms[n] - self._tables(n), ROOMY)
                assert tiling is not None
                tilings[n] = tiling
        blocks = {n: (self.windows[n], self._taken(n, tiling)) for n, tiling in tilings.items()}
        stack = stacked(blocks, self.capacity, self.tops, self._array_cost)
        if stack.over is not None:
            return stack.over
        self.bottoms = stack.lowest
        placements = []
        for n, layer in enumerate(self.layers):
            if layer.on_array:
                tiling = self._within(n, self.bottoms[n] - self.tops[n])
                if tiling is None:
                    return n
                # every other layer from the other side: so the next one's first loads need not wait for this one's last
                bottom = self.tops[n] if n % 2 else self.bottoms[n] - self._taken(n, tiling)
                placements.append(self._slots(n, tiling, bottom))
            else:
                placements.append(self._slots(n, tilings[n], stack.bottoms[n]))
        return placements

    def _array_cost(self, lowest: Sequence[int]) -> float:
        """Cycles of the array's layers between the maps and, in each step, ``lowest``; infinite if one has no room."""
        total = 0.0
        for n, layer in enumerate(self.layers):
            if layer.on_array:
                tiling = self._within(n, lowest[n] - self.tops[n])
                total += inf if tiling is None else tiling.cost
        return total

    def _slots(self, n: int, tiling: Tiling, bottom: int) -> Placement:
        layer = self.layers[n]
        address = bottom + self._tables(n)

        def slots(count: int, size: int) -> tuple[int, ...]:
            nonlocal address
            found = tuple(address + i * size for i in range(count)) if size else ()
            address += count * size if size else 0
            return found

        outputs = slots(tiling.others, tiling.output_slot)
        operands = slots(tiling.others, tiling.operand_slot)
        return Placement(
            replace(tiling, tiles=tuple(tiles_of(layer.geometry, *tiling.shape))),
            self.resident.get(layer.input),
            self.resident.get(layer.operand),
            self.resident.get(layer.output),
            slots(tiling.loads, tiling.input_slot),
            operands,
            outputs,
            bottom if self._tables(n) else None,
        )
