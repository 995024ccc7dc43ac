"""The order of a relay: channel tiles of both layers in turn, from one spatial tile to the next."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .cutting import ChannelTile, SpatialTile, channel_tiles
from .dram import Region
from .emission import TileEmitter
from .instruction import Instruction
from .plan import Plan
from .relay import pieces_of
from .turns import Turns


@dataclass(frozen=True)
class Step:
    """Instructions that follow one another, and what they are the work of, if they are.

    tiles : spatial tiles of the taker's result that are whole behind it
    """

    made: list[Instruction]
    tiles: int
    emit: TileEmitter | None = None
    piece: SpatialTile | None = None


class RelayEmitter:
    """All instructions of layer ``maker``, by index, and of the next.

    need : called with a spatial tile's number before what it reads is loaded
    """

    def __init__(self, plan: Plan, turns: Turns, maker: int, need: Callable[[int], None]) -> None:
        self.plan, self.turns, self.maker, self.taker, self.need = plan, turns, maker, maker + 1, need
        self.made, self.taken = (plan.placements[n].tiling for n in (self.maker, self.taker))
        self.tiles = channel_tiles(plan.layers[self.taker].geometry, plan.parameters)[0]
        self.begin, self.between, self.end = plan.dram.relayed[maker]

    def steps(self) -> Iterator[Step]:
        """The taker is a channel tile behind the maker, also from one spatial tile to the next."""
        last = self.made.count - 1
        following, loads = self._tile(0)
        yield Step(loads, 0)
        before = following
        for place in range(self.made.count):
            now, done = following, max(0, place - 1)
            yield Step(now.weights(self.begin), done)
            yield from now.make(0, done)
            if place < last:
                following, loads = self._tile(place + 1)
                yield Step(loads, done)
            if place:
                yield from self._end(before, done)
            if self.between.bytes:
                yield Step(now.weights(self.between), place)
            for number in range(1, len(self.tiles)):
                yield from now.make(number, place)
                yield from now.take(number - 1, place)
            before = now
        yield from self._end(before, last)

    def _end(self, tile: "_Tile", done: int) -> Iterator[Step]:
        yield Step(tile.weights(self.end), done)
        yield from tile.take(len(self.tiles) - 1, done)
        yield Step([], done + 1)

    def _tile(self, place: int) -> tuple["_Tile", list[Instruction]]:
        """A spatial tile, and what loads it."""
        self.need(place)
        tile = _Tile(self, place)
        return tile, tile.load()


class _Tile:
    """One spatial tile of both layers."""

    def __init__(self, relay: RelayEmitter, place: int) -> None:
        plan, turns, made, taken = relay.plan, relay.turns, relay.made, relay.taken
        self.made, self.taken, self.tiles = made, taken, relay.tiles
        self.makers = [TileEmitter(plan, turns, relay.maker, made.tiles[place], n) for n in range(made.slices)]
        self.takers = [TileEmitter(plan, turns, relay.taker, taken.tiles[place], n) for n in range(taken.slices)]
        self.slice_of = [n for n, it in enumerate(self.takers) for _ in it.slice.series[0]]

    def load(self) -> list[Instruction]:
        first, *others = self.makers
        made = first.load(self.made.parts[0], first.begins)
        for other in others:
            other.follow(first)
        return made

    def weights(self, stream: Region) -> list[Instruction]:
        return self.makers[0].weights(stream)

    def make(self, number: int, done: int) -> Iterator[Step]:
        """Channel tile ``number`` of the map between the two, piece by piece."""
        emit = self.makers[number]
        (group,) = emit.slice.series
        yield from self._pieces(emit, group[0], self.made.pieces, done, ends=number == 0)

    def take(self, number: int, done: int) -> Iterator[Step]:
        """What comes of it, and the storing of a slice that is whole."""
        emit = self.takers[self.slice_of[number]]
        emit.take(self.makers[number].plane, self.tiles[number].input)
        yield from self._pieces(emit, self.tiles[number], self.taken.pieces, done, ends=number >= len(self.tiles) - 2)
        if number + 1 == len(self.tiles) or self.slice_of[number + 1] != self.slice_of[number]:
            yield Step(emit.store(), done)

    @staticmethod
    def _pieces(emit: TileEmitter, tile: ChannelTile, count: int, done: int, *, ends: bool) -> Iterator[Step]:
        """``ends``: a stream of weights ends with it."""
        pieces = pieces_of(emit.it.geometry, emit.tile, count)
        for piece in pieces:
            made = emit.vector([tile], piece)
            flush = ends and piece is pieces[-1]
            (part,) = emit.place.tiling.parts
            made += emit.array([tile], part, first=True, last=True, flush=flush, tile=piece)
            yield Step(made, done, emit, piece)
