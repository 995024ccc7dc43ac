"""What lies in the activation memory while each layer is at work: resident maps, slots, tables."""

from dataclasses import dataclass

from .plan import Plan
from .residency import TABLE_BYTES, lifetimes


@dataclass(frozen=True)
class Block:
    """Bytes ``address .. address + bytes`` of the activation memory, taken from layer ``first`` to layer ``last``.

    what : "map", "input", "operand" or "output" slots, or "tables";  name : the map's, or that of the slots' layer
    """

    what: str
    name: str
    first: int
    last: int
    address: int
    bytes: int


def blocks(plan: Plan) -> list[Block]:
    """All of them, maps first.  Two that share a layer share no byte."""
    each = plan.parameters.element_bytes
    lives = lifetimes(plan.layers, plan.layout.windows)
    found = []
    for name, address in plan.layout.resident.items():
        channels, rows, columns = plan.graph.tensors[name].shape
        found.append(Block("map", name, *lives[name], address * each, channels * rows * columns * each))
    for layer, placement, window in zip(plan.layers, plan.placements, plan.layout.windows, strict=True):
        tiling = placement.tiling
        for what, slots, size in (
            ("input", placement.input_slots, tiling.input_slot),
            ("operand", placement.operand_slots, tiling.operand_slot),
            ("output", placement.output_slots, tiling.output_slot),
        ):
            if slots:
                found.append(Block(what, layer.name, *window, slots[0] * each, len(slots) * size * each))
        if placement.tables is not None:
            found.append(Block("tables", layer.name, *window, placement.tables * each, TABLE_BYTES))
    return found
