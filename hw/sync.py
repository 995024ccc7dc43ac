"""Dependency tokens: who must wait for whom, found from what each instruction reads and writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..quant.errors import ConfigurationError
from .program import UNITS, Operation, encode
from .tokens import Tokens

Range = tuple[int, int]

UNIT_OF = {
    Operation.LOAD: UNITS.index("loader"),
    Operation.ARRAY: UNITS.index("array"),
    Operation.VECTOR: UNITS.index("vector"),
    Operation.SETUP: UNITS.index("vector"),
    Operation.STORE: UNITS.index("storer"),
}


DRAM_GRAIN = 64
"""Bytes of DRAM that count as touched together."""


@dataclass(eq=False)
class Instruction:
    """An instruction and, as half-open ranges, what it touches: ``chip`` in elements, ``dram`` in bytes.

    layer : index into the plan's engine layers;  chip_reads : any number of ranges
    """

    operation: Operation
    layer: int
    fields: dict[str, int]
    chip_reads: tuple[Range, ...] = ()
    chip_writes: Range = (0, 0)
    dram_reads: Range = (0, 0)
    dram_writes: Range = (0, 0)
    wait: set[int] = field(default_factory=set)
    post: set[int] = field(default_factory=set)

    @property
    def unit(self) -> int | None:
        """Index into UNITS, or None for what takes no part in the exchange of tokens."""
        return UNIT_OF.get(self.operation)

    def encode(self) -> bytes:
        if self.unit is None:
            return encode(self.operation, **self.fields)
        return encode(self.operation, wait=_mask(self.wait), post=_mask(self.post), **self.fields)


def _mask(units: set[int]) -> int:
    return sum(1 << unit for unit in units)


class _Touched:
    """Which of one unit's instructions read and wrote each grain of a memory last, by number, -1 for none."""

    def __init__(self, end: int, grain: int) -> None:
        self.grain = grain
        self.read = np.full(-(-end // grain), -1, np.int32)
        self.written = self.read.copy()

    def _slice(self, span: Range) -> slice:
        return slice(span[0] // self.grain, -(-span[1] // self.grain) if span[1] > span[0] else span[0] // self.grain)

    def note(self, number: int, reads: Iterable[Range], writes: Range) -> None:
        for span in reads:
            self.read[self._slice(span)] = number
        self.written[self._slice(writes)] = number

    def latest(self, reads: Iterable[Range], writes: Range) -> int:
        """The last instruction that wrote what is read now, or touched what is written now."""
        pieces = [self.written[self._slice(span)] for span in (*reads, writes)] + [self.read[self._slice(writes)]]
        return max(int(piece.max(initial=-1)) for piece in pieces)


class _History:
    """One unit's past instructions, and what they touched."""

    def __init__(self, program: Sequence[Instruction]) -> None:
        self.instructions: list[Instruction] = []
        chip = max((end for i in program for _, end in (*i.chip_reads, i.chip_writes)), default=0)
        dram = max((end for i in program for _, end in (i.dram_reads, i.dram_writes)), default=0)
        self.chip, self.dram = _Touched(chip, 1), _Touched(dram, DRAM_GRAIN)

    def append(self, instruction: Instruction) -> None:
        number = len(self.instructions)
        self.instructions.append(instruction)
        self.chip.note(number, instruction.chip_reads, instruction.chip_writes)
        self.dram.note(number, (instruction.dram_reads,), instruction.dram_writes)

    def latest(self, instruction: Instruction) -> int:
        """Number of the last instruction here that ``instruction`` must not overtake, or -1."""
        return max(
            self.chip.latest(instruction.chip_reads, instruction.chip_writes),
            self.dram.latest((instruction.dram_reads,), instruction.dram_writes),
        )


def synchronize(program: Sequence[Instruction]) -> None:
    """Set ``wait`` and ``post`` of every instruction of ``program``.

    Each unit runs its own instructions in order, so of those of another unit only the last conflicting one counts,
    and only if no earlier wait has covered it.  So between two units tokens are given and taken in the same order,
    and a counter does.  Raises ConfigurationError if there could be more tokens than a counter holds.
    """
    histories = [_History(program) for _ in UNITS]
    covered = {(a, b): 0 for a in range(len(UNITS)) for b in range(len(UNITS))}
    edges = dict.fromkeys(covered, 0)
    for instruction in program:
        unit = instruction.unit
        if unit is None:
            continue
        for other, history in enumerate(histories):
            if other == unit:
                continue
            latest = history.latest(instruction)
            if latest >= covered[other, unit]:
                history.instructions[latest].post.add(unit)
                instruction.wait.add(other)
                covered[other, unit] = latest + 1
                edges[other, unit] += 1
        histories[unit].append(instruction)
    worst = max(edges.values())
    if worst >= 1 << Tokens.WIDTH:
        raise ConfigurationError(
            f"the program needs {worst} tokens between two units, {(1 << Tokens.WIDTH) - 1} are possible; "
            "larger memories make fewer tiles"
        )
