"""Mixed precision chosen by measuring: how many bits each layer's weights need.

Each layer alone gets fewer bits, its rounding learned, and the noise of the network's outputs is measured (Z. Dong et
al., "HAWQ: Hessian AWare Quantization of Neural Networks with Mixed-Precision", 2019, asks the same of second
derivatives).  Noises of several layers add up, nearly.  So from the widest weights on, always that layer is narrowed
whose noise grows least for each bit of memory that it gives back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape

import numpy as np
from numpy.typing import NDArray

from . import golden, quant
from .bit_choice import BitChoice, Sensitivity, Unit
from .calibration import Calibrated, Images, score
from .learning import learned
from .noise import FloatRun, classifies
from .quant.graph.ports import real_name
from .quant.graph.progress import Counting, uncounted
from .quant.networks.execute import run_float
from .quant.networks.layers import Convolution
from .quant.posttraining.alternatives import alternatives
from .quant.posttraining.quantize import build
from .quant.posttraining.sampling import batch_size, evenly, some_images
from .quant.posttraining.settings import FEWEST_BITS, MOST_BITS
from .quant.posttraining.widths import WIDEST, by_hand, weight_bits

CANDIDATES = (2, 3, 4, 6, 8)  # bits
MEASURED_MACS = 2**42  # of all networks that are measured
MOST_MEASURED = 64  # images
MOST_LOSS = 100  # points, or dB
LEAST_HALVED = 8  # images: of fewer, a loss is measured on those that were learned from


@dataclass(frozen=True)
class Aim:
    """``budget``, mean bits of all weights, or ``loss``, points of images that keep their class, or dB.

    Raises ConfigurationError unless exactly one is given, and is possible.
    """

    budget: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.loss is None):
            raise quant.ConfigurationError("bits are chosen by a budget or by a loss; give one of them")
        if self.budget is not None and not FEWEST_BITS <= self.budget <= MOST_BITS:
            raise quant.ConfigurationError(f"a budget must be {FEWEST_BITS} to {MOST_BITS} bits, not {self.budget:g}")
        if self.loss is not None and not 0 <= self.loss <= MOST_LOSS:
            raise quant.ConfigurationError(f"a loss must be 0 to {MOST_LOSS}, not {self.loss:g}")


@dataclass(frozen=True)
class Step:
    """One choice of bits: of each layer, by its name, their mean over all weights, and the noise expected of it."""

    bits: Mapping[str, int]
    mean: float
    noise: float


def sensitivities(
    network: quant.FloatGraph, found: Calibrated, settings: quant.Settings, progress: Counting
) -> list[Sensitivity]:
    """How sensitive the outputs are to each layer whose bits are not said by hand; ``found`` has wide weights.

    progress : of (layers done, layers in all)
    """
    said = by_hand(network, settings)
    widest = {name: bits for name, bits in weight_bits(network, settings).items() if name not in said}
    choices = {name: [bits for bits in CANDIDATES if bits < most] for name, most in widest.items()}
    for name, most in widest.items():
        if most < WIDEST:
            choices[name].append(most)
    images = _some(found, sum(map(len, choices.values())))
    exact = _exact(network, images)
    learned_from = some_images(network, found.images)
    widest_graph = build(network, found.histograms, wide(settings), learned_from)
    before = _noise(widest_graph, images, exact)
    noise: dict[str, dict[int, float]] = {name: {} for name in choices}
    for name, bits, graph in alternatives(network, widest_graph, learned_from, choices, settings, progress):
        noise[name][bits] = max(0.0, _noise(graph, images, exact) - before)
    size = {layer.name: layer.weights.size for layer in network.layers if isinstance(layer, Convolution)}
    return [Sensitivity(name, size[name], most, most, noise[name]) for name, most in widest.items()]


def chosen(
    network: quant.FloatGraph, found: Calibrated, settings: quant.Settings, aim: Aim, progress: Counting
) -> tuple[quant.Settings, BitChoice]:
    """``settings`` with the bits that reach ``aim``, and how they were chosen; ``found`` has wide weights.

    progress : of (layers done, layers in all)
    Raises ConfigurationError if nothing reaches it.
    """
    sensitive = sensitivities(network, found, settings, progress)
    size = {layer.name: layer.weights.size for layer in network.layers if isinstance(layer, Convolution)}
    bits = weight_bits(network, settings)
    path = steps(sensitive, {name: (size[name], bits[name]) for name in by_hand(network, settings) & set(size)})
    losses: dict[float, float] = {}
    if aim.budget is not None:
        step = within_budget(path, aim.budget)
    else:
        step, losses = within_loss(path, Loss(network, found, settings), aim.loss or 0.0)
    told = tuple(replace(one, bits=step.bits[one.layer]) for one in sensitive)
    points = tuple((each.mean, each.noise) for each in path)
    unit: Unit = "points" if classifies(found.graph) else "dB"
    return with_bits(settings, step), BitChoice(step.mean, told, points, tuple(losses.items()), unit)


def steps(found: Sequence[Sensitivity], fixed: Mapping[str, tuple[int, int]]) -> list[Step]:
    """Ever narrower choices, from the widest on.

    fixed : (weights, bits) of the layers that are not chosen, by name
    """
    bits = {one.layer: one.widest for one in found}
    total = sum(one.weights for one in found) + sum(size for size, _ in fixed.values())
    path = []
    while True:
        used = sum(one.weights * bits[one.layer] for one in found) + sum(size * width for size, width in fixed.values())
        noise = sum(one.noise.get(bits[one.layer], 0.0) for one in found)
        path.append(Step(dict(bits), used / max(1, total), noise))
        narrower = [(_price(one, bits[one.layer], to), one.layer, to) for one in found for to in one.noise]
        narrower = [choice for choice in narrower if choice[2] < bits[choice[1]]]
        if not narrower:
            return path
        _, layer, to = min(narrower)
        bits[layer] = to


def _price(one: Sensitivity, bits: int, to: int) -> float:
    """Noise for each bit of memory that going from ``bits`` ``to`` fewer gives back."""
    return (one.noise[to] - one.noise.get(bits, 0.0)) / (one.weights * (bits - to)) if to < bits else np.inf


def within_budget(path: Sequence[Step], budget: float) -> Step:
    """The first of ``path`` whose weights have ``budget`` bits at most.  Raises ConfigurationError if none has."""
    for step in path:
        if step.mean <= budget:
            return step
    raise quant.ConfigurationError(
        f"a budget of {budget:g} bits is below what is possible, {path[-1].mean:.2f} bits; ask for that or more"
    )


def within_loss(path: Sequence[Step], loss_of: Callable[[Step], float], loss: float) -> tuple[Step, dict[float, float]]:
    """The narrowest of ``path`` that loses ``loss`` at most, by halving, and what was measured: loss by mean bits."""
    low, high, measured = 0, len(path) - 1, {}
    while low < high:
        middle = (low + high + 1) // 2
        measured[path[middle].mean] = loss_of(path[middle])
        low, high = (middle, high) if measured[path[middle].mean] <= loss else (low, middle - 1)
    return path[low], measured


class Loss:
    """What a choice loses, each half of the images measured with what is learned from the other half."""

    def __init__(self, network: quant.FloatGraph, found: Calibrated, settings: quant.Settings) -> None:
        even, odd = ({name: values[first::2] for name, values in found.images.items()} for first in (0, 1))
        enough = len(next(iter(found.images.values()))) >= LEAST_HALVED
        pairs = [(odd, even), (even, odd)] if enough else [(found.images, found.images)]
        self._network, self._settings = network, settings
        self._folds = [replace(found, images=learned_from, sample=measured) for learned_from, measured in pairs]
        self._before = self._kept_by(wide(settings))

    def __call__(self, step: Step) -> float:
        return self._before - self._kept_by(with_bits(self._settings, step))

    def _kept_by(self, settings: quant.Settings) -> float:
        return float(
            np.mean([self._kept(learned(fold, self._network, settings, uncounted).run) for fold in self._folds])
        )

    def _kept(self, run: FloatRun) -> float:
        """Percent of the images that keep the float network's class, or dB of the outputs if they are no classes."""
        return 100 * run.agreeing / len(run.guesses) if classifies(self._folds[0].graph) else score(run)


