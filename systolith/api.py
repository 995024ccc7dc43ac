"""The public Python API: one function for each command of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import golden, quant
from .data import load_data, save_arrays
from .progress import progress_bar


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """What ``quantize_model`` made: the graph, the file that holds it, and what was left to the host."""

    graph: quant.Graph
    path: Path
    dropped: tuple[str, ...]
    images: int
    weight_bits: int

    def lines(self) -> list[str]:
        """A summary for people."""
        graph = self.graph
        kinds = sum(isinstance(layer, quant.Conv) for layer in graph.layers)
        lines = [
            f"{self.path}: {len(graph.layers)} layers, {kinds} of them with weights, {graph.macs:,} MACs an image;"
            f" calibrated on {self.images} images"
        ]
        for layer in graph.layers:
            if isinstance(layer, quant.Conv) and layer.weight_bits < self.weight_bits and layer.weights.any():
                used = f"{layer.weight_bits} of {self.weight_bits} weight bits"
                lines.append(f"layer '{layer.name}': {used}, so that its sums fit int32")
        return lines + [f"left to the host: {what}" for what in self.dropped]


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """What ``run_golden`` computed: ``y`` float32 as the model's file outputs it, ``y_q`` its integers."""

    y: NDArray[np.float32]
    y_q: NDArray[Any]
    path: Path
    accuracy: float | None

    def lines(self) -> list[str]:
        """A summary for people."""
        shape = "x".join(str(size) for size in self.y.shape)
        lines = [f"{self.path}: y and y_q, {shape}"]
        if self.accuracy is not None:
            lines.append(f"accuracy: {self.accuracy:.2%} of {len(self.y)} images")
        return lines


def quantize_model(
    model: str | Path,
    calibration: str | Path,
    output: str | Path,
    *,
    scales: str = "float",
    weight_bits: int = 8,
    activation_bits: int = 8,
    range_method: str = "mse",
    show_progress: bool = False,
) -> QuantizedModel:
    """Quantize a float ONNX model on the images of an .npz file and write it as a QDQ ONNX model.

    scales : "float" or "pow2";  weight_bits, activation_bits : 2 to 16;  range_method : "minmax", "percentile", "mse"
    Raises a SystolithError that says what is wrong with the arguments, the model, the data or the output.
    """
    settings = quant.Settings(scales, weight_bits, activation_bits, range_method)
    quant.check_target(output)
    network = quant.load_float(model)
    images = load_data(calibration).x
    with progress_bar("calibrating", show_progress) as progress:
        graph = quant.quantize(network, images, settings, progress)
    quant.save(graph, output)
    return QuantizedModel(graph, Path(output), network.dropped, len(images), weight_bits)


def run_golden(model: str | Path, inputs: str | Path, output: str | Path, *, show_progress: bool = False) -> GoldenRun:
    """Compute a QDQ ONNX model exactly on the images of an .npz file and write ``y`` and ``y_q`` to another.

    Raises a SystolithError that says what is wrong with the model, the data or the output.
    """
    quant.check_target(output)
    graph = quant.load(model)
    data = load_data(inputs)
    quant.check_images(data.x, graph.map_of(graph.input).shape, f"x in '{inputs}'")
    with progress_bar("golden", show_progress) as progress:
        y, y_q = golden.output(graph, data.x, progress)
    save_arrays(output, y=y, y_q=y_q)
    return GoldenRun(y, y_q, Path(output), accuracy(y, data.y))


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]] | None) -> float | None:
    """Share of images whose highest score is their label's; None without labels."""
    if labels is None:
        return None
    return float(np.mean(scores.reshape(len(scores), -1).argmax(axis=1) == labels))
