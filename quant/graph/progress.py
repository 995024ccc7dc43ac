"""How long work tells how far it is: by stage, so much done of so much."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""(stage, done, total); a stage begins with 0 done and ends with all."""


def quiet(stage: str, done: int, total: int) -> None:
    """The progress of nobody's interest."""


Counting = Callable[[int, int], None]
"""(done, total) of work of a single stage."""


def uncounted(done: int, total: int) -> None:
    """The count of nobody's interest."""
