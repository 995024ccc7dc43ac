"""The ``golden`` command as a function, and its summary for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import golden, quant
from ..data import Data, Inputs, load_data, save_arrays
from ..progress import progress_bar
from ..quant.graph.ports import real_name
from .quantize import Quantized, graph_of


@dataclass(frozen=True, eq=False)
class GoldenRun:
    """What ``run_golden`` computed, by the model's names of its outputs, in order.

    reals : float32 as the model's file outputs them;  integers : of the same shapes
    """

    reals: Mapping[str, NDArray[np.float32]]
    integers: Mapping[str, NDArray[Any]]
    path: Path | None
    accuracy: float | None

    @property
    def y(self) -> NDArray[np.float32]:
        """The first output."""
        return next(iter(self.reals.values()))

    @property
    def y_q(self) -> NDArray[Any]:
        """The first output's integers."""
        return next(iter(self.integers.values()))

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """As the .npz file has them: ``y`` and ``y_q``; where there are several outputs, each name, and it with _q."""
        if len(self.reals) == 1:
            return {"y": self.y, "y_q": self.y_q}
        return dict(self.reals) | {f"{name}_q": values for name, values in self.integers.items()}

    def __repr__(self) -> str:
        return f"<GoldenRun: {', '.join(self._summary())}>"

    def _summary(self) -> list[str]:
        names = ["y"] if len(self.reals) == 1 else list(self.reals)
        shapes = ["x".join(map(str, values.shape)) for values in self.reals.values()]
        said = [f"{name} and {name}_q, {shape}" for name, shape in zip(names, shapes, strict=True)]
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
    """Compute a quantized model exactly on images; write the outputs if ``output`` names an .npz file.

    inputs : an .npz file with the images ``x`` and perhaps labels ``y``, or the array x, or the pair (x, y)
    labels : of the images, (N,) integers, where ``inputs`` has none
    Raises a SystolithError that says what is wrong with the model, the data or the output.
    """
    if output is not None:
        quant.check_target(output)
    graph = graph_of(model)
    data, images = load_images(graph, inputs, labels)
    with progress_bar("golden", show_progress) as progress:
        found = golden.outputs(graph, images, progress)
    reals = {real_name(name): y for name, (y, _) in found.items()}
    integers = {real_name(name): y_q for name, (_, y_q) in found.items()}
    scores = golden.scores(graph, found[graph.outputs[0]][1])
    ran = GoldenRun(reals, integers, None if output is None else Path(output), accuracy(scores, data.y))
    if output is not None:
        save_arrays(output, **ran.arrays)
    return ran


def load_images(
    graph: quant.Graph, inputs: Inputs, labels: ArrayLike | None = None
) -> tuple[Data, dict[str, NDArray[np.float32]]]:
    """The data in ``inputs``, and of it what each of ``graph.inputs`` reads.  Raises DataError if it does not fit."""
    names = {real_name(name): name for name in graph.inputs}
    data = load_data(inputs, labels, list(names))
    arranged = {real: graph.arrays[name] for real, name in names.items() if name in graph.arrays}
    checked = data.checked({real: graph.map_of(name).shape for real, name in names.items()}, arranged)
    return data, {names[real]: values for real, values in checked.items()}


def accuracy(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]] | None) -> float | None:
    """Share of images whose highest score is their label's; None without labels."""
    if labels is None:
        return None
    return float(np.mean(scores.reshape(len(scores), -1).argmax(axis=1) == labels))
