"""What the accelerator counted in its runs, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Counters:
    """Of one run, in cycles.  stalls : by the names of the STALL registers, in small letters."""

    cycles: int
    array_busy: int
    stalls: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Run:
    """Outputs by the model's names, and what each run of ``batch`` images took.

    reals : as the model outputs them;  integers : of the same images, (N, channels, rows, columns)
    """

    reals: Mapping[str, NDArray[Any]]
    integers: Mapping[str, NDArray[np.int64]]
    counters: Sequence[Counters]
    batch: int
    predicted_cycles: int

    @property
    def cycles_per_image(self) -> float:
        """On average."""
        return float(np.mean([counted.cycles for counted in self.counters])) / self.batch

    def mean(self) -> dict[str, float]:
        """Each counter, by name, in cycles a run."""
        names = ("cycles", "array_busy")
        found = {name: float(np.mean([getattr(counted, name) for counted in self.counters])) for name in names}
        stalls = self.counters[0].stalls
        return found | {name: float(np.mean([counted.stalls[name] for counted in self.counters])) for name in stalls}

    def lines(self) -> list[str]:
        """The counters for people."""
        mean = self.mean()
        cycles = mean["cycles"]
        stalls = ", ".join(f"{name} {count:,.0f}" for name, count in mean.items() if name.startswith("stall") and count)
        return [
            f"{len(self.counters):,} runs of {self.batch}, {cycles:,.0f} cycles a run, predicted "
            f"{self.predicted_cycles:,} ({cycles / self.predicted_cycles - 1:+.2%})",
            f"array busy in {mean['array_busy'] / cycles:.1%} of them" + (f"; {stalls}" if stalls else ""),
        ]
