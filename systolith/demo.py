"""``make demo``: an example through the whole path, and where the files are."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .cli import run

IMAGES = 100
ROWS, COLUMNS, BUS_BYTES = 8, 8, 8


def demo(example: Path, output: Path, console: Console) -> int:
    """Quantize, compute, generate and simulate ``example`` into ``output``; exit status 0 only if all is exact."""
    model = min(example.glob("*.onnx"))
    test, calibration = example / "test.npz", example / "calibration.npz"
    quantized, expected, build = output / f"{model.stem}-q.onnx", output / "expected.npz", output / "accelerator"
    output.mkdir(parents=True, exist_ok=True)
    steps = (
        ("from float to 8-bit integers", f"quantize {model} --calibration {calibration} -o {quantized}"),
        ("what the hardware must return, on all images", f"golden {quantized} --inputs {test} -o {expected}"),
        (
            f"Verilog of a {ROWS}x{COLUMNS} systolic array on a bus of {BUS_BYTES} bytes",
            f"generate {quantized} --rows {ROWS} --columns {COLUMNS} --bus-bytes {BUS_BYTES} -o {build}",
        ),
        (f"that Verilog on {IMAGES} images", f"simulate {build} --inputs {test} --images {IMAGES}"),
    )
    for number, (title, command) in enumerate(steps, start=1):
        console.print(f"\n[bold]{number}. {title}[/]\n   systolith {command}\n")
        if status := run(shlex.split(command)):
            return status
    files = Table(show_header=False, box=None, pad_edge=False)
    for path, what in (
        (model, "trained float model"),
        (quantized, "quantized model: opens in Netron, runs in ONNX Runtime"),
        (expected, "golden's outputs"),
        (build / "systolith.v", "the accelerator"),
        (build / "program.bin", "its program"),
        (build / "memory.bin", "its weights and requantization parameters"),
        (build / "manifest.json", "its registers, memory layout and plan"),
        (build / "systolith.h", "the same for C"),
    ):
        files.add_row(str(path), what)
    console.print("\n[bold]files[/]")
    console.print(files)
    return 0


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1]), Path(sys.argv[2]), Console(highlight=False, soft_wrap=True)))
