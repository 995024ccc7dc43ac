"""The ``golden`` command as a function, and its summary for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import golden, quant
from ..data import Inputs, load_data, save_arrays
from ..progress import progress_bar
from .quantize import Quantized, graph_of


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """What ``run_golden`` computed: ``y`` float32 as the model's file outputs it, ``y_q`` its integers."""

    y: NDArray[np.float32]
    y_q: NDArray[Any]
    path: Path | None
    accuracy: float | None

    def __repr__(self) -> str:
        return f"<GoldenRun: {', '.join(self._summary())}>"

    def _summary(self) -> list[str]:
        said = ["y and y_q, " + "x".join(str(size) for size in self.y.shape)]
        if self.accuracy is not None:
            said.append(f"accuracy: {self.accuracy:.2%} of {len(self.y)} images")
        return said

    def lines(self) -> list[str]:
        """A summary for people."""
        first, *others = self._summary()
        return [f"{self.path}: {first}" if self.path else first, *others]


def run_golden(
    model: Quantized,
    inputs: Inputs,
    output: str | Path | None = None,
    *,
    labels: ArrayLike | None = None,
    show_progress: bool = False,
) -> GoldenRun:
    """Compute a quantized model exactly on images; write ``y`` and ``y_q`` if ``output`` names an .npz file.

    inputs : an .npz file with the images ``x`` and perhaps labels ``y``, or the array x, or the pair (x, y)
    labels : of the images, (N,) integers, where ``inputs`` has none
    Raises a SystolithError that says what is wrong with the model, the data or the output.
    """
    if output is not None:
        quant.check_target(output)
    graph = graph_of(model)
    data = load_data(inputs, labels)
    quant.check_images(data.x, graph.map_of(graph.input).shape, data.name)
    with progress_bar("golden", show_progress) as progress:
        y, y_q = golden.output(graph, data.x, progress)
    if output is not None:
        save_arrays(output, y=y, y_q=y_q)
    return GoldenRun(y, y_q, None if output is None else Path(output), accuracy(y, data.y))


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]] | None) -> float | None:
    """Share of images whose highest score is their label's; None without labels."""
    if labels is None:
        return None
    return float(np.mean(scores.reshape(len(scores), -1).argmax(axis=1) == labels))
