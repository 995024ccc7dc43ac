"""Layers whose source is on chip begin before it is whole.

An ARRAY waits for the VECTORs that write what it reads, which end some 80 cycles behind the array's last window.  So
the first channel tile of a layer has an ARRAY for the part of its reduction that the last of these VECTORs does not
write, chunks of a single pixel's channels or else kernel rows, and one for the rest: while that VECTOR ends the array
is at work.  The weights' order stays the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..isa.program import Operation
from .cutting import ChannelTile, Part, source_rows
from .emission import TileEmitter
from .engine_layer import EngineLayer
from .instruction import Instruction
from .placement import Placement


def in_one_pixel(layer: EngineLayer, placement: Placement) -> bool:
    """Whether ``layer``, of the array, reads a single pixel on chip, and no padding, in one go."""
    whole = layer.on_array and layer.geometry.of_a_pixel and len(placement.tiling.parts) == 1
    return whole and placement.source is not None


def begun(emit: TileEmitter, group: Sequence[ChannelTile], program: Sequence[Instruction]) -> Part | None:
    """The part of the reduction of the first channel tile, in ``group``, that is there before the last VECTOR of
    ``program`` is complete: some chunks of a pixel, or some of the kernel's rows.

    None if there is none, or all of it is.
    """
    it, place = emit.it, emit.place
    if place.source is None or len(place.tiling.parts) > 1 or not it.geometry.whole_pixels:
        return None
    if group[0].output or emit.tile.rows[0] or emit.tile.columns[0]:
        return None
    (part,) = place.tiling.parts
    low, row = place.source + it.input_at, it.source[0] * it.source[2]
    last = next((i for i in reversed(program) if i.operation == Operation.VECTOR), None)
    if last is None or last.chip_writes[1] <= low or last.chip_writes[0] >= low + it.source[1] * row:
        return None
    if it.geometry.of_a_pixel:
        there = (last.chip_writes[0] - low) // emit.p.rows * emit.p.rows
        return replace(part, run=(0, there)) if 0 < there < part.run[1] else None
    rows = (last.chip_writes[0] - low) // row
    kernel_rows = part.kernel_rows[1]
    fewer = [replace(part, kernel_rows=(0, count)) for count in range(1, kernel_rows + 1)]
    ready = [of for of in fewer if source_rows(emit.g, emit.kernel, emit.tile, of)[1] <= rows]
    return ready[-1] if ready and len(ready) < kernel_rows else None


def in_two(emit: TileEmitter, group: Sequence[ChannelTile], part: Part, *, flush: bool) -> list[Instruction]:
    """The ARRAYs of ``group``, the first channel tile's cut behind ``part`` of its reduction, see ``begun``."""
    (whole,) = emit.place.tiling.parts
    rest = replace(whole, run=(part.run[1], whole.run[1]))
    if part.kernel_rows != whole.kernel_rows:
        rest = replace(whole, kernel_rows=(part.kernel_rows[1], whole.kernel_rows[1]))
    alone = len(group) == 1
    made = emit.array(group[:1], part, first=True, last=False, flush=False)
    made += emit.array(group[:1], rest, first=False, last=True, flush=flush and alone)
    return made if alone else made + emit.array(group[1:], whole, first=True, last=True, flush=flush)
