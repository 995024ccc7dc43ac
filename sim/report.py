"""The result of a simulation, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .compare import Difference

MODEL_TOLERANCE = 0.02


@dataclass(frozen=True)
class Report:
    """A whole run.  Cycles are those of one image, the mean where images differ.

    predicted_cycles : by the planner, at a memory latency of 30 cycles and no back-pressure
    limit_cycles : sum over layers of max(MACs / (rows * columns), weight bytes / bus bytes)
    mac_utilization : MACs / (rows * columns * cycles), 0 to 1
    accuracy : share of images whose largest output is the label; None without labels
    stalls : cycles per image by unit
    waveform : VCD around the first difference, None if there is none
    """

    images: int
    bit_exact: bool
    mismatches: int
    cycles_per_image: float
    predicted_cycles: int
    limit_cycles: int
    mac_utilization: float
    simulated_cycles_per_second: float
    simulator: str
    bench: str
    seed: int
    memory_latency: int
    build_seconds: float
    simulation_seconds: float
    stalls: dict[str, float] = field(default_factory=dict)
    accuracy: float | None = None
    differences: list[Difference] = field(default_factory=list)
    waveform: Path | None = None

    @property
    def prediction_error(self) -> float:
        """(measured - predicted) / predicted."""
        return (self.cycles_per_image - self.predicted_cycles) / max(1, self.predicted_cycles)

    @property
    def prediction_holds(self) -> bool:
        """Whether measured cycles are within 2% of the planner's, which it claims for the bulk bench only."""
        return self.bench != "bulk" or abs(self.prediction_error) <= MODEL_TOLERANCE

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for json.dumps."""
        fields = asdict(self)
        fields["waveform"] = str(self.waveform) if self.waveform else None
        return fields
