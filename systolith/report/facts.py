"""What a report says of a build: its layers, figures and stalls, from the manifest and the last simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from .. import quant
from ..sim.accelerator import Accelerator
from ..sim.report import Report

UNITS = ("loader", "array", "vector", "storer")


@dataclass(frozen=True)
class LayerRow:
    """One layer of the program.  Cycles are of one image.

    shape : (channels, rows, columns) of its output;  parameters : weights and biases
    measured : cycles, None unless a simulation measured them;  cells : multipliers of the array
    bound : "array" or "bus", whichever sets ``limit``;  read, written : DRAM bytes
    """

    number: int
    name: str
    operator: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    predicted: int
    measured: float | None
    limit: int
    bound: str
    cells: int
    read: int
    written: int

    @property
    def cycles(self) -> float:
        """Measured, or else predicted."""
        return self.predicted if self.measured is None else self.measured

    @property
    def utilization(self) -> float:
        """Share of the multipliers that are busy, 0 to 1."""
        return self.macs / (self.cells * self.cycles) if self.cycles > 0 else 0.0

    @property
    def moved(self) -> int:
        """DRAM bytes read and written."""
        return self.read + self.written


@dataclass(frozen=True)
class Figures:
    """A group of layers as one: "whole network", "convolutions", "fully connected"."""

    name: str
    layers: int
    macs: int
    cycles: float
    predicted: int
    measured: bool
    limit: int
    utilization: float


@dataclass(frozen=True)
class Stall:
    """Cycles of one image that ``unit`` waits for ``cause``."""

    unit: str
    cause: str
    cycles: float
    share: float


@dataclass(frozen=True)
class Compared:
    """What a simulation found of one layer's output of ``values`` elements; ``difference`` says that some are wrong."""

    name: str
    values: int
    status: str
    difference: bool


@dataclass(frozen=True)
class Part:
    """One part of the image's time, as the array spends it."""

    name: str
    cycles: float
    share: float


def layer_rows(accelerator: Accelerator, graph: quant.Graph, report: Report | None) -> list[LayerRow]:
    """A row for each layer of the manifest, in order."""
    entries = accelerator.manifest.layers
    starts = {graph.input} | {entry.output for entry in entries}
    makers = {layer.output: layer for layer in graph.layers}
    bus = accelerator.bus_bytes
    measured = report.layer_cycles if report else {}
    rows = []
    for number, entry in enumerate(entries):
        rows.append(
            LayerRow(
                number=number,
                name=entry.name,
                operator=entry.operator,
                shape=graph.tensors[entry.output].shape,
                parameters=_parameters(entry.output, starts, makers),
                macs=entry.macs,
                predicted=entry.predicted_cycles,
                measured=measured.get(entry.name),
                limit=entry.limit_cycles,
                bound="bus" if entry.weight_bytes * accelerator.cells > entry.macs * bus else "array",
                cells=accelerator.cells,
                read=entry.bytes_read,
                written=entry.bytes_written,
            )
        )
    return rows


def _parameters(output: str, starts: set[str], makers: Mapping[str, quant.Layer]) -> int:
    """Weights and biases of the graph's layers that one layer of the program computes: back to what others write."""
    total, names = 0, [output]
    while names:
        layer = makers[names.pop()]
        if isinstance(layer, quant.Conv):
            total += layer.weights.size + layer.bias.size
        names += [name for name in layer.inputs if name not in starts]
    return total


def groups(accelerator: Accelerator, rows: list[LayerRow], report: Report | None) -> list[Figures]:
    """The whole network, as its cycle counter counts it, then its convolutions and fully connected layers apart."""
    chosen = {
        "convolutions": [row for row in rows if row.macs and row.operator != "Gemm"],
        "fully connected": [row for row in rows if row.macs and row.operator == "Gemm"],
    }
    found = [_figures(name, group, accelerator.cells) for name, group in chosen.items() if group]
    cycles = report.cycles_per_image if report else float(accelerator.predicted_cycles)
    whole = Figures(
        name="whole network",
        layers=len(rows),
        macs=accelerator.macs,
        cycles=cycles,
        predicted=report.predicted_cycles if report else accelerator.predicted_cycles,
        measured=report is not None,
        limit=accelerator.limit_cycles,
        utilization=accelerator.macs / (accelerator.cells * cycles) if cycles else 0.0,
    )
    return [whole, *found]


def _figures(name: str, rows: list[LayerRow], cells: int) -> Figures:
    cycles, macs = sum(row.cycles for row in rows), sum(row.macs for row in rows)
    return Figures(
        name=name,
        layers=len(rows),
        macs=macs,
        cycles=cycles,
        predicted=sum(row.predicted for row in rows),
        measured=all(row.measured is not None for row in rows),
        limit=sum(row.limit for row in rows),
        utilization=macs / (cells * cycles) if cycles > 0 else 0.0,
    )


def stalls(accelerator: Accelerator, report: Report) -> list[Stall]:
    """The hardware's stall counters, with the manifest's words for their causes."""
    registers = accelerator.manifest.registers
    found = []
    for name, cycles in report.stalls.items():
        register = registers.get(f"STALL_{name.upper()}")
        described = register.description if register else name.replace("_", " ")
        unit, _, cause = described.removeprefix("cycles: ").partition(" waits for ")
        share = cycles / report.cycles_per_image if report.cycles_per_image else 0.0
        found.append(Stall(unit, cause or unit, cycles, share))
    return found


def compared(rows: list[LayerRow], report: Report) -> list[Compared]:
    """What ``report`` says of each layer's output; it keeps the first differences only."""
    firsts = {item.layer: str(item) for item in reversed(report.differences)}
    kept = "equal" if report.bit_exact else f"not among the first {len(report.differences)} differences"
    return [Compared(row.name, prod(row.shape), firsts.get(row.name, kept), row.name in firsts) for row in rows]


def array_time(accelerator: Accelerator, report: Report) -> list[Part]:
    """Where the array's cycles of one image went; the parts add up to all of them.

    The first is what its multipliers need if all are busy, then its waits by cause, then what is left: cycles in which
    some rows or columns are idle, and those before the first window and after the last.
    """
    cycles = report.cycles_per_image
    parts = [("all multipliers busy", accelerator.macs / accelerator.cells)]
    waits = [stall for stall in stalls(accelerator, report) if stall.unit == "array"]
    parts += [(f"waiting for {stall.cause}", stall.cycles) for stall in waits]
    rest = cycles - sum(count for _, count in parts)
    parts.append(("rows or columns idle, start and end", max(0.0, rest)))
    return [Part(name, count, count / cycles if cycles else 0.0) for name, count in parts]
