"""Synthesis by yosys, in a process of its own, kept by the content of all that goes into it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from systolith import SystolithError
from systolith.hw.isa.parameters import Target

COMMANDS: dict[Target, str] = {
    "ecp5": "synth_ecp5",
    "ice40": "synth_ice40",
    "xilinx": "synth_xilinx -family xc7",
    "gowin": "synth_gowin",
}
BEFORE = ("rename -hide w:*$*", "", "rename -hide w:*")
"""What precedes synthesis, tried in turn: yosys 0.70's abc9 now and then gives two wires one name, and ends."""

SECONDS = 3600
"""Longest that one synthesis may take."""

RUN = "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"


@dataclass(frozen=True)
class Synthesis:
    """cells : how many of each type the netlist has;  folder : of netlist.json, netlist.v, script.ys and yosys.log"""

    cells: dict[str, int]
    folder: Path

    def count(self, *types: str) -> int:
        return sum(self.cells.get(name, 0) for name in types)


def synthesize(sources: dict[str, str], top: str, target: Target, kept: Path) -> Synthesis:
    """Synthesize Verilog ``sources``, texts by file name, for a family; ``kept`` holds earlier results.

    Raises SystolithError if yosys is missing, fails, or takes longer than SECONDS.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise SystolithError("yosys is not installed; get it with `pip install 'systolith[fpga]'`")
    version = importlib.metadata.version("pyosys")
    key = hashlib.sha256(json.dumps([sources, COMMANDS[target], top, version]).encode()).hexdigest()[:16]
    folder = kept / f"{target}-{key}"
    done = folder / "cells.json"
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (folder / name).write_text(text)
        if not any(_run(folder, _script(list(sources), top, target, before)) for before in BEFORE):
            raise SystolithError(f"yosys failed; its log is {folder / 'yosys.log'}")
    modules = json.loads(done.read_text())["design"]
    return Synthesis({name: int(count) for name, count in modules["num_cells_by_type"].items()}, folder)


def _script(files: list[str], top: str, target: Target, before: str) -> str:
    return "\n".join(
        [
            *(f"read_verilog -sv {name}" for name in files),
            f"hierarchy -top {top}",
            before,
            f"{COMMANDS[target]} -top {top}",
            "write_json netlist.json",
            "write_verilog -noattr netlist.v",
            "tee -q -o cells.json stat -json",
            "",
        ]
    )


def _run(folder: Path, script: str) -> bool:
    """Whether yosys came to the end of ``script``."""
    (folder / "script.ys").write_text(script)
    with (folder / "yosys.log").open("w") as log:
        try:
            status = subprocess.run(
                [sys.executable, "-c", RUN, "script.ys"], cwd=folder, stdout=log, stderr=log, timeout=SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            raise SystolithError(f"yosys took more than {SECONDS} s; its log is {folder / 'yosys.log'}") from None
    if status:
        (folder / "cells.json").unlink(missing_ok=True)
    return status == 0
