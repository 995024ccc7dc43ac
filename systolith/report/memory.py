"""What a build keeps where: the activation memory layer by layer, the other memories on chip, the regions of DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..sim.accelerator import Accelerator
from .layers import LayerRow

CONTENTS = {
    "constants": "weights, requantization parameters, tables",
    "input": "the host writes it",
    "output": "the host reads it",
    "scratch": "feature maps that do not stay on chip, dead ones written over",
    "program": "instructions",
}


class Block(NamedTuple):
    """Bytes ``address .. address + bytes`` of the activation memory, taken from layer ``first`` to layer ``last``.

    what : "map", "input", "operand" or "output" slots, or "tables";  name : the map's, or that of the slots' layer
    """

    what: str
    name: str
    first: int
    last: int
    address: int
    bytes: int


@dataclass(frozen=True)
class Occupancy:
    """What lies in the activation memory of ``capacity`` bytes during each of ``layers`` layers."""

    blocks: tuple[Block, ...]
    layers: int
    capacity: int

    @property
    def taken(self) -> list[int]:
        """Bytes that hold something, during each layer."""
        return [sum(b.bytes for b in self.blocks if b.first <= n <= b.last) for n in range(self.layers)]


@dataclass(frozen=True)
class OnChip:
    """One memory: its size in bytes, and how much of it is used when most is."""

    name: str
    bytes: int
    used: str


@dataclass(frozen=True)
class InDram:
    """One region of DRAM; ``address`` is relative to the BASE register, in bytes."""

    name: str
    address: int
    bytes: int
    holds: str


def occupancy(accelerator: Accelerator) -> Occupancy:
    """Of the activation memory."""
    manifest = accelerator.manifest
    blocks = tuple(Block(*block) for block in manifest["activations"])
    return Occupancy(blocks, len(manifest["layers"]), 1024 * int(manifest["parameters"]["activation_kib"]))


def on_chip(accelerator: Accelerator, occupied: Occupancy, rows: Sequence[LayerRow]) -> list[OnChip]:
    """Activation memory, accumulators, weight FIFO."""
    p = accelerator.manifest["parameters"]
    taken = occupied.taken
    peak = max(taken)
    depth = half_depth(accelerator)
    largest = max(rows, key=lambda row: row.positions)
    fifo, tile_bits = 1024 * int(p["weight_fifo_kib"]), accelerator.cells * int(p["weight_bits"])
    return [
        OnChip(
            "activation memory",
            occupied.capacity,
            f"at most {peak:,} bytes ({peak / occupied.capacity:.1%}), during '{rows[taken.index(peak)].name}'",
        ),
        OnChip(
            "accumulators",
            1024 * int(p["accumulator_kib"]),
            f"at most {largest.positions:,} of {depth:,} positions of each half ({largest.positions / depth:.1%}), by"
            f" '{largest.name}'",
        ),
        OnChip(
            "weight FIFO",
            fifo,
            f"has room for {8 * fifo // tile_bits:,} tiles of {p['rows']} by {p['columns']} weights, fetched ahead",
        ),
    ]


def half_depth(accelerator: Accelerator) -> int:
    """Positions that each half of the accumulators holds, at four bytes for each column."""
    p = accelerator.manifest["parameters"]
    return 1024 * int(p["accumulator_kib"]) // (2 * 4 * int(p["columns"]))


def in_dram(accelerator: Accelerator) -> list[InDram]:
    """The regions that hold something, by address."""
    regions = accelerator.manifest["memory"]["regions"]
    found = [InDram(name, r["address"], r["bytes"], CONTENTS[name]) for name, r in regions.items() if r["bytes"]]
    return sorted(found, key=lambda region: region.address)
