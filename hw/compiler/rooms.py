"""Which layers of the vector unit alone work beside the array's, and how much of the activation memory each gets.

Where the memory is too small for all of them at once, a layer that works beside the array hides its cycles, and takes
room from the array's tiles; smaller slots take less, and load more: its pieces overlap.  Chosen by ``pace``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import inf

from ..isa.parameters import Parameters
from .dependencies import makers_of
from .engine_layer import EngineLayer
from .pace import Busy, busy, together
from .tiling import Tiling
from .windows import Lifetime, working_windows

SHARES = (3, 4, 6, 8, 12, 16, 24)
"""Of the memory, one in so many parts is tried for such a layer."""

A_TILE = 50
"""Cycles that each tile of the vector unit alone costs for its tokens and transfers, about."""

SWEEPS = 2
"""How often each layer's room is chosen anew: others depend on it."""


@dataclass(frozen=True)
class Rooms:
    """``alone``: layers of the vector unit that do not work beside the array;  ``rooms``: elements of those that do."""

    alone: set[int]
    rooms: Mapping[int, int]


class RoomChooser:
    """Compares ways to share the memory, of ``capacity`` elements, with nothing else in it.

    tiling : of a layer, by index, the best in so many elements, if there is one;  taken : elements that one takes
    """

    def __init__(
        self,
        layers: Sequence[EngineLayer],
        p: Parameters,
        tiling: Callable[[int, int], Tiling | None],
        taken: Callable[[int, Tiling], int],
    ) -> None:
        self.layers, self.p, self.tiling, self.taken = layers, p, tiling, taken
        self.makers = makers_of(layers)
        self.busy = cache(self._busy)
        self.capacity = p.activation_elements

    def choose(self, alone: set[int]) -> Rooms:
        """The best that was found; those ``alone`` stay so."""
        own = [n for n, layer in enumerate(self.layers) if not layer.on_array and n not in alone]
        chosen: dict[int, int] = {}
        least = self._cost(chosen)
        for _ in range(SWEEPS):
            before = dict(chosen)
            for n in own:
                for room in (None, *self._rooms(n)):
                    tried = {other: size for other, size in chosen.items() if other != n}
                    if room is not None:
                        tried[n] = room
                    if (cost := self._cost(tried)) < least:
                        chosen, least = tried, cost
            if chosen == before:
                break
        return Rooms({*own, *alone} - {*chosen}, chosen)

    def _rooms(self, n: int) -> list[int]:
        """What is worth trying, largest first, each the size of another tiling."""
        tilings = (self.tiling(n, self.capacity // share) for share in SHARES)
        return sorted({self.taken(n, tiling) for tiling in tilings if tiling is not None}, reverse=True)

    def _cost(self, rooms: Mapping[int, int]) -> float:
        """Cycles of all layers if those in ``rooms`` work beside the array in so many elements, about."""
        alone = {n for n, layer in enumerate(self.layers) if not layer.on_array and n not in rooms}
        windows = working_windows(self.layers, alone, self.makers)
        every = [self.busy(n, room) for n, room in enumerate(rooms_of(windows, rooms, self.capacity))]
        found = [busy for busy in every if busy is not None]
        return together(found, windows) if len(found) == len(every) else inf

    def _busy(self, n: int, room: int) -> Busy | None:
        """Cycles of layer ``n`` in ``room`` elements, with what its tiles cost; None if it has no room."""
        layer, tiling = self.layers[n], self.tiling(n, room) if room > 0 else None
        if tiling is None:
            return None
        found = busy(layer, tiling, self.p.lanes, self.p)
        tiles = 0 if layer.on_array else tiling.count * tiling.slices
        return replace(found, array=found.array + tiles * A_TILE)


def rooms_of(windows: Sequence[Lifetime], rooms: Mapping[int, int], capacity: int) -> list[int]:
    """Elements of ``capacity`` that each layer may take: those of ``rooms`` theirs, all others what is left of it."""
    left = [capacity] * len(windows)
    for n, room in rooms.items():
        first, last = windows[n]
        left[first : last + 1] = [elements - room for elements in left[first : last + 1]]
    return [rooms.get(n, elements) for n, elements in enumerate(left)]
