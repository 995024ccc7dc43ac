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
from .rounding import Array, cost, nearest, round_together
from .settings import Effort, Settings
from .weights import QuantizedWeights
from .widths import WIDEST

DAMPING = 0.01
"""Of the inputs' mean square, added to each one's, at least: what samples say little of stays as training left it."""
LARGEST_SHARE = 0.99  # of what inputs have to do with each other, that may be chance
PART = 1536  # inputs that are rounded together; more of them part by part, the error of those before carried on
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


class _Problem:
    """Samples without their means, and the weights and biases that they are for."""

    def __init__(self, layer: Convolution, samples: Samples) -> None:
        groups, products = layer.groups, layer.weights[0].size
        self.weights = layer.weights.reshape(groups, -1, products).astype(np.float64)
        self.input_means = samples.inputs.mean(axis=1, dtype=np.float64)
        self.output_means = samples.outputs.mean(axis=1, dtype=np.float64)
        self.inputs = samples.inputs - self.input_means[:, None].astype(np.float32)
        self.outputs = samples.outputs - self.output_means[:, None].astype(np.float32)
        self.parts = [slice(at, min(at + PART, products)) for at in range(0, products, PART)]
        self._bias = layer.bias.reshape(groups, -1).astype(np.float64)
        self._images, self._independent = samples.images, samples.independent

    def left(self, weights: Array) -> Floats:
        """What ``weights`` do not make of the outputs, (groups, positions, outputs)."""
        return np.asarray(self.outputs - self.made(weights, slice(None)))

    def made(self, weights: Array, part: slice) -> Floats:
        return np.asarray(self.inputs[..., part] @ weights.swapaxes(1, 2).astype(np.float32))

    @cached_property
    def moments(self) -> list[tuple[slice, Array]]:
        """Each part and its inputs' second moments, (groups, products, products), as far as they are no chance."""
        return [(part, self._damped(self.inputs[..., part])) for part in self.parts]

    def _damped(self, inputs: Floats) -> Array:
        found = moments(inputs, inputs)
        mean_square = np.diagonal(found, axis1=1, axis2=2).mean(axis=1)
        damping = np.maximum(DAMPING, _chance(inputs, found, mean_square, self._independent)) * mean_square + TINY
        return np.asarray(found + np.eye(found.shape[1]) * damping[:, None, None])

    def cost(self, weights: Array) -> Array:
        """Mean square of what ``weights`` do not make of each output, (outputs,)."""
        return np.asarray(np.square(self.left(weights)).mean(axis=1).reshape(-1))

    def bias(self, weights: Array) -> Array:
        """What makes the outputs' means right, (outputs,), as far as a few images' mean is no chance."""
        plain = self.output_means - np.einsum("gop,gp->go", weights, self.input_means)
        change = plain - self._bias
        if self._images < 2:
            return self._bias.reshape(-1)
        chance = np.square(self.left(weights)).mean(axis=1, dtype=np.float64) / self._images
        return np.asarray((self._bias + change * change**2 / (change**2 + chance + TINY)).reshape(-1))


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


def moments(a: Floats, b: Floats) -> Array:
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
    problem, top = _Problem(layer, samples), 2 ** (settings.weight_bits - 1) - 1
    shape = problem.weights.shape
    first = _Steps(
        rounded.weights.reshape(shape).astype(np.float64), rounded.scales.reshape(shape[:2]).astype(np.float64)
    )
    found = _solve(problem, _searched(problem, first.scales, top, settings), top, settings)
    new, old = (_integers(problem, one, layer.weights.shape, input_scale) for one in (found, first))
    better = (problem.cost(found.reals) <= problem.cost(first.reals)) & _fits(new, reach)
    old_bias = np.where(_fits(old, reach), old.bias, rounded.bias)
    return QuantizedWeights(
        np.where(better[:, None, None, None], new.weights, old.weights),
        np.where(better, new.scales, old.scales),
        np.where(better, new.bias, old_bias),
    )


def _integers(problem: _Problem, found: _Steps, shape: tuple[int, ...], input_scale: np.float32) -> QuantizedWeights:
    """``found`` as weights of ``shape``, and the bias that suits them."""
    scales = found.scales.reshape(-1).astype(np.float32)
    bias = np.rint(problem.bias(found.reals) / (np.float64(input_scale) * scales))
    return QuantizedWeights(found.steps.reshape(shape).astype(np.int16), scales, bias.astype(np.int64))


def _fits(integers: QuantizedWeights, reach: int) -> NDArray[np.bool_]:
    """Whether each output's sums stay within int32, (outputs,)."""
    return np.asarray(magnitudes(integers.weights) * reach + np.abs(integers.bias) <= INT32.max)


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
    for part, near in problem.moments:
        weights = problem.weights[..., part]
        for index, candidate in enumerate(tried):
            costs[index] += cost(weights - nearest(weights, candidate, top) * candidate[..., None], near)
    return np.asarray(np.take_along_axis(tried, costs.argmin(axis=0)[None], 0)[0])


def _solve(problem: _Problem, scales: Array, top: int, settings: Settings) -> _Steps:
    """Weights rounded part by part, each to make up for what the parts before leave."""
    search = SEARCHES[settings.effort]
    steps = np.empty(problem.weights.shape)
    left = problem.left(problem.weights)
    for part, near in problem.moments:
        weights = problem.weights[..., part]
        moved = weights + np.linalg.solve(near, moments(problem.inputs[..., part], left)).swapaxes(1, 2)
        found = _Steps(round_together(moved, scales, top, near, search.sweeps), scales)
        if len(problem.parts) == 1 and not settings.power_of_two:
            for _ in range(search.refits):
                found = _refitted(found, moved, top, near, search.sweeps)
            scales = found.scales
        steps[..., part] = found.steps
        left += problem.made(weights - found.reals, part)
    return _Steps(steps, scales)


def _refitted(found: _Steps, weights: Array, top: int, near: Array, sweeps: int) -> _Steps:
    """``found``, or of each channel what its best scale leads to, if that costs less."""
    seen = found.steps @ near
    power = np.einsum("gop,gop->go", found.steps, seen)
    fitted = np.einsum("gop,gop->go", weights, seen) / np.maximum(power, TINY)
    fitted = np.where((fitted > found.scales / 2) & (fitted < found.scales * 2), fitted, found.scales)
    other = _Steps(round_together(weights, fitted, top, near, sweeps), fitted)
    less = cost(weights - other.reals, near) < cost(weights - found.reals, near)
    return _Steps(np.where(less[..., None], other.steps, found.steps), np.where(less, fitted, found.scales))
