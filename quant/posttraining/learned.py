"""The integers of one convolution, learned from what it reads in the quantized network and what it should make.

The cost is the mean square of the outputs' error, before the activation function.  The bias takes up the errors' mean
(M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019), and what is left of
the cost is a quadratic form in the weights (``rounding.py``).  First the weights are moved to where they make the best
of inputs that are quantized themselves, then rounded there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..graph import INT32
from ..graph.layers import magnitudes
from ..networks.layers import Convolution, Floats
from .rounding import Array, Moments, nearest, round_together
from .settings import Effort, Settings
from .weights import QuantizedWeights
from .widths import WIDEST

DAMPING = 0.01
"""Of the inputs' mean square, added to each one's, at least: what samples say little of stays as training left it."""
LARGEST_SHARE = 0.99  # of what inputs have to do with each other, that may be chance
PART = 1536  # inputs that are rounded together; more of them part by part, the error of those before carried on
MOST_WEIGHTS = 2**22  # that are rounded at once, so that memory suffices for any layer: outputs do not mind each other
SMALLEST_SHARE = 0.25  # of the range that holds all weights of a channel
TINY = 2.0**-100  # as a mean square: below it nothing enters


@dataclass(frozen=True)
class Search:
    """How long to look: ``shares`` of each channel's range, ``sweeps`` of coordinate descent, ``refits`` of scales."""

    shares: int
    sweeps: int
    refits: int


SEARCHES: dict[Effort, Search] = {"fast": Search(1, 0, 0), "default": Search(16, 2, 2), "best": Search(32, 8, 4)}


@dataclass(frozen=True, eq=False)
class Samples:
    """What a convolution reads and should make, at some of its outputs' positions.

    inputs : float32, (groups, positions, products), of the quantized network;  outputs : float32, (groups, positions,
    outputs / groups), of the float network, before the activation function;  images : that they are from
    independent : how many positions with windows that do not overlap say as much
    """

    inputs: Floats
    outputs: Floats
    images: int
    independent: float


@dataclass(frozen=True, eq=False)
class _Steps:
    """Weights as ``steps``, whole numbers, (groups, outputs, products), of ``scales``, (groups, outputs)."""

    steps: Array
    scales: Array

    @property
    def reals(self) -> Array:
        return self.steps * self.scales[..., None]


class _Inputs:
    """What a convolution reads, (groups, positions, products), without its means, (groups, products)."""

    def __init__(self, samples: Samples) -> None:
        self.means = samples.inputs.mean(axis=1, dtype=np.float64)
        self.values = samples.inputs - self.means[:, None].astype(np.float32)
        self.images, self._independent = samples.images, samples.independent
        count = self.values.shape[2]
        self.parts = [slice(at, min(at + PART, count)) for at in range(0, count, PART)]

    @cached_property
    def moments(self) -> list[tuple[slice, Moments]]:
        """Each part and its second moments, as far as they are no chance."""
        return [(part, self._damped(self.values[..., part])) for part in self.parts]

    def _damped(self, inputs: Floats) -> Moments:
        found = products(inputs, inputs)
        mean_square = np.diagonal(found, axis1=1, axis2=2).mean(axis=1)
        damping = np.maximum(DAMPING, _chance(inputs, found, mean_square, self._independent)) * mean_square + TINY
        return Moments(found + np.eye(found.shape[1]) * damping[:, None, None], inputs, damping)


