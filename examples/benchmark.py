"""``make bench``: how fast each step is and how good the hardware, beside their targets.

Figures, not tests: other work on the same machine changes the times, never the cycles.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # golden's target is for one thread; before NumPy is imported

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from systolith import golden, quant, quantize_model
from systolith.hw.build import generate, parameters_for
from tests.models import cifar
from tests.models import images as cifar_images

LENET = Path(__file__).parent / "lenet5"


@dataclass(frozen=True)
class Figure:
    """One measurement; ``least`` says that more is better."""

    what: str
    value: float
    target: float
    unit: str
    least: bool = False

    @property
    def ratio(self) -> float:
        """How many times better than the target."""
        return self.value / self.target if self.least else self.target / self.value


def simulate(build: Path, data: Path, images: int, cache: Path) -> tuple[dict[str, Any], float]:
    """The JSON report of the command line, and the seconds that the whole command took."""
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "systolith.cli", "simulate", build, "--inputs", data, "--images", str(images), "--json"],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout), time.perf_counter() - started


def build(model: Path, folder: Path, size: int, bus_bytes: int) -> float:
    """Generate a size x size accelerator; the seconds that it took."""
    started = time.perf_counter()
    graph = quant.load(model)
    generate(graph, model.read_bytes(), parameters_for(graph, rows=size, columns=size, bus_bytes=bus_bytes), folder)
    return time.perf_counter() - started


def golden_speed(model: Path) -> float:
    """Images a second through all of golden, best of three."""
    graph = quant.load(model)
    x = np.load(LENET / "test.npz")["x"]
    times = []
    for _ in range(3):
        started = time.perf_counter()
        golden.output(graph, x)
        times.append(time.perf_counter() - started)
    return len(x) / min(times)


def measure(folder: Path, cache: Path) -> list[Figure]:
    lenet, model, data = folder / "lenet5-q.onnx", folder / "cifar-q.onnx", folder / "cifar.npz"
    quantize_model(LENET / "lenet5.onnx", LENET / "calibration.npz", lenet)
    network = cifar()
    onnx.save(network, folder / "cifar.onnx")
    np.savez(data, x=cifar_images(network, 16))
    quantize_model(folder / "cifar.onnx", data, model)

    generated = build(lenet, folder / "lenet5-16x16", 16, 16)
    build(lenet, folder / "lenet5-8x8", 8, 8)
    build(model, folder / "cifar-16x16", 16, 16)
    small, small_seconds = simulate(folder / "lenet5-8x8", LENET / "test.npz", 100, cache)
    large, _ = simulate(folder / "cifar-16x16", data, 8, cache)
    return [
        Figure("generate a 16x16 accelerator", generated, 10, "s"),
        Figure("100 LeNet-5 images through `simulate`, build included", small_seconds, 60, "s"),
        Figure("bulk simulation at 16x16", large["simulated_cycles_per_second"], 300_000, "cycles/s", least=True),
        Figure("golden, LeNet-5 on one thread", golden_speed(lenet), 1000, "images/s", least=True),
        Figure("LeNet-5 at 8x8 on an 8-byte bus", small["cycles_per_image"], 19_000, "cycles"),
        Figure(
            "CIFAR-shaped network at 16x16 on 16 bytes",
            large["cycles_per_image"] / large["limit_cycles"],
            1.10,
            "of limit",
        ),
        Figure("  measured / predicted cycles", large["cycles_per_image"] / large["predicted_cycles"], 1.02, ""),
        Figure("LeNet-5: measured / predicted cycles", small["cycles_per_image"] / small["predicted_cycles"], 1.02, ""),
    ]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="systolith-bench-") as cache:
        figures = measure(folder, Path(cache))
    table = Table(box=None, pad_edge=False)
    for heading in ("", "measured", "target", "ratio"):
        table.add_column(heading, justify="right" if heading else "left")
    for figure in figures:
        digits = 0 if figure.value >= 1000 else 2
        bound = "at least" if figure.least else "at most"
        table.add_row(
            figure.what,
            f"{figure.value:,.{digits}f} {figure.unit}",
            f"{bound} {figure.target:,g} {figure.unit}",
            f"{'[green]' if figure.ratio >= 1 else '[red]'}{figure.ratio:.2f}[/]",
        )
    Console(highlight=False, soft_wrap=True).print(table)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
