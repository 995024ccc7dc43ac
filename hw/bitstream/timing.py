"""What nextpnr reports, read: cells, and the clock that was reached beside the one that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...quant.graph.errors import ToolError
from .top import CLOCK

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

    Raises ToolError if it does not have that clock, constrained to just that, or another clock is too slow.
    """
    try:
        clocks = {name.rsplit("$", 1)[-1]: found for name, found in report["fmax"].items()}
        rates = {name: (float(found["achieved"]), float(found["constraint"])) for name, found in clocks.items()}
        cells = {name: (int(of["used"]), int(of["available"])) for name, of in report["utilization"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolError(f"nextpnr's report is not understood: no {error}") from error
    if CLOCK not in rates or len(rates) < len(report["fmax"]):
        raise ToolError(f"nextpnr's report has the clocks {', '.join(report['fmax']) or 'none'}, not '{CLOCK}'")
    reached, constraint = rates.pop(CLOCK)
    if abs(constraint / asked - 1) > OFF:
        raise ToolError(f"nextpnr was to reach {asked:g} MHz, but has aimed at {constraint:g}")
    for name, (other, wanted) in rates.items():
        if other < wanted:
            raise ToolError(f"the clock '{name}' reaches {other:.1f} MHz of {wanted:g}")
    used = {name: count for name, (count, _) in cells.items() if count}
    return Timing(asked, reached, used, {name: cells[name][1] for name in used})
