"""The ``run`` command as a function: a build on an accelerator, wherever it is, beside golden."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import golden, quant
from ..data import Inputs, save_arrays
from ..host import Accelerator, Carrier, DeviceMemory, PynqBoard, Run, SerialLine, Uio
from ..hw.isa.register_map import whole_pages
from ..progress import progress_bar
from ..quant.graph.errors import ConfigurationError, DataError
from ..sim import accelerator as accelerators
from .golden import accuracy, load_images

PLACES = "sim, sim:board, a serial port, uio:NAME[:BUFFER], mem:REGISTERS:MEMORY:BYTES or pynq:OVERLAY.bit"
SIMULATED_CYCLES = 2_000
"""That a simulation makes in a second at the very least."""
SLOWEST_CLOCK = 1e6


@dataclass(frozen=True, eq=False)
class BuildRun:
    """What came of it.  on : where it ran;  equal : whether all outputs are golden's, bit for bit"""

    build: Path
    on: str
    run: Run
    equal: bool
    accuracy: float | None
    path: Path | None

    @property
    def reals(self) -> Mapping[str, NDArray[Any]]:
        """Outputs by the model's names."""
        return self.run.reals

    @property
    def images(self) -> int:
        return len(next(iter(self.run.reals.values())))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "build": str(self.build),
            "on": self.on,
            "images": self.images,
            "equal": self.equal,
            "accuracy": self.accuracy,
            "cycles_per_image": self.run.cycles_per_image,
            "predicted_cycles": self.run.predicted_cycles / self.run.batch,
            "counters": self.run.mean(),
            "outputs": {name: values.tolist() for name, values in self.reals.items()},
        }

    def lines(self) -> list[str]:
        """For people."""
        verdict = "equal golden" if self.equal else "DIFFER from golden"
        said = [f"the outputs of {self.images} image{'s' * (self.images != 1)} {verdict}", *self.run.lines()]
        if self.accuracy is not None:
            said.insert(1, f"accuracy: {self.accuracy:.2%}")
        return [*said, f"written to {self.path}"] if self.path else said


def run_build(
    build: str | Path,
    inputs: Inputs,
    *,
    on: str = "sim",
    output: str | Path | None = None,
    labels: ArrayLike | None = None,
    images: int | None = None,
    baud: int = 1_000_000,
    timeout: float | None = None,
    show_progress: bool = False,
) -> BuildRun:
    """Run the build in folder ``build`` on images by its driver, and compare the outputs with golden's.

    inputs : an .npz file with the images ``x`` and perhaps labels ``y``, or the array x, or the pair (x, y)
    on : PLACES;  output : an .npz file to write, ``y`` and ``y_q`` as run_golden does
    images : only the first so many;  baud : of a serial port;  timeout : seconds a run, by default what must do

    Raises a SystolithError that says what is wrong with the folder, the data, the board, or the way to it.
    """
    if output is not None:
        quant.check_target(output)
    source = accelerators.load(Path(build))
    data, arrays = load_images(source.graph, inputs, labels)
    if images is not None and not 1 <= images <= len(data):
        raise DataError(f"images must be 1 to {len(data)}, as many as the data holds, not {images}")
    some = {name: values[:images] for name, values in arrays.items()}
    expected = golden.outputs(source.graph, some)
    speed = SIMULATED_CYCLES if on.startswith("sim") else SLOWEST_CLOCK
    patience = 10 + source.predicted_cycles / speed if timeout is None else timeout
    with _carried(on, source, baud) as carrier, progress_bar("run", show_progress) as progress:
        accelerator = Accelerator(carrier, build, timeout=patience)
        given = {
            port.name: some[name] for port, name in zip(accelerator.build.inputs, source.graph.inputs, strict=True)
        }
        ran = accelerator.execute(given, arranged=True, progress=progress)
    equal = all(
        np.array_equal(ran.reals[name], reals) and np.array_equal(ran.integers[name].reshape(integers.shape), integers)
        for name, (reals, integers) in zip(ran.reals, expected.values(), strict=True)
    )
    first = next(iter(ran.integers.values()))
    right = accuracy(golden.scores(source.graph, first), None if data.y is None else data.y[:images])
    if output is not None:
        save_arrays(output, **_arrays(ran))
    return BuildRun(Path(build), on, ran, equal, right, None if output is None else Path(output))


def _arrays(ran: Run) -> dict[str, NDArray[Any]]:
    """As golden's file has them."""
    if len(ran.reals) == 1:
        return {"y": next(iter(ran.reals.values())), "y_q": next(iter(ran.integers.values()))}
    return dict(ran.reals) | {f"{name}_q": values for name, values in ran.integers.items()}


@contextmanager
def _carried(on: str, source: accelerators.Accelerator, baud: int) -> Iterator[Carrier]:
    """The carrier that ``on`` names, until it is not needed any more."""
    if on == "sim:board":
        from ..sim.board import SimulatedBoard

        with SimulatedBoard(source) as board, _closed(SerialLine(board.port)) as carrier:
            yield carrier
        return
    with _closed(_carrier(on, source, baud)) as carrier:
        yield carrier


@contextmanager
def _closed(carrier: Carrier) -> Iterator[Carrier]:
    try:
        yield carrier
    finally:
        carrier.close()


def _carrier(on: str, source: accelerators.Accelerator, baud: int) -> Carrier:
    kind, *rest = on.split(":")
    if (kind, len(rest)) == ("sim", 0):
        from ..sim.carrier import SimulatedAccelerator

        return SimulatedAccelerator(source)
    if kind == "uio" and len(rest) in (1, 2):
        return Uio(*rest)
    if (kind, len(rest)) == ("mem", 3):
        try:
            registers, memory, size = (int(number, 0) for number in rest)
        except ValueError as error:
            raise ConfigurationError(f"'{on}' has no three numbers, as mem:0x40000000:0x10000000:0x100000") from error
        return DeviceMemory(registers, memory, size)
    if (kind, len(rest)) == ("pynq", 1):
        return PynqBoard.overlay(rest[0], whole_pages(source.memory_bytes))
    if not rest and (kind.startswith("/") or kind.upper().startswith("COM")):
        return SerialLine(kind, baud=baud)
    raise ConfigurationError(f"'{on}' is no place to run on; there are {PLACES}")
