"""What nextpnr reports, read: cells, and the clock that was reached beside the one that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...quant.graph.errors import ToolError

OFF = 0.005
"""By which the constraint may differ from the PLL's clock: nextpnr rounds periods to picoseconds."""


@dataclass(frozen=True)
class Timing:
    """asked, reached : MHz;  used, there : cells by type, those that are used at all"""

    asked: float
    reached: float
    used: Mapping[str, int]
    there: Mapping[str, int]

    @property
    def slack(self) -> float:
        """Nanoseconds that the slowest path leaves of a period."""
        return 1000 / self.asked - 1000 / self.reached


def read_timing(report: Mapping[str, Any], asked: float) -> Timing:
    """Of nextpnr's JSON ``report`` on a top whose PLL makes ``asked`` MHz.

    Raises ToolError if it has another clock than that one, constrained to just that: nothing else is clocked.
    """
    try:
        rates = {name: (float(of["achieved"]), float(of["constraint"])) for name, of in report["fmax"].items()}
        cells = {name: (int(of["used"]), int(of["available"])) for name, of in report["utilization"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError(f"nextpnr's report is not understood: {type(error).__name__} {error}") from error
    if len(rates) != 1:
        raise ToolError(f"nextpnr's report has {len(rates)} clocks, not one: {', '.join(rates) or 'none'}")
    ((reached, constraint),) = rates.values()
    if not abs(constraint / asked - 1) <= OFF or not reached > 0:
        raise ToolError(f"nextpnr was to reach {asked:g} MHz, but reached {reached:g} aiming at {constraint:g}")
    used = {name: count for name, (count, _) in cells.items() if count}
    return Timing(asked, reached, used, {name: cells[name][1] for name in used})
