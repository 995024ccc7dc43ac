"""Names that are one's own."""

from __future__ import annotations


def unique(name: str, taken: set[str]) -> str:
    """``name``, with a number behind it if it is ``taken`` already; it is from now on."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
