"""Where a part of a map lies in the activation memory."""

from dataclasses import dataclass

from .span import Span, size


@dataclass(frozen=True)
class Piece:
    """A rectangle of a map in the activation memory: ``rows`` and ``elements`` of each, half open, from ``base`` on."""

    base: int
    rows: Span
    elements: Span

    def address(self, row: int, element: int) -> int:
        return self.base + (row - self.rows[0]) * size(self.elements) + element - self.elements[0]
