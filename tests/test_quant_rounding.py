"""Weights that are rounded together."""

import itertools

import numpy as np
import pytest

from systolith.quant.posttraining.rounding import BLOCK, Moments, nearest, round_together


def problem(groups: int, outputs: int, products: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, scales and second moments of inputs that go together, as neighbouring pixels do."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((groups, 4 * products, products)).cumsum(axis=2)
    moments = inputs.swapaxes(1, 2) @ inputs / inputs.shape[1] + 0.01 * np.eye(products)
    weights = random.standard_normal((groups, outputs, products))
    return weights, np.abs(weights).max(axis=2) / 7, moments


def costs(weights: np.ndarray, steps: np.ndarray, scales: np.ndarray, moments: np.ndarray) -> np.ndarray:
    return Moments(moments).cost(weights - steps * scales[..., None])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("products", [1, 9, BLOCK, 2 * BLOCK + 3])
def test_a_step_more_or_less_costs_more(products, seed):
    """Of any one weight; and all together cost less than the nearest ones, far less where inputs go together."""
    weights, scales, moments = problem(2, 3, products, seed)
    found = round_together(weights, scales, 7, Moments(moments), sweeps=1000)
    assert (np.rint(found) == found).all()
    assert np.abs(found).max() <= 7
    least = costs(weights, found, scales, moments)
    for place, by in itertools.product(range(products), (-1, 1)):
        other = found.copy()
        other[..., place] = np.clip(other[..., place] + by, -7, 7)
        assert (costs(weights, other, scales, moments) >= least * (1 - 1e-9)).all()
    plain = costs(weights, nearest(weights, scales, 7), scales, moments)
    assert (least <= plain * (1 + 1e-9)).all()
    if products >= BLOCK:
        assert least.sum() < 0.2 * plain.sum()


def test_near_the_best_of_all():
    """Which all 3**6 choices are searched for."""
    excess = []
    every = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=6)))
    for seed in range(40):
        weights, _, moments = problem(1, 1, 6, seed)
        scales = np.abs(weights).mean(axis=2)
        best = min(costs(weights, steps[None, None], scales, moments)[0, 0] for steps in every)
        found = costs(weights, round_together(weights, scales, 1, Moments(moments), 20), scales, moments)[0, 0]
        assert found >= best * (1 - 1e-9)
        excess.append(found / best)
    assert np.median(excess) < 1.05


def test_inputs_that_have_nothing_to_do_with_each_other_leave_the_nearest():
    weights, scales, _ = problem(2, 4, 20, 0)
    moments = np.eye(20) * np.arange(1, 21) * np.ones((2, 1, 1))
    assert (round_together(weights, scales, 7, Moments(moments), 5) == nearest(weights, scales, 7)).all()


def test_each_group_by_itself():
    weights, scales, moments = problem(3, 2, 12, 5)
    together = round_together(weights, scales, 7, Moments(moments), 3)
    for group in range(3):
        one = slice(group, group + 1)
        assert (round_together(weights[one], scales[one], 7, Moments(moments[one]), 3) == together[one]).all()


def test_few_samples_say_what_their_moments_say():
    """The cost of errors, and what solves for the moments."""
    random = np.random.default_rng(3)
    samples = random.standard_normal((2, 5, 40)).astype(np.float32)
    damping = np.array([0.1, 0.3])
    full = samples.swapaxes(1, 2).astype(np.float64) @ samples / 5 + np.eye(40) * damping[:, None, None]
    few, errors = Moments(full, samples, damping), random.standard_normal((2, 7, 40))
    np.testing.assert_allclose(few.cost(errors), Moments(full).cost(errors), rtol=1e-5)
    right = random.standard_normal((2, 40, 3))
    np.testing.assert_allclose(full @ few.solve(right), right, atol=1e-9)
