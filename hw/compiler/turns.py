"""What the tiles of a program share while their instructions are made: whose turn a slot is, and what is loaded."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from .span import Span, size


@dataclass(frozen=True)
class Piece:
    """A rectangle of a map in the activation memory: ``rows`` and ``elements`` of each, half open, from ``base`` on."""

    base: int
    rows: Span
    elements: Span

    def address(self, row: int, element: int) -> int:
        return self.base + (row - self.rows[0]) * size(self.elements) + element - self.elements[0]


@dataclass
class Turns:
    """How often each layer has used its slots, and what the vector unit was last set up for."""

    loads: dict[int, int] = field(default_factory=partial(defaultdict, int))
    operands: dict[int, int] = field(default_factory=partial(defaultdict, int))
    bands: dict[int, Piece] = field(default_factory=dict)  # the whole rows that it loaded last
    tiles: dict[int, int] = field(default_factory=partial(defaultdict, int))
    settings: Mapping[str, int] = field(default_factory=dict)
    tables: int = -1  # the layer whose tables the lanes hold
    tables_on_chip: set[int] = field(default_factory=set)
