"""``make bench-lecture``: the lecture's networks at full size on one accelerator, whole, each beside its target.

Each network with seeded random weights is calibrated on photographs, quantized, compared with ONNX Runtime tensor by
tensor, generated and simulated on one photograph with an empty cache, by the commands that anybody would use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from rich.console import Console
from rich.table import Table

from systolith import quant
from systolith.hw.folder import read_manifest
from tests import oracle

from .networks import lecture_network
from .photographs import photographs

HARDWARE = {"rows": 16, "columns": 16, "bus-bytes": 16, "activation-kib": 512, "lanes": 4}
"""What is not named is as `systolith generate` has it: 32 KiB of accumulators, 4 of weight FIFO."""

BEST = HARDWARE | {"lanes": 8}
"""With an input that the host unfolds."""

LARGE = {"rows": 32, "columns": 32, "bus-bytes": 32, "activation-kib": 1024, "accumulator-kib": 128, "lanes": 16}
LARGE_TARGET = 1.06
"""Of ResNet-50's limit."""


@dataclass(frozen=True)
class Target:
    """cycles, and seconds of `simulate` and of golden on one image, at most; None: none was set."""

    cycles: int | None = None
    simulate: float | None = None
    golden: float | None = None


TARGETS = {
    "resnet50": Target(17_000_000, 180, 0.25),
    "vgg19": Target(88_200_000, 480, 1.5),
    "googlenet": Target(6_100_000),
    "alexnet": Target(6_400_000),
    "zfnet": Target(11_200_000),
    "squeezenet": Target(),
}

WIDTH = 150
"""Of the table, in columns, wherever it goes."""

GOLDEN = """
import sys, time
import numpy as np
from systolith import golden, quant
graph = quant.load(sys.argv[1])
x = golden.quantize_input(graph, np.load(sys.argv[2])["x"][:1])
times = []
for _ in range(3):
    started = time.perf_counter()
    golden.run(graph, x, [graph.output])
    times.append(time.perf_counter() - started)
print(min(times))
"""


def command(*arguments: object, cache: Path | None = None) -> tuple[str, float]:
    """What a `systolith` command printed, and the seconds that it took."""
    environment = os.environ | ({"XDG_CACHE_HOME": str(cache)} if cache else {})
    started = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "systolith.cli", *map(str, arguments)],
        env=environment, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return ran.stdout, time.perf_counter() - started


