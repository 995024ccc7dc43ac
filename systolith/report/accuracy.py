"""Which classes a network takes for which, and the float model that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import quant
from ..noise import classes
from ..quant.graph.ports import real_name

MOST_CLASSES = 20
MOST_MISTAKES = 15


@dataclass(frozen=True, eq=False)
class Confusion:
    """images : int64, (classes, classes), how many of class ``row`` the network takes for ``column``"""

    images: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.images) / self.images.sum())

    @property
    def is_small(self) -> bool:
        """Whether the whole matrix can be read."""
        return len(self.images) <= MOST_CLASSES

    def mistakes(self) -> list[tuple[int, int, int]]:
        """The most frequent ones: (class, taken for, images)."""
        wrong = self.images - np.diag(np.diag(self.images))
        order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MISTAKES]
        places = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [(int(row), int(column), int(wrong[row, column])) for row, column in places if wrong[row, column]]


def confusion(scores: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> Confusion:
    """Of ``scores``, (N, classes, ...), against ``labels``, (N,); the highest score wins."""
    count = int(max(scores[0].size, labels.max() + 1))
    images = np.zeros((count, count), np.int64)
    np.add.at(images, (labels, classes(scores)), 1)
    return Confusion(images)


def load_network(model: str | Path, graph: quant.Graph) -> quant.FloatGraph:
    """The float network of an ONNX file, simplified.  Raises ModelError if it does not take ``graph``'s inputs."""
    network = quant.load_float(model)
    wanted = {real_name(name): graph.map_of(name).shape for name in graph.inputs}
    if network.inputs != wanted:
        taken, built = (", ".join(f"'{n}' of {s}" for n, s in found.items()) for found in (network.inputs, wanted))
        raise quant.ModelError(f"'{model}' takes {taken}, the build {built}; give the model that it was made from")
    return network
