"""The layers of a build, one row each: what they are, how long they take, and what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from .. import quant
from ..hw.manifest import Layer, Timeline
from ..sim.accelerator import Accelerator
from ..sim.report import Report


@dataclass(frozen=True)
class LayerRow:
    """One layer of the program.  Cycles are of a run, bytes those of DRAM.

    shape : (channels, rows, columns) of what it writes;  parameters : weights and biases
    limit : cycles that no schedule on this array and bus can beat, None without MACs
    bound : "array" or "bus", whichever sets ``limit``; "vector unit" without MACs
    turn : of a layer with MACs, from when the array is done with those before it to when it is done with this one, its
    waits included, as predicted: turns do not overlap.  Of another, what the vector unit works on it
    predicted, measured : the cycle in which it and all before it are complete;  measured is None if nobody did
    cells : multipliers of the array;  bus_bytes : a cycle
    positions : windows of its largest tile, for each of which the accumulators hold a sum in each column
    """

    number: int
    name: str
    operator: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    limit: int | None
    bound: str
    turn: int
    predicted: int
    measured: float | None
    cells: int
    bus_bytes: int
    read: int
    written: int
    positions: int

    @property
    def utilization(self) -> float:
        """Share of the multipliers that are busy in its turn, 0 to 1."""
        return self.macs / (self.cells * self.turn) if self.turn else 0.0

    @property
    def moved(self) -> int:
        """DRAM bytes read and written."""
        return self.read + self.written

    @property
    def pace(self) -> float:
        """MACs a cycle, in its turn or in what its bytes take on the bus, whichever is longer: they may come early."""
        return self.macs / max(self.turn, self.moved / self.bus_bytes)


def layer_rows(accelerator: Accelerator, graph: quant.Graph, report: Report | None) -> list[LayerRow]:
    """A row for each layer of the manifest, in order."""
    entries = accelerator.manifest.layers
    shapes = _shapes(accelerator)
    turns = _turns(accelerator.manifest.timeline, len(entries))
    predicted = accumulate(entry.predicted_cycles for entry in entries)
    rows = []
    for number, (entry, done, measured) in enumerate(zip(entries, predicted, _ends(entries, report), strict=True)):
        macs = entry.macs
        bus_bound = entry.weight_bytes * accelerator.cells > macs * accelerator.bus_bytes
        rows.append(
            LayerRow(
                number=number,
                name=entry.name,
                operator=entry.operator,
                shape=_pixels(shapes[number], entry),
                parameters=_parameters(entry, graph) if macs else 0,
                macs=macs,
                limit=entry.limit_cycles if macs else None,
                bound="vector unit" if not macs else "bus" if bus_bound else "array",
                turn=turns[number],
                predicted=done,
                measured=measured,
                cells=accelerator.cells,
                bus_bytes=accelerator.bus_bytes,
                read=entry.bytes_read,
                written=entry.bytes_written,
                positions=entry.tile_positions,
            )
        )
    return rows


def _ends(entries: Sequence[Layer], report: Report | None) -> list[float | None]:
    """When each layer was complete in the simulation, None if it did not tell all of them apart."""
    cycles = report.layer_cycles if report else {}
    if len(cycles) < len(entries):
        return [None] * len(entries)
    return [*accumulate(cycles[entry.name] for entry in entries)]


def _turns(timeline: Timeline, count: int) -> list[int]:
    turns, reached = [0] * count, 0
    for item in timeline.array:
        turns[item.layer] += item.end - reached
        reached = item.end
    on_array = {item.layer for item in timeline.array}
    for item in timeline.vector:
        if item.layer not in on_array:
            turns[item.layer] += item.work
    return turns


def _pixels(written: tuple[int, ...], entry: Layer) -> tuple[int, ...]:
    """What is ``written`` as the output has it: neighbours that lie side by side in one result are columns."""
    channels, rows, columns = written
    return channels // entry.neighbours, rows, columns * entry.neighbours


def _shapes(accelerator: Accelerator) -> list[tuple[int, ...]]:
    """What each layer writes: of a concatenation's parts, each its own channels."""
    writes = np.array(accelerator.manifest.writes, np.int64)
    layers, rows, columns, channels = writes[:, 0], writes[:, 1:3], writes[:, 3:5], writes[:, 5:7]
    count = len(accelerator.manifest.layers)
    extents = []
    for axis in (channels, rows, columns):
        first, end = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
        np.minimum.at(first, layers, axis[:, 0])
        np.maximum.at(end, layers, axis.sum(axis=1))
        extents.append(end - first)
    return [(int(c), int(h), int(w)) for c, h, w in zip(*extents, strict=True)]


def _parameters(entry: Layer, graph: quant.Graph) -> int:
    """Weights and biases of the convolutions that the layer is, by its name, which begins with the first of them."""
    name = entry.name.removesuffix(f" (image {entry.image})")
    named = [c for c in graph.layers if isinstance(c, quant.Conv) and f"{name}+".startswith(f"{c.name}+")]
    first = max(named, key=lambda conv: len(conv.name))
    others = name.removeprefix(first.name).split("+")
    joined = [c for c in graph.layers if isinstance(c, quant.Conv) and c.name in others]
    return sum(conv.weights.size + conv.bias.size for conv in (first, *joined))
