"""Slots of different times in one memory: none meets another, and holes are filled where an order does."""

import itertools
from math import inf

import numpy as np
import pytest

from systolith.hw.compiler.stacking import stacked
from systolith.hw.compiler.windows import meet

CAPACITY = 1000


def check(blocks, found):
    for n, (life, size) in blocks.items():
        assert found.bottoms[n] + size <= CAPACITY
        for other, (others_life, others_size) in blocks.items():
            if n < other and meet(life, others_life):
                low, high = found.bottoms[other], found.bottoms[other] + others_size
                assert found.bottoms[n] >= high or found.bottoms[n] + size <= low, "two at once at one place"
    for step, lowest in enumerate(found.lowest):
        alive = [found.bottoms[n] for n, (life, _) in blocks.items() if meet(life, (step, step))]
        assert lowest == min(alive, default=CAPACITY)


def drawn(seed, steps=8):
    random = np.random.default_rng(seed)
    blocks = {}
    for n in range(int(random.integers(1, 7))):
        first, last = sorted(int(step) for step in random.integers(0, steps, 2))
        blocks[n] = ((first, last), int(random.integers(1, 400)))
    return blocks


def best_of_all(blocks):
    """The most room that is left in its worst step, by any order of first fit."""
    found = -inf
    for order in itertools.permutations(blocks):
        bottoms = {}
        for n in order:
            life, size = blocks[n]
            others = sorted((bottoms[o] + blocks[o][1], bottoms[o]) for o in bottoms if meet(blocks[o][0], life))
            tops = [CAPACITY, *(low for _, low in others)]
            fits = [top for top in tops if all(high <= top - size or low >= top for high, low in others)]
            bottoms[n] = max(fits) - size
        found = max(found, min(bottoms.values(), default=CAPACITY))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_no_two_meet_and_what_fits_in_some_order_fits(seed):
    blocks = drawn(seed)
    found = stacked(blocks, CAPACITY, [0] * 8, lambda lowest: -min(lowest))
    check(blocks, found)
    assert (found.over is None) == (min(found.lowest) >= 0)
    assert (found.over is None) == (best_of_all(blocks) >= 0)


def test_a_hole_between_long_lives_is_filled():
    # as a concatenation's part, 1, waits for it: 2 would take what 0 leaves, but is larger
    # nothing is lost where 9 is, though it reaches lowest of all
    blocks = {0: ((0, 1), 300), 1: ((0, 3), 300), 2: ((2, 3), 310), 9: ((4, 4), 950)}
    found = stacked(blocks, CAPACITY, [0] * 5, lambda lowest: -sum(lowest))
    check(blocks, found)
    assert found.lowest == [400, 400, 390, 390, 50]


def test_a_hole_of_just_its_size_is_filled_in_program_order():
    blocks = {0: ((0, 1), 200), 1: ((0, 3), 100), 2: ((2, 3), 200)}
    found = stacked(blocks, CAPACITY, [0] * 4, lambda lowest: 0.0)
    assert found.bottoms == {0: 800, 1: 700, 2: 800}


def test_one_that_is_alone_leaves_the_end_to_those_that_work_beside():
    # 4 (LRN) works beside the array's layer 3 and before 5 (pooling), which is large and alone
    blocks = {1: ((0, 3), 124), 2: ((0, 3), 180), 4: ((3, 5), 92), 5: ((5, 5), 700)}
    found = stacked(blocks, CAPACITY, [0] * 6, lambda lowest: -lowest[3])
    check(blocks, found)
    assert found.over is None
    assert found.lowest[3] == CAPACITY - 124 - 180 - 92


def test_maps_are_not_reached():
    blocks = {0: ((0, 1), 300), 1: ((1, 2), 300)}
    for floor, over in ((400, False), (401, True)):
        found = stacked(blocks, CAPACITY, [0, floor, 0], lambda lowest: 0.0)
        assert (found.over is not None) == over
        assert not over or meet(blocks[found.over][0], (1, 1))


def test_the_cheapest_is_taken():
    blocks = {0: ((0, 0), 100), 1: ((0, 2), 100), 2: ((1, 2), 150)}
    first = stacked(blocks, CAPACITY, [0] * 3, lambda lowest: -lowest[0])
    second = stacked(blocks, CAPACITY, [0] * 3, lambda lowest: -lowest[1])
    assert first.lowest[0] == 800
    assert second.lowest[1] == 750


def test_nothing_to_place():
    found = stacked({}, CAPACITY, [0, 0], lambda lowest: 0.0)
    assert (found.bottoms, [*found.lowest], found.over) == ({}, [CAPACITY, CAPACITY], None)
