"""The result of a simulation, for people and for programs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..quant.files import write_whole
from ..quant.graph.errors import ConfigurationError
from .comparison.compare import Difference

MODEL_TOLERANCE = 0.02
SAVED = "simulation.json"
SIMULATED = ("systolith.v", "program.bin", "memory.bin", "manifest.json", "model.onnx")


@dataclass(frozen=True)
class Report:
    """A whole run.  Cycles are those of one image, the mean where images differ.

    predicted_cycles : by the planner, at a memory latency of 30 cycles and no back-pressure
    limit_cycles : sum over layers of max(MACs / (rows * columns), weight bytes / bus bytes)
    mac_utilization : MACs / (rows * columns * cycles), 0 to 1
    accuracy : share of images whose largest output is the label; None without labels
    stalls : cycles per image by unit and cause, the hardware's own counters
    layer_cycles : by layer, from the last value of the layer before to its own; empty where nobody measured them
    batch : images in one run; layer_cycles are of a run
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
    layer_cycles: dict[str, float] = field(default_factory=dict)
    batch: int = 1
    accuracy: float | None = None
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

    def save(self, build: Path) -> None:
        """Write simulation.json into the folder ``build`` that was simulated.  Raises DataError if it cannot."""
        text = json.dumps({"build": fingerprint(build), **self.as_json()}, indent=1)
        write_whole(build / SAVED, text.encode() + b"\n")


@dataclass(frozen=True)
class SavedReport:
    """The report of the last simulation of a folder; ``current`` unless the folder was generated anew since."""

    report: Report
    current: bool


def read_saved(build: Path) -> SavedReport | None:
    """What ``Report.save`` wrote into ``build``, None if nothing did.  Raises ConfigurationError if it is damaged."""
    path = build / SAVED
    if not path.exists():
        return None
    try:
        fields = json.loads(path.read_text())
        simulated = fields.pop("build")
        fields["differences"] = [Difference(**item) for item in fields["differences"]]
        fields["waveform"] = Path(fields["waveform"]) if fields["waveform"] else None
        report = Report(**fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(
            f"{path}: not what this version's `systolith simulate` writes ({error}); simulate again"
        ) from error
    return SavedReport(report, simulated == fingerprint(build))


def fingerprint(build: Path) -> str:
    """Of all files that a simulation depends on, SHA-256 in hexadecimal."""
    digest = hashlib.sha256()
    for name in SIMULATED:
        with (build / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
