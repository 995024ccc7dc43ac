"""LOAD and STORE: spans of DRAM and of the activation memory, the same distance apart on each side."""

from dataclasses import dataclass

from ...quant.graph import Pair
from ..isa.program import TRANSFER, Operation
from .instruction import Instruction
from .span import Span

MOST_SPANS = 1 << TRANSFER["rows"].width
"""Spans of one instruction."""


@dataclass(frozen=True)
class Spans:
    """``count`` spans of ``length`` bytes; places and steps in DRAM in bytes, on chip in elements."""

    count: int
    length: int
    dram: int
    dram_step: int
    chip: int
    chip_step: int

    def load(self, layer: int, element_bytes: int) -> Instruction:
        """The LOAD of layer ``layer``, by index."""
        dram, chip = self._touched(element_bytes)
        return Instruction(Operation.LOAD, layer, self._fields(), dram_reads=dram, chip_writes=chip)

    def store(self, layer: int, element_bytes: int) -> Instruction:
        """The STORE of layer ``layer``, by index."""
        dram, chip = self._touched(element_bytes)
        return Instruction(Operation.STORE, layer, self._fields(), dram_writes=dram, chip_reads=(chip,))

    def _fields(self) -> dict[str, int]:
        places = {"dram": self.dram, "dram_step": self.dram_step, "chip": self.chip, "chip_step": self.chip_step}
        return {"rows": self.count - 1, "bytes": self.length - 1, **places}

    def _touched(self, element_bytes: int) -> tuple[Span, Span]:
        """Of DRAM, in bytes, and of the chip, in elements: from the first span to the last."""
        behind = self.dram + (self.count - 1) * self.dram_step + self.length
        last = self.chip + (self.count - 1) * self.chip_step + self.length // element_bytes
        return (self.dram, behind), (self.chip, last)


def of_rows(count: int, length: int, dram: int, dram_step: int, chip: int, chip_step: int) -> Spans:
    """A span of ``length`` bytes for each of ``count`` rows, or one where they follow each other in DRAM."""
    if length == dram_step:
        return Spans(1, count * length, dram, dram_step, chip, chip_step)
    return Spans(count, length, dram, dram_step, chip, chip_step)


def of_pixels(shape: Pair, length: int, dram: int, dram_steps: Pair, chip: int, chip_steps: Pair) -> list[Spans]:
    """A span of ``length`` bytes for each pixel of ``shape``, rows and columns, in as few instructions as can be.

    dram, chip : where the first begins;  dram_steps, chip_steps : from row to row, and from column to column
    """
    rows, columns = shape
    (dram_row, dram_column), (chip_row, chip_column) = dram_steps, chip_steps
    joined = (dram_row, chip_row) == (columns * dram_column, columns * chip_column)
    if joined and rows * columns <= MOST_SPANS:
        return [Spans(rows * columns, length, dram, dram_column, chip, chip_column)]
    if rows > columns:
        return [
            Spans(rows, length, dram + n * dram_column, dram_row, chip + n * chip_column, chip_row)
            for n in range(columns)
        ]
    return [
        Spans(columns, length, dram + n * dram_row, dram_column, chip + n * chip_row, chip_column) for n in range(rows)
    ]
