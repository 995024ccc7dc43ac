"""Rounding weights together, so that a layer's outputs, not its weights, are near what they should be.

With inputs of second moments H, (products, products), an error e of the weights of one output costs e' H e: the mean
square of the output's error.  All functions take several such layers at once, one for each group of a convolution.

Sources: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023:
rounding one input after another, what is lost being made up by those that follow; K. Behdin et al., "QuantEase:
Optimization-based Quantization for Language Models", 2023: cyclic coordinate descent on the same cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 64  # inputs whose errors are carried on together: then most of the work is matrix products


@dataclass(frozen=True, eq=False)
class Moments:
    """H, (groups, products, products), positive definite, and what is worked out of it once for all outputs.

    samples : float32, (groups, positions, products), whose second moments H has beside ``damping``, (groups,), on its
    diagonal;  None if unknown
    """

    full: Array
    samples: NDArray[np.float32] | None = None
    damping: Array | None = None

    def cost(self, errors: Array) -> Array:
        """Mean square of each output's error, (groups, outputs), of ``errors``, (groups, outputs, products)."""
        if self.samples is None or self.damping is None or self.samples.shape[1] >= self.samples.shape[2]:
            return np.asarray(np.einsum("goj,goj->go", errors @ self.full, errors))
        made = self.samples @ errors.swapaxes(1, 2).astype(np.float32)
        mean_square = np.square(made).mean(axis=1, dtype=np.float64)
        return np.asarray(mean_square + self.damping[:, None] * np.square(errors).sum(axis=2))

    def solve(self, right: Array) -> Array:
        """x of H x = ``right``, (groups, products, outputs)."""
        order, found = self.order[:, :, None], np.empty_like(right)
        np.put_along_axis(found, order, self._inverse @ np.take_along_axis(right, order, 1), 1)
        return found

    @cached_property
    def order(self) -> NDArray[np.intp]:
        """(groups, products), the inputs that count most first."""
        return np.argsort(-np.diagonal(self.full, axis1=1, axis2=2), axis=1)

    @cached_property
    def sorted(self) -> Array:
        """H with its inputs in ``order``."""
        by_row = np.take_along_axis(self.full, self.order[:, :, None], 1)
        return np.take_along_axis(by_row, self.order[:, None, :], 2)

    @cached_property
    def upper(self) -> Array:
        """The upper factor of the inverse of ``sorted``: row j says how those behind j make up for an error of j."""
        return np.asarray(np.linalg.cholesky(self._inverse).swapaxes(1, 2))

    @cached_property
    def _inverse(self) -> Array:
        return np.asarray(np.linalg.inv(self.sorted), np.float64)


def nearest(weights: Array, scales: Array, top: int) -> Array:
    """Each weight's nearest step in ``-top..top``, (groups, outputs, products)."""
    return np.clip(np.rint(weights / scales[..., None]), -top, top)


def round_together(weights: Array, scales: Array, top: int, moments: Moments, sweeps: int) -> Array:
    """Steps in ``-top..top`` for ``weights``, (groups, outputs, products), on ``scales``, (groups, outputs).

    sweeps : of coordinate descent, at most
    The inputs that count most are rounded first, while all others can still make up for what they lose.
    """
    # (groups, products, outputs) from here on: what is looked at together lies together
    order = moments.order[:, :, None]
    sorted_weights = np.take_along_axis(weights.swapaxes(1, 2), order, 1)
    steps = _one_after_another(sorted_weights, scales, top, moments.upper)
    _descend(steps, sorted_weights, scales, top, moments.sorted, sweeps)
    found = np.empty_like(weights)
    np.put_along_axis(found.swapaxes(1, 2), order, steps, 1)
    return found


def _one_after_another(weights: Array, scales: Array, top: int, upper: Array) -> Array:
    """GPTQ: each input's weights are rounded, and the others moved to where the cost is then least."""
    left, steps = weights.copy(), np.empty_like(weights)
    groups, products, outputs = weights.shape
    for start in range(0, products, BLOCK):
        end = min(start + BLOCK, products)
        errors = np.empty((groups, end - start, outputs))
        for j in range(start, end):
            steps[:, j] = np.clip(np.rint(left[:, j] / scales), -top, top)
            error = (left[:, j] - steps[:, j] * scales) / upper[:, j, j, None]
            left[:, j + 1 : end] -= upper[:, j, j + 1 : end, None] * error[:, None]
            errors[:, j - start] = error
        left[:, end:] -= upper[:, start:end, end:].swapaxes(1, 2) @ errors
    return steps


def _descend(steps: Array, weights: Array, scales: Array, top: int, moments: Array, sweeps: int) -> None:
    """Coordinate descent in place: each step takes the best value while the others stay, until none moves."""
    products, curvature = weights.shape[1], np.diagonal(moments, axis1=1, axis2=2)
    slope = moments @ (weights - steps * scales[:, None])
    for _ in range(sweeps):
        moved_any = False
        for start in range(0, products, BLOCK):
            end = min(start + BLOCK, products)
            near = moments[:, start:end, start:end]
            local = slope[:, start:end].copy()
            moves = np.zeros_like(local)
            for j in range(end - start):
                best = steps[:, start + j] + local[:, j] / (curvature[:, start + j, None] * scales)
                best = np.clip(np.rint(best), -top, top)
                move = (best - steps[:, start + j]) * scales
                if move.any():
                    steps[:, start + j], moves[:, j] = best, move
                    local -= near[:, j, :, None] * move[:, None]
            if moves.any():
                moved_any = True
                slope -= moments[:, :, start:end] @ moves
        if not moved_any:
            return
