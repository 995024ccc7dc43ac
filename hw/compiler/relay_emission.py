"""The instructions of one spatial tile of a relay."""

from collections.abc import Iterator

from .cutting import channel_tiles
from .emission import TileEmitter, Turns
from .instruction import Instruction
from .plan import Plan
from .relay import order


def relayed(plan: Plan, turns: Turns, maker: int, place: int) -> Iterator[tuple[list[Instruction], TileEmitter | None]]:
    """Spatial tile ``place`` of layer ``maker`` and the next: what both need first, then channel tile by channel tile,
    and whose each is.  Others' instructions may come in between.
    """
    taker = maker + 1
    made, taken = (plan.placements[n].tiling for n in (maker, taker))
    makers = [TileEmitter(plan, turns, maker, made.tiles[place], n) for n in range(made.slices)]
    takers = [TileEmitter(plan, turns, taker, taken.tiles[place], n) for n in range(taken.slices)]
    tiles = channel_tiles(plan.layers[taker].geometry, plan.parameters)[0]
    slice_of = [n for n, it in enumerate(takers) for _ in it.slice.series[0]]
    (first, *others), (part,) = makers, made.parts
    yield [*first.load(part, first.begins), *first.weights()], None
    for other in others:
        other.follow(first)
    for takes, number in order(len(tiles)):
        if not takes:
            emit = makers[number]
            (group,) = emit.slice.series
            yield [*emit.vector(group), *emit.array(group, part, first=True, last=True, flush=False)], emit
            continue
        emit, last = takers[slice_of[number]], number == len(tiles) - 1
        emit.take(makers[number].plane, tiles[number].input)
        work = [*emit.vector([tiles[number]])]
        work += emit.array([tiles[number]], taken.parts[0], first=True, last=True, flush=last)
        if last or slice_of[number + 1] != slice_of[number]:
            work += emit.store()
        yield work, emit
