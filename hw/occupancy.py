"""What lies in the activation memory while each layer is at work: resident maps, slots, tables."""

from .compiler.placement import TABLE_BYTES, lifetimes
from .compiler.plan import Plan
from .manifest import Block, Slots


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
        taken: dict[Slots, tuple[tuple[int, ...], int]] = {
            "input": (placement.input_slots, tiling.input_slot),
            "operand": (placement.operand_slots, tiling.operand_slot),
            "output": (placement.output_slots, tiling.output_slot),
        }
        for what, (addresses, size) in taken.items():
            if addresses:
                found.append(Block(what, layer.name, *window, addresses[0] * each, len(addresses) * size * each))
        if placement.tables is not None:
            found.append(Block("tables", layer.name, *window, placement.tables * each, TABLE_BYTES))
    return found
