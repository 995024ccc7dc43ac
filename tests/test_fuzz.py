"""A slice of ``make fuzz``: mutated models are refused in one line of our own, or go through."""

from __future__ import annotations

from functools import cache

import pytest

from .fuzz.corpus import float_models, quantized_models
from .fuzz.trial import run, write

FILES, EACH = 200, 50


@cache
def corpus():
    return {"float": float_models(), "quantized": quantized_models()}


@pytest.mark.parametrize("first", range(0, FILES, EACH))
def test_mutated_models_end_in_our_errors_or_go_through(tmp_path, first):
    found = {"accepted": 0, "refused": 0}
    for number in range(first, first + EACH):
        path = write(corpus(), number, 2024, tmp_path)
        outcome = run(path)
        assert not outcome.failed, f"file {number}: {outcome.kind}\n{outcome.said}"
        found[outcome.kind] += 1
    assert found["accepted"] > 0
    assert found["refused"] > 0
