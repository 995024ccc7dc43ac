"""The figures of a whole network, and of its convolutions and fully connected layers apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from ..quant import ConfigurationError
from ..sim.accelerator import Accelerator
from ..sim.report import Report
from .layers import LayerRow


@dataclass(frozen=True)
class Figures:
    """A group of layers as one: "whole network", "convolutions", "fully connected".  Cycles are those of a run.

    cycles : the whole network's as measured, else as predicted; a group's turns on the array, as predicted
    utilization : share of the multipliers that are busy in them, 0 to 1
    """

    name: str
    layers: int
    macs: int
    cycles: float
    limit: int
    utilization: float


def groups(accelerator: Accelerator, rows: Sequence[LayerRow], report: Report | None) -> list[Figures]:
    """The whole network first."""
    chosen = {
        "convolutions": [row for row in rows if row.macs and row.operator != "Gemm"],
        "fully connected": [row for row in rows if row.macs and row.operator == "Gemm"],
    }
    cycles = run_cycles(accelerator, report)
    whole = _figures("whole network", rows, cycles, accelerator.cells)
    return [
        whole,
        *(_figures(name, g, sum(row.turn for row in g), accelerator.cells) for name, g in chosen.items() if g),
    ]


def _figures(name: str, rows: Sequence[LayerRow], cycles: float, cells: int) -> Figures:
    macs = sum(row.macs for row in rows)
    return Figures(name, len(rows), macs, cycles, sum(row.limit or 0 for row in rows), macs / (cells * cycles))


def run_cycles(accelerator: Accelerator, report: Report | None) -> float:
    """Cycles of a run, measured or else predicted."""
    return report.cycles_per_image * report.batch if report else float(accelerator.predicted_cycles)


@dataclass(frozen=True)
class Speed:
    """What a run's ``cycles`` for ``images`` images take at a clock of ``mhz``, which no synthesis has confirmed.

    Raises ConfigurationError for a clock that is none.
    """

    mhz: float
    cycles: float
    images: int

    def __post_init__(self) -> None:
        if not (isfinite(self.mhz) and self.mhz > 0):
            raise ConfigurationError(f"the clock must be above 0 MHz, such as 100, not {self.mhz:g}")

    @property
    def milliseconds(self) -> float:
        """Of a run."""
        return self.cycles / self.mhz / 1e3

    @property
    def images_per_second(self) -> float:
        return 1e3 * self.images / self.milliseconds
