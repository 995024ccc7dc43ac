"""Dependency tokens: who must wait for whom, found from what each instruction reads and writes."""

from collections import defaultdict
from collections.abc import Sequence
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
    Operation.STORE: UNITS.index("storer"),
}


@dataclass(eq=False)
class Instruction:
    """An instruction and, as half-open ranges, what it touches: ``chip`` in elements, ``dram`` in bytes.

    layer : index into the plan's engine layers;  tensor : the map that it touches in DRAM, if any
    """

    operation: Operation
    layer: int
    fields: dict[str, int]
    chip_reads: Range = (0, 0)
    chip_writes: Range = (0, 0)
    dram_reads: Range = (0, 0)
    dram_writes: Range = (0, 0)
    tensor: str = ""
    wait: set[int] = field(default_factory=set)
    post: set[int] = field(default_factory=set)

    @property
    def unit(self) -> int | None:
        """Index into UNITS, or None for what takes no part in the exchange of tokens."""
        return UNIT_OF.get(self.operation)

    @property
    def chip_end(self) -> int:
        """The first chip element behind all that it touches."""
        return max(self.chip_reads[1], self.chip_writes[1])

    def encode(self) -> bytes:
        if self.unit is None:
            return encode(self.operation, **self.fields)
        return encode(self.operation, wait=_mask(self.wait), post=_mask(self.post), **self.fields)


def _mask(units: set[int]) -> int:
    return sum(1 << unit for unit in units)


def _overlap(a: Range, b: Range) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def conflict(earlier: Instruction, later: Instruction) -> bool:
    """Whether ``later`` must not start before ``earlier`` is complete."""
    return (
        _overlap(earlier.chip_writes, later.chip_reads)
        or _overlap(earlier.chip_reads, later.chip_writes)
        or _overlap(earlier.chip_writes, later.chip_writes)
        or _overlap(earlier.dram_writes, later.dram_reads)
        or _overlap(earlier.dram_reads, later.dram_writes)
        or _overlap(earlier.dram_writes, later.dram_writes)
    )


class _History:
    """One unit's past instructions, and which of them touched each chip element and each DRAM range last."""

    def __init__(self, elements: int) -> None:
        self.instructions: list[Instruction] = []
        self.read = np.full(elements, -1, np.int32)
        self.written = np.full(elements, -1, np.int32)
        self.dram: dict[str, list[tuple[int, Instruction]]] = defaultdict(list)

    def append(self, instruction: Instruction) -> None:
        number = len(self.instructions)
        self.instructions.append(instruction)
        self.read[slice(*instruction.chip_reads)] = number
        self.written[slice(*instruction.chip_writes)] = number
        if instruction.tensor:
            self.dram[instruction.tensor].append((number, instruction))

    def latest(self, instruction: Instruction) -> int:
        """Number of the last instruction here that ``instruction`` must not overtake, or -1."""
        pieces = (
            self.written[slice(*instruction.chip_reads)],
            self.written[slice(*instruction.chip_writes)],
            self.read[slice(*instruction.chip_writes)],
        )
        latest = max(int(piece.max(initial=-1)) for piece in pieces)
        for number, earlier in reversed(self.dram.get(instruction.tensor, ())):
            if number <= latest or conflict(earlier, instruction):
                return max(number, latest)
        return latest


def synchronize(program: Sequence[Instruction]) -> None:
    """Set ``wait`` and ``post`` of every instruction of ``program``.

    Each unit runs its own instructions in order, so of those of another unit only the last conflicting one counts,
    and only if no earlier wait has covered it.  So between two units tokens are given and taken in the same order,
    and a counter does.  Raises ConfigurationError if there could be more tokens than a counter holds.
    """
    histories = [_History(max((i.chip_end for i in program), default=0)) for _ in UNITS]
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
