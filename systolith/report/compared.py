"""What a simulation found when it compared each layer's output with golden's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from ..sim.report import Report
from .layers import LayerRow


@dataclass(frozen=True)
class Compared:
    """What a simulation found of one layer's output of ``values`` elements; ``difference`` says that some are wrong."""

    name: str
    values: int
    status: str
    difference: bool


def compared(rows: Sequence[LayerRow], report: Report) -> list[Compared]:
    """What ``report`` says of each layer's output; it keeps the first differences only."""
    firsts = {item.layer: str(item) for item in reversed(report.differences)}
    kept = "equal" if report.bit_exact else f"not among the first {len(report.differences)} differences"
    return [Compared(row.name, prod(row.shape), firsts.get(row.name, kept), row.name in firsts) for row in rows]