class _Problem:
    """Some outputs of each group, and what they should make.

    weights : (groups, outputs, products);  bias : (groups, outputs);  outputs : (groups, positions, outputs)
    """

    def __init__(self, weights: Floats, bias: Floats, inputs: _Inputs, outputs: Floats) -> None:
        self.weights = weights.astype(np.float64)
        self.inputs = inputs
        self._bias = bias.astype(np.float64)
        self._means = outputs.mean(axis=1, dtype=np.float64)
        self._outputs = outputs - self._means[:, None].astype(np.float32)

    def left(self, weights: Array) -> Floats:
        """What ``weights`` do not make of the outputs, (groups, positions, outputs)."""
        return np.asarray(self._outputs - self.made(weights, slice(None)))

    def made(self, weights: Array, part: slice) -> Floats:
        return np.asarray(self.inputs.values[..., part] @ weights.swapaxes(1, 2).astype(np.float32))

    def cost(self, weights: Array) -> Array:
        """Mean square of what ``weights`` do not make of each output, (groups, outputs)."""
        return np.asarray(np.square(self.left(weights)).mean(axis=1))

    def bias(self, weights: Array) -> Array:
        """What makes the outputs' means right, (groups, outputs), as far as a few images' mean is no chance."""
        if self.inputs.images < 2:
            return self._bias
        plain = self._means - np.einsum("gop,gp->go", weights, self.inputs.means)
        change = plain - self._bias
        chance = np.square(self.left(weights)).mean(axis=1, dtype=np.float64) / self.inputs.images
        return np.asarray(self._bias + change * change**2 / (change**2 + chance + TINY))


def _chance(inputs: Floats, found: Array, mean_square: Array, independent: float) -> Array:
    """How much of the mean square to add to each input's so that moments of few samples come nearest to the true ones.

    O. Ledoit and M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004: the share of
    what lies between the moments found and equal ones that the samples' own spread explains.  (groups,)
    """
    squares = np.square(found).sum(axis=(1, 2))
    fourth = np.square(np.square(inputs).sum(axis=2, dtype=np.float64)).mean(axis=1)
    between = squares - inputs.shape[2] * mean_square**2
    share = np.minimum((fourth - squares) / independent, LARGEST_SHARE * between) / np.maximum(between, TINY)
    return np.asarray(share / (1 - share))


def products(a: Floats, b: Floats) -> Array:
    """Mean products of ``a``, (groups, positions, m), and ``b``, (groups, positions, n): (groups, m, n)."""
    return np.asarray(a.swapaxes(1, 2) @ b / np.float32(a.shape[1]), np.float64)


