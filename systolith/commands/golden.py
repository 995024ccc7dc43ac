"""The ``golden`` command as a function, and its summary for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import golden, quant
from ..data import load_data, save_arrays
from ..progress import progress_bar


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
