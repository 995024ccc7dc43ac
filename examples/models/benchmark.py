"""``make bench-models``: networks that people put on FPGAs, from torch's exporters to simulated bytes.

For each: whether it goes through from both exporters; integers that differ from ONNX Runtime's on the file that is
written, its optimizations off and on; how far quantization moves it, beside ONNX Runtime's own quantizer on the same
images; predicted cycles at 16x16 beside the limit; and the simulation, whole or on a smaller input.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from systolith import SystolithError, generate_build, quantize_model, run_golden, simulate_build
from systolith.hw.folder import read_manifest

from . import runtime
from .networks import EXAMPLES, Example, Exporter, export, keras

CALIBRATION, TEST = 8, 4
HARDWARE = {"rows": 16, "columns": 16, "bus_bytes": 16, "activation_kib": 512}
WHOLE = 5_000_000
"""Cycles up to which a network is simulated on its own input."""

WIDTH = 170
"""Of the table, in columns, wherever it goes."""


@dataclass(frozen=True)
class Row:
    """What was measured of one network by one exporter; ``refused`` is the line that says why, else "".

    differ_off, differ_all : integers of outputs unlike ONNX Runtime's, its optimizations off and on
    ours, theirs : dB of the quantized network against the float one, by Systolith and by ONNX Runtime's quantizer
    cycles, limit : of an image, predicted;  simulated : wrong bytes, None if it was not run;  size : of its input
    """

    name: str
    exporter: str
    refused: str = ""
    layers: int = 0
    macs: int = 0
    differ_off: int = 0
    differ_all: int = 0
    ours: float = 0.0
    theirs: float | None = None
    cycles: int = 0
    limit: int = 0
    simulated: int | None = None
    size: tuple[int, ...] = ()


def measure(name: str, exporter: Exporter, folder: Path, *, simulate: bool) -> Row:
    """All figures of the network ``name``, files in ``folder``."""
    example = EXAMPLES.get(name) or Example(None, (28, 28, 1), data="noise")  # type: ignore[arg-type]
    model, quantized = folder / f"{name}-{exporter}.onnx", folder / f"{name}-{exporter}-q.onnx"
    if not model.exists():
        keras(model) if exporter == "tf2onnx" else export(name, exporter, model)
    images = example.inputs(CALIBRATION + TEST, example.shape)
    calibration, test = images[:CALIBRATION], images[CALIBRATION:]
    try:
        made = quantize_model(model, calibration, quantized)
        ran = run_golden(quantized, test)
        build = folder / f"{name}-{exporter}"
        generate_build(quantized, build, **HARDWARE)
    except SystolithError as error:
        return Row(name, exporter, refused=str(error))
    manifest, _ = read_manifest(build)
    exact = runtime.run(model, test)
    off, every = (_differing(ran.reals.values(), runtime.run(quantized, test, level)) for level in ("off", "all"))
    theirs = None
    peer = folder / f"{name}-{exporter}-ort.onnx"
    try:
        runtime.quantize(model, calibration, peer)
        theirs = runtime.decibels(exact, runtime.run(peer, test))
    except runtime.REFUSALS as error:
        print(f"{name}: ONNX Runtime's quantizer: {error}")
    simulated, size = None, example.shape
    if simulate:
        simulated, size = _simulated(name, exporter, example, manifest.predicted_cycles, folder, build, test)
    graph = made.graph
    ours = runtime.decibels(exact, list(ran.reals.values()))
    figures = (
        len(graph.layers),
        graph.macs,
        off,
        every,
        ours,
        theirs,
        manifest.predicted_cycles,
        manifest.limit_cycles,
    )
    return Row(name, exporter, "", *figures, simulated, size)


def _differing(ours: object, theirs: list[NDArray[np.float32]]) -> int:
    """Values that are not the same float32; those of one integer map are the same only if its integers are."""
    pairs = zip(ours, theirs, strict=True)  # type: ignore[call-overload]
    return sum(int(np.count_nonzero(mine.reshape(-1) != other.reshape(-1))) for mine, other in pairs)


def _simulated(
    name: str, exporter: Exporter, example: Example, cycles: int, folder: Path, build: Path, test: NDArray[np.float32]
) -> tuple[int, tuple[int, ...]]:
    """Wrong bytes of one simulated image, on a smaller input if the network is long, and the input's size."""
    if cycles <= WHOLE or example.small is None:
        return simulate_build(build, test[:1]).mismatches, example.shape
    model, small = folder / f"{name}-{exporter}-small.onnx", folder / f"{name}-{exporter}-small"
    if not model.exists():
        export(name, exporter, model, small=True)
    images = example.inputs(CALIBRATION, example.small)
    generate_build(quantize_model(model, images), small, **HARDWARE)
    return simulate_build(small, images[:1]).mismatches, example.small


def table(rows: list[Row]) -> Table:
    """The rows for people."""
    found = Table(title="networks at 16x16, 16-byte bus, 512 KiB")
    for column in (
        "network",
        "exporter",
        "layers",
        "MMACs",
        "integers unlike ONNX Runtime's",
        "dB",
        "its quantizer, dB",
    ):
        found.add_column(column)
    for column in ("cycles", "over the limit", "simulated"):
        found.add_column(column, justify="right")
    for row in rows:
        if row.refused:
            found.add_row(row.name, row.exporter, row.refused)
            continue
        exact = "" if row.simulated is None else ("exact" if not row.simulated else f"{row.simulated} wrong")
        found.add_row(
            *(row.name, row.exporter, str(row.layers), f"{row.macs / 1e6:,.1f}", f"{row.differ_off}, {row.differ_all}"),
            *(f"{row.ours:.1f}", "refused" if row.theirs is None else f"{row.theirs:.1f}", f"{row.cycles:,}"),
            *(f"{row.cycles / row.limit:.2f}", f"{exact} {'x'.join(map(str, row.size))}"),
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for models, builds and results.json")
    parser.add_argument("names", nargs="*", help="networks, by default all")
    parser.add_argument("--no-simulation", action="store_true")
    options = parser.parse_intermixed_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = options.folder / "results.json"
    rows = [Row(**row) for row in json.loads(results.read_text())] if results.exists() else []
    for name in options.names or [*EXAMPLES, "keras"]:
        exporters: tuple[Exporter, ...] = ("tf2onnx",) if name == "keras" else ("script", "dynamo")
        for exporter in exporters:
            row = measure(name, exporter, options.folder, simulate=not options.no_simulation)
            rows = [other for other in rows if (other.name, other.exporter) != (name, exporter)] + [row]
            results.write_text(json.dumps([asdict(row) for row in rows], indent=1))
            print(name, exporter, row.refused or "done", flush=True)
    Console(width=WIDTH).print(table(rows))


if __name__ == "__main__":
    main()
