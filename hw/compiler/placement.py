"""Where the planner put things in the activation memory, and how long they live there."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..isa.program import TABLE_ENTRIES
from .tiling import Tiling
from .windows import Lifetime

TABLE_BYTES = 4 * TABLE_ENTRIES


@dataclass(frozen=True)
class Placement:
    """One layer's tiling and its addresses in the activation memory, in elements; None: not resident.

    input_slots, operand_slots, output_slots : addresses that its tiles use in turn;  tables : of its tables, or None
    hands_on : the next layer takes its results, plane by plane, from its output slots, see relay
    """

    tiling: Tiling
    source: int | None = None
    operand: int | None = None
    output: int | None = None
    input_slots: tuple[int, ...] = ()
    operand_slots: tuple[int, ...] = ()
    output_slots: tuple[int, ...] = ()
    tables: int | None = None
    hands_on: bool = False


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the planner put things.  ``windows``: the layers, by index, during which each layer may be at work."""

    placements: tuple[Placement, ...]
    windows: tuple[Lifetime, ...]
    resident: Mapping[str, int]

    @property
    def tilings(self) -> list[Tiling]:
        return [placement.tiling for placement in self.placements]

    def takes(self, number: int) -> bool:
        """Whether layer ``number``, by index, takes what the one before hands on."""
        return number > 0 and self.placements[number - 1].hands_on