def wide(settings: quant.Settings) -> quant.Settings:
    """``settings`` with no weight narrower than 8 bits: what narrow weights are measured against."""
    return replace(settings.wide(), effort=settings.effort)


def decibels(noise: float) -> float:
    """The signal-to-noise ratio of a relative mean square error, 200 at most."""
    return float(-10 * np.log10(max(noise, 1e-20)))


def with_bits(settings: quant.Settings, step: Step) -> quant.Settings:
    """``settings`` with the bits of ``step``, those said by hand still counting."""
    return replace(settings, bits={escape(name): str(bits) for name, bits in step.bits.items()} | dict(settings.bits))


def _some(found: Calibrated, graphs: int) -> dict[str, NDArray[np.float32]]:
    """Images to measure on: fewer for large networks."""
    count = len(next(iter(found.sample.values())))
    macs = max(1, found.graph.macs) * max(1, graphs)
    wanted = max(1, min(count, MOST_MEASURED, MEASURED_MACS // macs))
    return evenly(found.sample, wanted)


def _exact(network: quant.FloatGraph, images: Images) -> dict[str, NDArray[np.float32]]:
    """The float network's outputs, by name."""
    count, size = len(next(iter(images.values()))), batch_size(network)
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in network.outputs}
    for start in range(0, count, size):
        for name, values in run_float(network, {key: some[start : start + size] for key, some in images.items()}):
            if name in parts:
                parts[name].append(values)
    return {name: np.concatenate(some) for name, some in parts.items()}


def _noise(graph: quant.Graph, images: Images, exact: Mapping[str, NDArray[np.float32]]) -> float:
    """Mean square error of the outputs beside their mean square, the mean over outputs."""
    inputs = {name: images[real_name(name)] for name in graph.inputs}
    made = golden.run(graph, golden.quantize_inputs(graph, inputs), graph.outputs)
    ratios = []
    for name in graph.outputs:
        reals = exact[real_name(name)].astype(np.float64)
        error = reals - golden.dequantize(made[name].reshape(reals.shape), graph.tensors[name])
        ratios.append(np.mean(error**2) / max(np.mean(reals**2), np.finfo(np.float64).tiny))
    return float(np.mean(ratios))
