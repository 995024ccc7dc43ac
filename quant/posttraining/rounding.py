"""Rounding weights together, so that a layer's outputs, not its weights, are near what they should be.

With inputs of second moments H, (products, products), an error e of the weights of one output costs e' H e: the mean
square of the output's error.  All functions take several such layers at once, one for each group of a convolution.

Sources: E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2023:
rounding one input after another, what is lost being made up by those that follow; K. Behdin et al., "QuantEase:
Optimization-based Quantization for Language Models", 2023: cyclic coordinate descent on the same cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BLOCK = 64  # inputs whose errors are carried on together: then most of the work is matrix products


def cost(errors: Array, moments: Array) -> Array:
    """Mean square of each output's error, (groups, outputs), of ``errors``, (groups, outputs, products), of weights."""
    return np.asarray(np.einsum("goj,goj->go", errors @ moments, errors))


def nearest(weights: Array, scales: Array, top: int) -> Array:
    """Each weight's nearest step in ``-top..top``, (groups, outputs, products)."""
    return np.clip(np.rint(weights / scales[..., None]), -top, top)


def round_together(weights: Array, scales: Array, top: int, moments: Array, sweeps: int) -> Array:
    """Steps in ``-top..top`` for ``weights``, (groups, outputs, products), on ``scales``, (groups, outputs).

    moments : (groups, products, products), positive definite;  sweeps : of coordinate descent, at most
    The inputs that count most are rounded first, while all others can still make up for what they lose.
    """
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1)
    sorted_weights = np.take_along_axis(weights, order[:, None, :], 2)
    by_row = np.take_along_axis(moments, order[:, :, None], 1)
    sorted_moments = np.take_along_axis(by_row, order[:, None, :], 2)
    steps = _one_after_another(sorted_weights, scales, top, sorted_moments)
    _descend(steps, sorted_weights, scales, top, sorted_moments, sweeps)
    found = np.empty_like(steps)
    np.put_along_axis(found, order[:, None, :], steps, 2)
    return found


def _one_after_another(weights: Array, scales: Array, top: int, moments: Array) -> Array:
    """GPTQ: each input's weights are rounded, and the others moved to where the cost is then least."""
    left, steps = weights.copy(), np.empty_like(weights)
    # row j of the upper factor of the inverse says how those behind j make up for an error of j
    upper = np.linalg.cholesky(np.linalg.inv(moments)).swapaxes(1, 2)
    products = weights.shape[2]
    for start in range(0, products, BLOCK):
        end = min(start + BLOCK, products)
        errors = np.empty((*weights.shape[:2], end - start))
        for j in range(start, end):
            steps[..., j] = np.clip(np.rint(left[..., j] / scales), -top, top)
            error = (left[..., j] - steps[..., j] * scales) / upper[:, j, j, None]
            left[..., j + 1 : end] -= error[..., None] * upper[:, None, j, j + 1 : end]
            errors[..., j - start] = error
        left[..., end:] -= errors @ upper[:, start:end, end:]
    return steps


def _descend(steps: Array, weights: Array, scales: Array, top: int, moments: Array, sweeps: int) -> None:
    """Coordinate descent in place: each step takes the best value while the others stay, until none moves."""
    products, curvature = weights.shape[2], np.diagonal(moments, axis1=1, axis2=2)
    slope = (weights - steps * scales[..., None]) @ moments
    for _ in range(sweeps):
        moved_any = False
        for start in range(0, products, BLOCK):
            end = min(start + BLOCK, products)
            near = moments[:, start:end, start:end]
            moves = np.zeros((*weights.shape[:2], end - start))
            local = slope[..., start:end].copy()
            for j in range(end - start):
                best = steps[..., start + j] + local[..., j] / (curvature[:, start + j, None] * scales)
                best = np.clip(np.rint(best), -top, top)
                move = (best - steps[..., start + j]) * scales
                if move.any():
                    steps[..., start + j], moves[..., j] = best, move
                    local -= move[..., None] * near[:, None, j]
            if moves.any():
                moved_any = True
                slope -= moves @ moments[:, start:end]
        if not moved_any:
            return
