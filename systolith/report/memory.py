"""What a build keeps where: the activation memory layer by layer, the other memories on chip, the regions of DRAM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..hw.manifest import Block
from ..sim.accelerator import Accelerator
from .layers import LayerRow

CONTENTS = {
    "constants": "weights, requantization parameters, tables",
    "input": "the host writes it",
    "output": "the host reads it",
    "scratch": "feature maps that do not stay on chip, dead ones written over",
    "program": "instructions",
}


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
    return Occupancy(manifest.activations, len(manifest.layers), 1024 * manifest.parameters.activation_kib)


def on_chip(accelerator: Accelerator, occupied: Occupancy, rows: Sequence[LayerRow]) -> list[OnChip]:
    """Activation memory, accumulators, weight FIFO."""
    p = accelerator.manifest.parameters
    taken = occupied.taken
    peak = max(taken)
    largest = max(rows, key=lambda row: row.positions)
    share = largest.positions / p.accumulator_depth
    return [
        OnChip(
            "activation memory",
            occupied.capacity,
            f"at most {peak:,} bytes ({peak / occupied.capacity:.1%}), during '{rows[taken.index(peak)].name}'",
        ),
        OnChip(
            "accumulators",
            1024 * p.accumulator_kib,
            f"at most {largest.positions:,} of {p.accumulator_depth:,} positions of each half ({share:.1%}), by"
            f" '{largest.name}'",
        ),
        OnChip(
            "weight FIFO",
            1024 * p.weight_fifo_kib,
            f"has room for {8 * 1024 * p.weight_fifo_kib // (accelerator.cells * p.weight_bits):,} tiles of {p.rows} by"
            f" {p.columns} weights, fetched ahead",
        ),
    ]


def in_dram(accelerator: Accelerator) -> list[InDram]:
    """The regions that hold something, by address."""
    regions = dict(accelerator.manifest.memory.regions)
    found = [InDram(name, r.address, r.bytes, CONTENTS[name]) for name, r in regions.items() if r.bytes]
    return sorted(found, key=lambda region: region.address)