def learn_weights(
    layer: Convolution,
    samples: Samples,
    rounded: QuantizedWeights,
    input_scale: np.float32,
    reach: int,
    settings: Settings,
) -> QuantizedWeights:
    """The integers that suit ``samples`` best; channels for which none are found keep those of ``rounded``.

    rounded : each weight's nearest integers;  settings : with this layer's ``weight_bits``
    input_scale, reach : of the map that is read: its scale, and the largest ``|x - zero_point|``
    """
    if settings.weight_bits > WIDEST or not rounded.weights.any():
        return rounded
    inputs, shape = _Inputs(samples), (layer.groups, -1, layer.weights[0].size)
    weights, bias = layer.weights.reshape(shape), layer.bias.reshape(layer.groups, -1)
    old = QuantizedWeights(
        rounded.weights.reshape(shape), rounded.scales.reshape(bias.shape), rounded.bias.reshape(bias.shape)
    )
    together = max(1, MOST_WEIGHTS // weights[:, 0].size)
    found = []
    for some in (slice(at, at + together) for at in range(0, bias.shape[1], together)):
        problem = _Problem(weights[:, some], bias[:, some], inputs, samples.outputs[..., some])
        nearest_ones = QuantizedWeights(old.weights[:, some], old.scales[:, some], old.bias[:, some])
        found.append(_learned(problem, nearest_ones, input_scale, reach, settings))
    return QuantizedWeights(
        np.concatenate([one.weights for one in found], 1).reshape(layer.weights.shape),
        np.concatenate([one.scales for one in found], 1).reshape(-1),
        np.concatenate([one.bias for one in found], 1).reshape(-1),
    )


def _learned(
    problem: _Problem, rounded: QuantizedWeights, input_scale: np.float32, reach: int, settings: Settings
) -> QuantizedWeights:
    """As ``learn_weights``, for some outputs of each group: integers (groups, outputs, products) and so on."""
    top = 2 ** (settings.weight_bits - 1) - 1
    first = _Steps(rounded.weights.astype(np.float64), rounded.scales.astype(np.float64))
    found = _solve(problem, _searched(problem, first.scales, top, settings), top, settings)
    new, old = (_integers(problem, one, input_scale) for one in (found, first))
    better = (problem.cost(found.reals) <= problem.cost(first.reals)) & _fits(new, reach)
    old_bias = np.where(_fits(old, reach), old.bias, rounded.bias)
    return QuantizedWeights(
        np.where(better[..., None], new.weights, old.weights),
        np.where(better, new.scales, old.scales),
        np.where(better, new.bias, old_bias),
    )


def _integers(problem: _Problem, found: _Steps, input_scale: np.float32) -> QuantizedWeights:
    """``found`` as integers, and the bias that suits them."""
    scales = found.scales.astype(np.float32)
    bias = np.rint(problem.bias(found.reals) / (np.float64(input_scale) * scales))
    return QuantizedWeights(found.steps.astype(np.int16), scales, bias.astype(np.int64))


def _fits(integers: QuantizedWeights, reach: int) -> NDArray[np.bool_]:
    """Whether each output's sums stay within int32, (groups, outputs)."""
    sums = magnitudes(integers.weights.reshape(integers.bias.size, -1)).reshape(integers.bias.shape)
    return np.asarray(sums * reach + np.abs(integers.bias) <= INT32.max)


def _searched(problem: _Problem, scales: Array, top: int, settings: Settings) -> Array:
    """The scale of each channel whose nearest integers cost least, (groups, outputs), of ``scales`` and some others."""
    search, largest = SEARCHES[settings.effort], np.abs(problem.weights).max(axis=2)
    whole = np.where(largest > 0, largest / top, scales)
    if settings.power_of_two:
        whole = 2.0 ** np.ceil(np.log2(whole))
        shares = np.array([1.0, 0.5, 0.25])
    else:
        shares = np.linspace(1, SMALLEST_SHARE, search.shares)
    tried = np.array([scales, *(np.maximum(whole * share, scales * SMALLEST_SHARE) for share in shares)])
    costs = np.zeros(tried.shape)
    for part, near in problem.inputs.moments:
        weights = problem.weights[..., part]
        for index, candidate in enumerate(tried):
            costs[index] += near.cost(weights - nearest(weights, candidate, top) * candidate[..., None])
    return np.asarray(np.take_along_axis(tried, costs.argmin(axis=0)[None], 0)[0])


def _solve(problem: _Problem, scales: Array, top: int, settings: Settings) -> _Steps:
    """Weights rounded part by part, each to make up for what the parts before leave."""
    search = SEARCHES[settings.effort]
    steps = np.empty(problem.weights.shape)
    left = problem.left(problem.weights)
    for part, near in problem.inputs.moments:
        weights = problem.weights[..., part]
        moved = weights + near.solve(products(problem.inputs.values[..., part], left)).swapaxes(1, 2)
        found = _Steps(round_together(moved, scales, top, near, search.sweeps), scales)
        if len(problem.inputs.parts) == 1 and not settings.power_of_two:
            for _ in range(search.refits):
                found = _refitted(found, moved, top, near, search.sweeps)
            scales = found.scales
        steps[..., part] = found.steps
        left += problem.made(weights - found.reals, part)
    return _Steps(steps, scales)


def _refitted(found: _Steps, weights: Array, top: int, near: Moments, sweeps: int) -> _Steps:
    """``found``, or of each channel what its best scale leads to, if that costs less."""
    seen = found.steps @ near.full
    power = np.einsum("gop,gop->go", found.steps, seen)
    fitted = np.einsum("gop,gop->go", weights, seen) / np.maximum(power, TINY)
    fitted = np.where((fitted > found.scales / 2) & (fitted < found.scales * 2), fitted, found.scales)
    other = _Steps(round_together(weights, fitted, top, near, sweeps), fitted)
    less = near.cost(weights - other.reals) < near.cost(weights - found.reals)
    return _Steps(np.where(less[..., None], other.steps, found.steps), np.where(less, fitted, found.scales))
