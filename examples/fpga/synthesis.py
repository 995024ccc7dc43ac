"""Synthesis by yosys, in a process of its own, kept by the content of all that goes into it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from systolith import SystolithError
from systolith.hw.bitstream import tools
from systolith.hw.isa.target import Target
from systolith.quant.graph.errors import ToolError

COMMANDS: dict[Target, str] = {
    "ecp5": "synth_ecp5",
    "ice40": "synth_ice40",
    "xilinx": "synth_xilinx -flatten -family xc7",
    "gowin": "synth_gowin",
}


@dataclass(frozen=True)
class Synthesis:
    """cells : how many of each type the netlist has;  folder : of netlist.json, netlist.v, script.ys and yosys.log"""

    cells: dict[str, int]
    folder: Path

    def count(self, *types: str) -> int:
        return sum(self.cells.get(name, 0) for name in types)


def synthesize(sources: dict[str, str], top: str, target: Target, kept: Path) -> Synthesis:
    """Synthesize Verilog ``sources``, texts by file name, for a family; ``kept`` holds earlier results.

    Raises SystolithError if yosys is missing, fails, or takes too long.
    """
    if importlib.util.find_spec("pyosys") is None:
        raise SystolithError("yosys is not installed; get it with `pip install 'systolith[fpga]'`")
    version = importlib.metadata.version("pyosys")
    key = hashlib.sha256(json.dumps([sources, COMMANDS[target], top, version]).encode()).hexdigest()[:16]
    folder = kept / f"{target}-{key}"
    if not (folder / tools.CELLS).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (folder / name).write_text(text)
        try:
            tools.synthesize(folder, list(sources), top, COMMANDS[target], ["write_verilog -noattr netlist.v"])
        except ToolError as error:
            (folder / tools.CELLS).unlink(missing_ok=True)
            raise ToolError(f"{error}; its log is {folder / 'yosys.log'}") from error
    return Synthesis(tools.cells(folder), folder)
