"""How far quantization moves a network: noise by tensor, the float model's classes, which are taken for which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import golden, quant
from ..quant.graph.ports import real_name
from ..quant.networks.execute import run_float
from ..quant.posttraining.quantize import batch_size

MOST_CLASSES = 20
MOST_MISTAKES = 15


@dataclass(frozen=True)
class Noise:
    """Signal-to-noise ratio of one tensor, dequantized, against the float model's.

    decibels : 10 log10(sum of float**2 / sum of (float - dequantized)**2), infinite if they are equal, None if the
    float model has no tensor of this name
    """

    tensor: str
    layer: str
    bits: int | None
    decibels: float | None


@dataclass(frozen=True, eq=False)
class FloatRun:
    """What the float model says of some images.

    noise : of every tensor of the quantized graph;  guesses : (N,), the class of its highest score
    """

    noise: list[Noise]
    guesses: NDArray[np.intp]


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


def run_both(
    graph: quant.Graph,
    network: quant.FloatGraph,
    images: Mapping[str, NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> FloatRun:
    """The float ``network`` on ``images``, (N, C, rows, columns) by input, batch by batch, against golden on ``graph``.

    network : simplified, of the float model that was quantized;  progress : of (images done, images in all)
    """
    signal = dict.fromkeys(graph.tensors, 0.0)
    error = dict.fromkeys(graph.tensors, 0.0)
    names = {real_name(name): name for name in graph.tensors}
    seen: set[str] = set()
    guesses: list[NDArray[np.intp]] = []
    size, count = batch_size(network), len(next(iter(images.values())))
    for start in range(0, count, size):
        batch = {name: values[start : start + size] for name, values in images.items()}
        integers = golden.run(graph, golden.quantize_inputs(graph, batch))
        for float_name, values in run_float(network, {real_name(name): values for name, values in batch.items()}):
            if float_name == network.outputs[0]:
                guesses.append(classes(values))
            name = names.get(float_name)
            if name is None or values.shape != integers[name].shape:
                continue
            seen.add(name)
            exact = values.astype(np.float64)
            signal[name] += float(np.sum(exact**2))
            error[name] += float(np.sum((exact - golden.dequantize(integers[name], graph.tensors[name])) ** 2))
        progress(min(start + size, count), count)
    makers = {layer.output: layer.name for layer in graph.layers}
    ratios = {name: _ratio(signal[name], error[name]) for name in seen}
    noise = [
        Noise(name, makers.get(name, "input"), _bits(tensor), ratios.get(name))
        for name, tensor in graph.tensors.items()
    ]
    return FloatRun(noise, np.concatenate(guesses))


def _bits(tensor: quant.Tensor) -> int | None:
    return tensor.bits if isinstance(tensor, quant.FeatureMap) else None


def _ratio(signal: float, error: float) -> float:
    if error == 0:
        return np.inf
    return float(10 * np.log10(signal / error)) if signal else -np.inf


def classes(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The class of each image's highest score, (N,), of ``scores``, (N, classes, ...)."""
    highest: NDArray[np.intp] = scores.reshape(len(scores), -1).argmax(axis=1)
    return highest


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
