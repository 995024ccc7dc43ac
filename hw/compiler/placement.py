"""Where the planner put things in the activation memory, and how long they live there."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..isa.parameters import Parameters
from ..isa.program import AFFINE_ROWS, TABLE_ENTRIES
from .cutting import tile_count
from .engine_layer import EngineLayer
from .tiling import Tiling
from .windows import Lifetime

TABLE_BYTES = 4 * TABLE_ENTRIES


def constant_bytes(layer: EngineLayer, p: Parameters) -> int:
    """Bytes of activation memory for what the vector unit reads of ``layer`` beside maps: tables, or the channels'
    parameters, whole beats."""
    if layer.affine:
        taken = tile_count(layer.geometry, p) * AFFINE_ROWS * p.columns
        return taken + -taken % p.bus_bytes
    return TABLE_BYTES if layer.tables is not None else 0


@dataclass(frozen=True)
class Placement:
    """One layer's tiling and its addresses in the activation memory, in elements; None: not resident.

    input_slots, operand_slots, output_slots : addresses that its tiles use in turn
    tables : of its tables or its channels' parameters, or None
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
