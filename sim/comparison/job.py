"""What the command line's process hands to the simulator's process, and what comes back."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compare import Difference
from .expected import Expectation

JOB = "job.pickle"
OUTCOMES = "outcomes.jsonl"


@dataclass
class Job:
    """Images to run on a compiled simulation.

    memory : uint8, DRAM before each image, addresses relative to ``base``
    inputs : uint8, (images, input bytes), written at ``input_address``
    vectors : uint8, (images, expected bytes + 1), see Expectation.vectors
    registers : byte offset by name;  causes, waits : texts of the manifest
    memory_latency, patience, limit : cycles;  trace : first and last cycle of a waveform
    """

    simulator: str
    bus_bytes: int
    monitor_bytes: int
    memory: NDArray[np.uint8]
    base: int
    program_address: int
    input_address: int
    inputs: NDArray[np.uint8]
    expectation: Expectation
    vectors: NDArray[np.uint8]
    registers: Mapping[str, int]
    causes: Mapping[str, str]
    waits: list[str]
    memory_latency: int
    patience: int
    limit: int
    seed: int
    trace: tuple[int, int] | None = None

    def save(self, folder: Path) -> None:
        with (folder / JOB).open("wb") as file:
            pickle.dump(self, file, protocol=5)

    @staticmethod
    def load(folder: Path) -> Job:
        """Only files that this process's parent wrote a moment ago."""
        with (folder / JOB).open("rb") as file:
            job: Job = pickle.load(file)
        return job


@dataclass
class Outcome:
    """One image: cycles as the accelerator counted them, stall counters, cycles by layer, what was wrong.

    ``simulated_cycles`` counts from one start to the next, ``seconds`` the wall clock of the same.
    """

    image: int
    cycles: int
    simulated_cycles: int
    seconds: float
    stalls: dict[str, int]
    layer_cycles: dict[str, int]
    mismatches: int
    differences: list[Difference] = field(default_factory=list)

    def line(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Failure:
    """The run ended early, at ``cycle`` of ``image``."""

    image: int
    cycle: int
    message: str

    def line(self) -> str:
        return json.dumps({"failure": asdict(self)})


def read_outcomes(text: str) -> tuple[list[Outcome], Failure | None]:
    """Parse the whole lines of an outcomes file, which may still grow."""
    outcomes: list[Outcome] = []
    failure = None
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        fields: dict[str, Any] = json.loads(line)
        if "failure" in fields:
            failure = Failure(**fields["failure"])
        else:
            differences = [Difference(**item) for item in fields.pop("differences")]
            outcomes.append(Outcome(**fields, differences=differences))
    return outcomes, failure
