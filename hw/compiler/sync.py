"""Dependency tokens: who must wait for whom, found from what each instruction reads and writes."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...quant.graph.errors import ConfigurationError
from ..isa.program import QUEUE, TOKEN_BITS, UNITS
from .instruction import Instruction
from .span import Span

DRAM_GRAIN = 64
"""Bytes of DRAM that count as touched together."""

VECTOR = UNITS.index("vector")

Edge = tuple[int, int]
"""Who gives a token and who takes it, as places in the program."""

WAITING = QUEUE + 2
"""Instructions of a unit that can be dispatched before the first of them takes its tokens: its queue's, and two that
the unit may hold itself."""


@dataclass(frozen=True)
class _Touched:
    """Grains that an instruction touches: elements of the activation memory, and behind them DRAM's."""

    reads: Sequence[slice]
    writes: Sequence[slice]


class _Grains:
    """Both memories' grains, in one row."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self.chip = max((end for i in program for _, end in (*i.chip_reads, i.chip_writes)), default=0)
        dram = max((end for i in program for _, end in (i.dram_reads, i.dram_writes)), default=0)
        self.count = self.chip + -(-dram // DRAM_GRAIN)

    def touched(self, i: Instruction) -> _Touched:
        return _Touched(
            [*self._on_chip(*i.chip_reads), *self._in_dram(i.dram_reads)],
            [*self._on_chip(i.chip_writes), *self._in_dram(i.dram_writes)],
        )

    @staticmethod
    def _on_chip(*spans: Span) -> Iterator[slice]:
        return (slice(*span) for span in spans if span[0] < span[1])

    def _in_dram(self, span: Span) -> Iterator[slice]:
        if span[0] < span[1]:
            yield slice(self.chip + span[0] // DRAM_GRAIN, self.chip - (-span[1] // DRAM_GRAIN))


class _History:
    """One unit's past instructions, and which of them read and wrote each grain last, by number, -1 for none."""

    def __init__(self, grains: int) -> None:
        self.numbers: list[int] = []  # where each stands in the program
        self.read = np.full(grains, -1, np.int32)
        self.written = self.read.copy()

    def append(self, place: int, touched: _Touched) -> None:
        for grains in touched.reads:
            self.read[grains] = len(self.numbers)
        for grains in touched.writes:
            self.written[grains] = len(self.numbers)
        self.numbers.append(place)

    def latest(self, touched: _Touched) -> int:
        """Number of the last instruction here that wrote what is read now, or touched what is written now, or -1."""
        pieces = [self.written[grains] for grains in (*touched.reads, *touched.writes)]
        pieces += [self.read[grains] for grains in touched.writes]
        return max((int(piece.max()) for piece in pieces), default=-1)


def synchronize(program: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """``program`` with ``wait`` and ``post`` of every instruction.

    Each unit runs its own instructions in order, so of those of another unit only the last conflicting one counts,
    and only if no earlier wait has covered it.  So between two units tokens are given and taken in the same order,
    and a counter does.  Raises ConfigurationError if more tokens could be pending than a counter holds.
    """
    grains = _Grains(program)
    histories = [_History(grains.count) for _ in UNITS]
    covered = {(a, b): 0 for a in range(len(UNITS)) for b in range(len(UNITS))}
    edges: dict[tuple[int, int], list[Edge]] = {pair: [] for pair in covered}
    for number, instruction in enumerate(program):
        unit = instruction.unit
        if unit is None:
            continue
        touched = grains.touched(instruction)
        for other, history in enumerate(histories):
            if other == unit or covered[other, unit] == len(history.numbers):  # itself, or whom it has waited for
                continue
            latest = history.latest(touched)
            if latest >= covered[other, unit]:
                covered[other, unit] = latest + 1
                edges[other, unit].append((history.numbers[latest], number))
        histories[unit].append(number, touched)
    waits: list[set[int]] = [set() for _ in program]
    posts: list[set[int]] = [set() for _ in program]
    for (a, b), needed in edges.items():
        for giver, taker in _held(needed, histories[b].numbers, histories[VECTOR].numbers if a == VECTOR else ()):
            posts[giver].add(b)
            waits[taker].add(a)
    return tuple(
        replace(instruction, wait=frozenset(wait), post=frozenset(post))
        for instruction, wait, post in zip(program, waits, posts, strict=True)
    )


def _held(edges: Sequence[Edge], takers: Sequence[int], drains: Sequence[int]) -> Sequence[Edge]:
    """As many of ``edges`` as a counter holds: where they are too many, one stands for 2, 4, ... that follow."""
    most, size, fewer = (1 << TOKEN_BITS) - 1, 1, edges
    while (worst := pending(fewer, takers)) > most:
        if size > len(edges):
            raise ConfigurationError(
                f"{worst} tokens could be pending between two units, {most} are possible; "
                "larger memories make fewer tiles"
            )
        size *= 2
        fewer = _joined(edges, size, drains)
    return fewer


def _joined(edges: Sequence[Edge], size: int, drains: Sequence[int]) -> list[Edge]:
    """Up to ``size`` edges as one: the first taker waits for the last giver, if that stands before it.

    drains : places of the VECTORs, if they are who gives.  What they drain stands right behind them, so an instruction
    that waited for the VECTOR next before it could wait for ever.
    """
    joined: list[Edge] = []
    count = 0
    for giver, taker in edges:
        if joined and count < size:
            first = joined[-1][1]
            before = bisect_left(drains, first)
            if giver < (drains[before - 1] if before else first):
                joined[-1] = giver, first
                count += 1
                continue
        joined.append((giver, taker))
        count = 1
    return joined


def pending(edges: Sequence[Edge], takers: Sequence[int]) -> int:
    """The most tokens from one unit to another that can be given and not yet taken.

    takers : the places of all the taking unit's instructions

    Dispatch is in order and stops where the taking unit's queue is full.  So as long as an instruction has not taken
    its token, nothing is dispatched from the unit's WAITING-th instruction behind it on, and gives none.
    """
    givers = [giver for giver, _ in edges]
    numbers = {place: number for number, place in enumerate(takers)}
    most = 0
    for taken, (_, taker) in enumerate(edges):
        full = numbers[taker] + WAITING
        given = bisect_left(givers, takers[full]) if full < len(takers) else len(givers)
        most = max(most, given - taken)
    return most
