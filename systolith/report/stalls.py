"""Where the cycles of a simulated run went: the hardware's own stall counters, and how the array spent its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..sim.accelerator import Accelerator
from ..sim.report import Report
from .figures import run_cycles


@dataclass(frozen=True)
class Stall:
    """Cycles of a run that ``unit`` waits for ``cause``."""

    unit: str
    cause: str
    cycles: float
    share: float


@dataclass(frozen=True)
class Part:
    """One part of a run's time, as the array spends it."""

    name: str
    cycles: float
    share: float


def stalls(accelerator: Accelerator, report: Report) -> list[Stall]:
    """The hardware's stall counters, with the manifest's words for their causes."""
    registers = accelerator.manifest.registers
    found = []
    for name, cycles in report.stalls.items():
        described = registers[f"STALL_{name.upper()}"].description
        unit, _, cause = described.removeprefix("cycles: ").partition(" waits for ")
        found.append(Stall(unit, cause, cycles * report.batch, cycles / report.cycles_per_image))
    return found


def array_time(accelerator: Accelerator, report: Report) -> list[Part]:
    """Where the array's cycles of a run went; the parts add up to all of them.

    Windows enter the array in as many cycles as the program has it: the first part is what they would take if all
    multipliers were busy, the second what idle rows and columns add.  Then come the waits by cause, and what is left.
    """
    cycles = run_cycles(accelerator, report)
    needed = accelerator.macs / accelerator.cells
    entering = sum(item.work for item in accelerator.manifest.timeline.array)
    parts = [("all multipliers busy", needed), ("rows or columns idle", entering - needed)]
    waits: Sequence[Stall] = [stall for stall in stalls(accelerator, report) if stall.unit == "array"]
    parts += [(f"waiting for {stall.cause}", stall.cycles) for stall in waits]
    parts.append(("start, end, and between instructions", cycles - sum(count for _, count in parts)))
    return [Part(name, count, count / cycles) for name, count in parts]
