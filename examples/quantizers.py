"""``python -m examples.quantizers``: noise of Systolith's 8 bits and of ONNX Runtime's, against the float model, in dB.

The example networks and random ones, seeded: chains, averages, points of which only a maximum passes.  Both
quantizers see the same calibration images, and are measured on others; ONNX Runtime's with its defaults, per channel.
Needs the ``onnxruntime`` extra.
"""

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, quantize_static
from rich.console import Console
from rich.progress import track
from rich.table import Table

from systolith import golden, quant
from systolith.commands.quantize import quantize_model
from systolith.data import load_data

from .accuracy import Batches, run_onnxruntime

RANDOM_NETWORKS = 40
IMAGES = 48  # of each random network, two thirds of them to calibrate on
Floats = NDArray[np.float32]


def examples() -> Iterator[tuple[str, onnx.ModelProto, Floats, Floats]]:
    """Name, model, calibration and test images of each example."""
    for name in ("lenet5", "resnet8"):
        folder = Path(__file__).parent / name
        calibration, test = (load_data(folder / f"{data}.npz").x for data in ("calibration", "test"))
        yield name, onnx.load(folder / f"{name}.onnx"), calibration, test[:200]


def random_networks() -> Iterator[tuple[str, onnx.ModelProto, Floats, Floats]]:
    for seed in range(RANDOM_NETWORKS):
        random = np.random.default_rng(seed)
        kind, network = [("chain", _chain), ("averages", _averages), ("points", _points)][seed % 3]
        built = network(random)
        images = _images(random, (IMAGES, *built.shape))
        yield f"{kind} {seed}", built.to_onnx(seed=seed), images[: IMAGES * 2 // 3], images[IMAGES * 2 // 3 :]


def _chain(random: np.random.Generator) -> quant.Network:
    network = quant.Network((3, 16, 16))
    for _ in range(random.integers(2, 6)):
        network = network.conv(int(random.integers(4, 25)), 3, padding=1).relu()
    return network.max_pool(2, 2).fully_connected(10)


def _averages(random: np.random.Generator) -> quant.Network:
    network = quant.Network((3, 16, 16)).conv(int(random.integers(8, 25)), 4, 2, 1).relu()
    for _ in range(random.integers(1, 4)):
        network = (
            network.conv(int(random.integers(8, 33)), 1).relu().conv(int(random.integers(8, 33)), 3, padding=1).relu()
        )
    return network.average_pool(2, 2).fully_connected(10)


def _points(random: np.random.Generator) -> quant.Network:
    network = quant.Network((3, 8, 8))
    for outputs in (16, 32, int(random.integers(32, 97))):
        network = network.conv(outputs, 1).relu()
    return network.max_pool(8, 8).fully_connected(32).relu().fully_connected(10)


def _images(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal, even, long-tailed or sparse values."""
    match random.integers(4):
        case 0:
            images = random.standard_normal(shape)
        case 1:
            images = random.uniform(0, 1, shape)
        case 2:
            images = random.standard_t(4, shape)
        case _:
            images = np.where(random.random(shape) < 0.8, 0, random.standard_normal(shape))
    return images.astype(np.float32)


def decibels(exact: Floats, found: Floats) -> float:
    difference = exact.astype(np.float64) - found.reshape(exact.shape)
    return float(10 * np.log10(np.sum(exact.astype(np.float64) ** 2) / np.sum(difference**2)))


def compare(model: onnx.ModelProto, calibration: Floats, test: Floats, folder: Path) -> tuple[str, float, float]:
    """The range method that ``quantize`` chose, its dB and ONNX Runtime's."""
    float_path, path = folder / "float.onnx", folder / "quantized.onnx"
    onnx.save(model, float_path)
    exact = run_onnxruntime(float_path, test)
    ours = quantize_model(model, calibration)
    tried = ours.calibrated.tried
    quantize_static(
        float_path,
        path,
        Batches(model.graph.input[0].name, calibration),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
    )
    found = golden.output(ours.graph, test)[0]
    return (
        max(tried, key=lambda name: tried[name]),
        decibels(exact, found),
        decibels(exact, run_onnxruntime(path, test)),
    )


def main() -> None:
    logging.disable(logging.WARNING)
    table = Table("network", "ranges", "dB", "ONNX Runtime's dB", "difference", title="held-out images, against float")
    differences = []
    with tempfile.TemporaryDirectory() as folder:
        for name, model, calibration, test in track([*examples(), *random_networks()], "quantizing"):
            method, ours, theirs = compare(model, calibration, test, Path(folder))
            differences.append(ours - theirs)
            table.add_row(name, method, f"{ours:.1f}", f"{theirs:.1f}", f"{ours - theirs:+.1f}")
    console = Console()
    console.print(table)
    below = sum(found < -1 for found in differences)
    console.print(
        f"{len(differences)} networks: {min(differences):+.1f} to {max(differences):+.1f} dB, median"
        f" {np.median(differences):+.1f}; {below} more than 1 dB below, {sum(d > 0 for d in differences)} above"
    )


if __name__ == "__main__":
    main()
