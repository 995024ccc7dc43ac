"""Fully connected layers begin before what they read is whole.

An ARRAY waits for the VECTORs that write what it reads, which end some 80 cycles behind the array's last window.  So
the first channel tile of a layer on one pixel has an ARRAY for the part of its reduction that the last of these VECTORs
does not write, and one for the rest: while that VECTOR ends the array is at work.  The weights' order stays the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from ..isa.program import Operation
from .cutting import ChannelTile, Part
from .emission import TileEmitter
from .engine_layer import EngineLayer
from .instruction import Instruction
from .residency import Placement


def in_one_pixel(layer: EngineLayer, placement: Placement) -> bool:
    """Whether ``layer``, of the array, reads a single pixel on chip, in one go."""
    whole = layer.on_array and layer.geometry.whole_pixels and len(placement.tiling.parts) == 1
    return whole and layer.source[1:] == (1, 1) and placement.source is not None


def begun(emit: TileEmitter, group: Sequence[ChannelTile], program: Sequence[Instruction]) -> Part | None:
    """The part of the reduction of ``group``'s first channel tile that is there before the last VECTOR of ``program``
    that writes its source is complete; None if there is none, or all of it is."""
    if group[0].output or not in_one_pixel(emit.it, emit.place):
        return None
    assert emit.place.source is not None
    (part,) = emit.place.tiling.parts
    low = emit.place.source + emit.it.input_at + group[0].input
    last = next((i for i in reversed(program) if i.operation == Operation.VECTOR and i.chip_writes[1] > low), None)
    if last is None or last.chip_writes[0] >= low + part.run[1]:
        return None
    there = (last.chip_writes[0] - low) // emit.p.rows * emit.p.rows
    return replace(part, run=(0, there)) if 0 < there < part.run[1] else None


def in_two(emit: TileEmitter, group: Sequence[ChannelTile], part: Part, *, flush: bool) -> list[Instruction]:
    """The ARRAYs of ``group``, the first channel tile's cut behind ``part`` of its reduction."""
    (whole,) = emit.place.tiling.parts
    rest = replace(whole, run=(part.run[1], whole.run[1]))
    alone = len(group) == 1
    made = emit.array(group[:1], part, first=True, last=False, flush=False)
    made += emit.array(group[:1], rest, first=False, last=True, flush=flush and alone)
    return made if alone else made + emit.array(group[1:], whole, first=True, last=True, flush=flush)
