"""One instruction of a program, with what it touches and writes: what the planner knows beyond its 64 bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ...quant.graph import Pair
from ..isa.program import UNITS, Operation, encode
from .cutting import ChannelTile, SpatialTile
from .span import Span, size

UNIT_OF = {
    Operation.LOAD: UNITS.index("loader"),
    Operation.ARRAY: UNITS.index("array"),
    Operation.VECTOR: UNITS.index("vector"),
    Operation.SETUP: UNITS.index("vector"),
    Operation.STORE: UNITS.index("storer"),
}


@dataclass(frozen=True)
class Drained:
    """What one channel tile of one spatial tile writes, in the order of the vector unit's writes.

    layer : index in Plan.layers;  rows, columns, channels : (first, count) of that layer's own results (see Spread)
    group : channels in one write
    """

    layer: int
    rows: Pair
    columns: Pair
    channels: Pair
    group: int

    @classmethod
    def of(cls, layer: int, tile: SpatialTile, channels: ChannelTile, group: int) -> Drained:
        """Of ``channels`` of ``tile``."""
        rows, columns = ((span[0], size(span)) for span in (tile.rows, tile.columns))
        return cls(layer, rows, columns, (channels.output, channels.channels), group)


@dataclass(frozen=True, eq=False)
class Instruction:
    """An instruction and, as half-open ranges, what it touches: ``chip`` in elements, ``dram`` in bytes.

    layer : index into the plan's engine layers;  chip_reads : any number of ranges
    drained : what a VECTOR instruction writes, a channel tile each
    wait, post : units, by index, whose token it takes before it starts, and to whom it gives one when it is complete
    """

    operation: Operation
    layer: int
    fields: Mapping[str, int]
    chip_reads: tuple[Span, ...] = ()
    chip_writes: Span = (0, 0)
    dram_reads: Span = (0, 0)
    dram_writes: Span = (0, 0)
    drained: tuple[Drained, ...] = ()
    wait: frozenset[int] = frozenset()
    post: frozenset[int] = frozenset()

    @property
    def unit(self) -> int | None:
        """Index into UNITS, or None for what takes no part in the exchange of tokens."""
        return UNIT_OF.get(self.operation)

    def encode(self) -> bytes:
        """The 64 bytes that the engine reads."""
        if self.unit is None:
            return encode(self.operation, **self.fields)
        return encode(self.operation, wait=_mask(self.wait), post=_mask(self.post), **self.fields)


def _mask(units: Collection[int]) -> int:
    return sum(1 << unit for unit in units)
