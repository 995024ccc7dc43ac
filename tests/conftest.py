"""What all tests run with."""

from __future__ import annotations

import gc

import pytest

# Graphs and plans live long and hold no circles worth looking for: collecting as often as Python does by itself takes
# up to a seventh of a test's processor time.
gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a compiled simulation comes first, the longest run of all, for which it is compiled: the compiler's
    level is chosen by the length of a run, and shorter ones take what there is.  The many short tests even out what
    the workers have to do at the end.
    """
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("xdist_group") is None:
        return 2
    return 0 if item.get_closest_marker("longest_run") else 1
