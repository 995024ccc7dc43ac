"""How far quantization moves a network: the noise of each tensor against the float model's, the classes of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import golden, quant
from .quant.graph.ports import real_name
from .quant.networks.execute import run_float
from .quant.posttraining.sampling import batch_size

CLEAN = 60.0  # dB: what is less noisy than this is as good as exact
Sums = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Noise:
    """Signal-to-noise ratio of one tensor, dequantized, against the float model's.

    decibels : 10 log10(sum of float**2 / sum of (float - dequantized)**2), infinite if they are equal, None if the
    float model has no tensor of this name
    each : the same, but of the mean over images of each one's own ratio: no image outweighs the others
    lost : by how much ``each`` is less than that of the noisiest tensor that the layer reads, or than CLEAN
    """

    tensor: str
    layer: str
    bits: int | None
    decibels: float | None
    each: float | None
    lost: float | None


@dataclass(frozen=True, eq=False)
class FloatRun:
    """What the float model says of some images.

    noise : of every tensor of the quantized graph;  outputs : ``Noise.each`` of each, by the model's name
    guesses : (N,), the class of its first output's highest score;  agreeing : images that the quantized network gives
    the same class
    """

    noise: list[Noise]
    outputs: Mapping[str, float]
    guesses: NDArray[np.intp]
    agreeing: int


def run_both(
    graph: quant.Graph,
    network: quant.FloatGraph,
    images: Mapping[str, NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> FloatRun:
    """The float ``network`` on ``images``, (N, C, rows, columns) by input, batch by batch, against golden on ``graph``.

    network : simplified, of the float model that was quantized;  progress : of (images done, images in all)
    """
    return run_all([graph], network, images, progress)[0]


def run_all(
    graphs: Sequence[quant.Graph],
    network: quant.FloatGraph,
    images: Mapping[str, NDArray[np.float32]],
    progress: Callable[[int, int], None],
) -> list[FloatRun]:
    """``run_both`` of several ways to quantize one network; the float network runs once."""
    size, count = batch_size(network), len(next(iter(images.values())))
    signals: list[Sums] = [{} for _ in graphs]
    errors: list[Sums] = [{} for _ in graphs]
    guesses = np.full((1 + len(graphs), count), -1)
    for start in range(0, count, size):
        part = slice(start, start + size)
        batch = {real_name(name): values[part] for name, values in images.items()}
        found = [_integers(graph, batch) for graph in graphs]
        for name, values in run_float(network, batch):
            if name == network.outputs[0]:
                guesses[0, part] = classes(golden.arranged(values, network.arrays.get(name)))
            for index, (graph, tensors) in enumerate(zip(graphs, found, strict=True)):
                if name not in tensors or values.shape != tensors[name][1].shape:
                    continue
                integers, made = tensors[name]
                reals = golden.dequantize(made, graph.tensors[integers])
                if name == network.outputs[0]:
                    guesses[1 + index, part] = classes(golden.scores(graph, made))
                for sums, squares in ((signals, values), (errors, values - reals)):
                    power = np.square(squares, dtype=np.float64).sum(axis=(1, 2, 3))
                    sums[index].setdefault(integers, np.zeros(count))[part] = power
        progress(min(start + size, count), count)
    agreeing = (guesses[1:] == guesses[0]).sum(axis=1)
    runs = []
    for graph, signal, error, same in zip(graphs, signals, errors, agreeing, strict=True):
        noise = _noise(graph, signal, error)
        each = {row.tensor: row.each for row in noise}
        outputs = {real_name(name): ratio for name in graph.outputs if (ratio := each[name]) is not None}
        runs.append(FloatRun(noise, outputs, guesses[0], int(same)))
    return runs


def _integers(
    graph: quant.Graph, batch: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[str, NDArray[np.integer]]]:
    """Name and integers of each tensor of ``graph``, by what the float network calls it."""
    inputs = {name: batch[real_name(name)] for name in graph.inputs}
    tensors = golden.run(graph, golden.quantize_inputs(graph, inputs))
    return {real_name(name): (name, values) for name, values in tensors.items()}


def _noise(graph: quant.Graph, signals: Sums, errors: Sums) -> list[Noise]:
    each = {name: _typical(signals[name], errors[name]) for name in signals}
    makers = {layer.output: layer for layer in graph.layers}
    rows = []
    for name, tensor in graph.tensors.items():
        layer = makers.get(name)
        read = [each[source] for source in (layer.inputs if layer else ()) if source in each]
        lost = min(*read, CLEAN) - each[name] if read and name in each and np.isfinite(each[name]) else None
        ratio = _ratio(signals[name].sum(), errors[name].sum()) if name in signals else None
        bits = tensor.bits if isinstance(tensor, quant.FeatureMap) else None
        rows.append(Noise(name, layer.name if layer else "input", bits, ratio, each.get(name), lost))
    return rows


def _ratio(signal: float, error: float) -> float:
    if error == 0:
        return np.inf
    return float(10 * np.log10(signal / error)) if signal else -np.inf


def _typical(signals: NDArray[np.float64], errors: NDArray[np.float64]) -> float:
    """The ratio of the mean image, (N,) each; those without signal count as the median of the others."""
    some = signals[signals > 0]
    if not some.size:
        return _ratio(0.0, float(errors.sum()))
    return _ratio(1.0, float(np.mean(errors / np.where(signals > 0, signals, np.median(some)))))


def classifies(graph: quant.Graph) -> bool:
    """Whether the first output says how much speaks for each of several classes."""
    channels, *size = graph.tensors[graph.outputs[0]].shape
    return channels > 1 and size == [1, 1]


def classes(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The class of each image's highest score, (N,), of ``scores``, (N, classes, ...)."""
    highest: NDArray[np.intp] = scores.reshape(len(scores), -1).argmax(axis=1)
    return highest
