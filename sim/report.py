"""The result of a simulation, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..hw.folder import SIMULATION, save_simulation
from ..hw.manifest import Count, Number
from ..hw.sealed import Sealed, Sha256
from ..quant.graph.errors import ConfigurationError
from .comparison.compare import Difference

MODEL_TOLERANCE = 0.02

Figure = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Report:
    """A whole run.  Cycles are those of one image, the mean where images differ.

    build : SHA-256 of the manifest of the folder that was simulated
    predicted_cycles : by the planner, at a memory latency of 30 cycles and no back-pressure
    limit_cycles : sum over layers of max(MACs / (rows * columns), weight bytes / bus bytes)
    mac_utilization : MACs / (rows * columns * cycles), 0 to 1
    accuracy : share of images whose largest output is the label; None without labels
    stalls : cycles per image by unit and cause, the hardware's own counters
    layer_cycles : by layer, from the last value of the layer before to its own; empty where nobody measured them
    batch : images in one run; layer_cycles are of a run
    waveform : VCD around the first difference, None if there is none
    """

    build: Sha256
    images: Number
    bit_exact: bool
    mismatches: Count
    cycles_per_image: Figure
    predicted_cycles: Count
    limit_cycles: Count
    mac_utilization: Figure
    simulated_cycles_per_second: Figure
    simulator: str
    bench: str
    seed: int
    memory_latency: Count
    build_seconds: Figure
    simulation_seconds: Figure
    stalls: dict[str, Figure] = field(default_factory=dict)
    layer_cycles: dict[str, Figure] = field(default_factory=dict)
    batch: Number = 1
    accuracy: Figure | None = None
    differences: list[Difference] = field(default_factory=list)
    waveform: Path | None = None

    def __repr__(self) -> str:
        exact = "bit-exact" if self.bit_exact else f"{self.mismatches:,} values differ"
        return f"<Report: {exact}, {self.images} images, {self.cycles_per_image:,.0f} cycles an image>"

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

    def save(self, folder: Path) -> None:
        """Write simulation.json into the build ``folder``.  Raises DataError if it cannot, or holds another build."""
        save_simulation(folder, Simulation(report=self).to_bytes(), self.build)


class Simulation(Sealed):
    """What simulation.json holds: the report of the last simulation of a folder."""

    report: Report


def read_saved(folder: Path) -> Report | None:
    """What ``Report.save`` wrote into ``folder``, None if nothing did.  Raises ConfigurationError if it is damaged."""
    path = folder / SIMULATION
    if not path.exists():
        return None
    try:
        return Simulation.parse(path.read_bytes()).report
    except OSError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.strerror or error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path}: not what this version's `systolith simulate` writes ({error}); simulate again"
        ) from error
