"""What lies in the activation memory while each layer is at work: resident maps, slots, tables."""

from .compiler.placement import constant_bytes
from .compiler.plan import Plan
from .compiler.windows import lifetimes
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
            for address, count in _side_by_side(addresses, size):
                found.append(Block(what, layer.name, *window, address * each, count * size * each))
        if placement.tables is not None:
            length = constant_bytes(layer, plan.parameters)
            found.append(Block("tables", layer.name, *window, placement.tables * each, length))
    return found


def _side_by_side(addresses: tuple[int, ...], size: int) -> list[tuple[int, int]]:
    """``addresses`` of slots of ``size`` elements as runs, (first, count)."""
    runs: list[tuple[int, int]] = []
    for address in addresses:
        if runs and address == runs[-1][0] + runs[-1][1] * size:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((address, 1))
    return runs