def golden_seconds(model: Path, data: Path) -> float:
    """Golden on one image and one thread, the best of three."""
    ran = subprocess.run(
        [sys.executable, "-c", GOLDEN, model, data],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return float(ran.stdout)


def options(hardware: dict[str, int]) -> list[str]:
    return [word for name, value in hardware.items() for word in (f"--{name}", str(value))]


def prepare(name: str, folder: Path) -> tuple[Path, Path]:
    """The quantized model and its images, calibrated on eight photographs; the first image is simulated."""
    model, data, quantized = folder / f"{name}.onnx", folder / f"{name}.npz", folder / f"{name}-q.onnx"
    onnx.save(lecture_network(name), model)
    np.savez(data, x=photographs(8))
    command("quantize", model, "--calibration", data, "-o", quantized)
    return quantized, data


def measure(name: str, folder: Path) -> dict[str, Any]:
    """All figures of one network."""
    quantized, data = prepare(name, folder)
    graph = quant.load(quantized)
    oracle.assert_every_tensor_equal(graph, np.load(data)["x"][:1])
    build, best = folder / f"{name}-16x16", folder / f"{name}-16x16-best"
    _, generated = command("generate", quantized, "-o", build, *options(HARDWARE), "--no-unfold-input")
    with tempfile.TemporaryDirectory(prefix="systolith-bench-") as cache:
        said, simulated = command("simulate", build, "--inputs", data, "--images", 1, "--json", cache=Path(cache))
        command("generate", quantized, "-o", best, *options(BEST), "--unfold-input")
        said_best, _ = command("simulate", best, "--inputs", data, "--images", 1, "--json", cache=Path(cache))
    return {
        **json.loads(said),
        "best": json.loads(said_best),
        "generate_seconds": generated,
        "simulate_seconds": simulated,
        "golden_seconds": golden_seconds(quantized, data),
        "convolutions": convolutions(build),
    }


def convolutions(build: Path) -> float:
    """Cycles of the convolutions' limit over those predicted until they have ended, layers between them included."""
    layers = read_manifest(build)[0].layers
    last = max(n for n, layer in enumerate(layers) if layer.macs and layer.operator != "Gemm")
    inside = layers[: last + 1]
    return sum(layer.limit_cycles for layer in inside) / sum(layer.predicted_cycles for layer in inside)


def beginning(graph: quant.Graph, convolutions: int) -> quant.Graph:
    """``graph`` up to the convolution of that number, and what its sums are added to."""
    ends = [n for n, layer in enumerate(graph.layers) if isinstance(layer, quant.Conv)]
    layers = graph.layers[: ends[convolutions - 1] + 1]
    tensors = {name for layer in layers for name in (*layer.inputs, layer.output)}
    kept = {name: tensor for name, tensor in graph.tensors.items() if name in tensors}
    return quant.check(replace(graph, output=layers[-1].output, layers=layers, tensors=kept))


def large(folder: Path) -> tuple[str, bool]:
    """ResNet-50 at 32x32, whole, and its first ten convolutions, plain and unfolded; and whether all was exact."""
    quantized, cut = folder / "resnet50-q.onnx", folder / "resnet50-beginning-q.onnx"
    quant.save(beginning(quant.load(quantized), 10), cut)
    lines, exact = ["resnet50 at 32x32, 32-byte bus:"], True
    for model, what in ((quantized, "whole"), (cut, "its first ten convolutions")):
        for unfold in (False, True):
            build = folder / f"{model.stem}-32x32{'-unfolded' if unfold else ''}"
            option = "--unfold-input" if unfold else "--no-unfold-input"
            command("generate", model, "-o", build, *options(LARGE), option)
            said, _ = command("simulate", build, "--inputs", folder / "resnet50.npz", "--images", 1, "--json")
            found = json.loads(said)
            exact = exact and found["bit_exact"]
            lines.append(
                f"  {what}{', unfolded' if unfold else ''}: {'exact' if found['bit_exact'] else '[red]WRONG[/]'},"
                f" {found['cycles_per_image']:,.0f} cycles,"
                f" {beside(found['cycles_per_image'] / found['limit_cycles'], LARGE_TARGET, 3)} of the limit,"
                f" predicted {found['predicted_cycles'] / found['cycles_per_image'] - 1:+.2%}"
            )
    return "\n".join(lines), exact


def beside(value: float, target: float | None, digits: int = 0) -> str:
    if target is None:
        return f"{value:,.{digits}f}"
    return f"{'[green]' if value <= target else '[red]'}{value:,.{digits}f}[/] / {target:,.{digits}f}"


def main(folder: Path, names: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    caption = "one photograph each; measured / target; at best: of limit, with 8 lanes and the input unfolded"
    table = Table(box=None, pad_edge=False, caption=caption, caption_justify="left")
    headings = "exact, cycles, of limit, convolutions, predicted, at best, golden s, generate s, simulate s, cycles/s"
    for heading in ["", *headings.split(", ")]:
        table.add_column(heading, justify="right" if heading else "left")
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    wrong = 0
    for name in names:
        with console.status(name):
            found, target = measure(name, folder), TARGETS[name]
        best = found["best"]
        mismatches = found["mismatches"] + best["mismatches"]
        wrong += bool(mismatches)
        table.add_row(
            name,
            f"[red]{mismatches:,} wrong[/]" if mismatches else "[green]yes[/]",
            beside(found["cycles_per_image"], target.cycles),
            f"{found['cycles_per_image'] / found['limit_cycles']:.3f}",
            f"{found['convolutions']:.1%}",
            f"{found['predicted_cycles'] / found['cycles_per_image'] - 1:+.2%}",
            f"{best['cycles_per_image'] / best['limit_cycles']:.3f}",
            beside(found["golden_seconds"], target.golden, 2),
            f"{found['generate_seconds']:.0f}",
            beside(found["simulate_seconds"], target.simulate),
            f"{found['simulated_cycles_per_second']:,.0f}",
        )
        console.print(f"{name}: stalls, cycles: {found['stalls']}")
    console.print(table)
    if "resnet50" in names:
        with console.status("resnet50 at 32x32"):
            said, exact = large(folder)
        wrong += not exact
        console.print(said)
    return wrong


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:] or list(TARGETS)))
