"""Whether the netlist after synthesis returns the bytes of the source, simulated with the family's cells."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from systolith import SystolithError, golden, sim
from systolith.hw.engine.cell import FOLDER as ENGINE
from systolith.hw.engine.emit import TOP
from systolith.hw.isa.target import Target
from systolith.sim.accelerator import Accelerator

from .synthesis import synthesize

HERE = Path(__file__).parent
FAULT = re.compile(r"^    pixel_0 <= (.+?) ;$", re.MULTILINE)
"""The register of the array's first pixel, in the source."""
ZEROS = re.compile(r"^    \.INITVAL_\w\w\(320'h0+\),\n", re.MULTILINE)
"""What a DP16KD holds at first, where that is nothing: its model knows no other."""


def with_fault(verilog: str) -> str:
    """The source with one fault: the lowest bit of the array's first pixel is inverted."""
    broken, count = FAULT.subn(r"    pixel_0 <= (\1 ) ^ 1'h1;", verilog)
    if count != 1:
        raise SystolithError(f"the fault was meant for one place of the Verilog, not {count}")
    return broken


def cells(target: Target) -> str:
    """Verilog of the family's cells: yosys's own, and models of what yosys leaves black."""
    spec = importlib.util.find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise SystolithError("yosys is not installed; get it with `pip install 'systolith[fpga]'`")
    share = Path(spec.origin).parent / "share"
    if target == "ice40":
        return (share / "ice40" / "cells_sim.v").read_text()
    if target == "ecp5":
        folder = share / "lattice"
        text = (folder / "cells_sim_ecp5.v").read_text()
        text = re.sub(r'^`include "(\w+\.vh)"', lambda found: (folder / found[1]).read_text(), text, flags=re.M)
        text = re.sub(r"^module DP16KD\(.*?^endmodule", "", text, flags=re.M | re.S)
        return "\n".join(
            ["`define NO_INCLUDES", text, (HERE / "DP16KD.v").read_text(), (ENGINE / "MULT18X18D.v").read_text()]
        )
    raise SystolithError(f"there are no cells to simulate a netlist of {target} with")


def simulate_netlist(accelerator: Accelerator, verilog: str, x: np.ndarray, kept: Path) -> sim.Report:
    """Synthesize ``verilog`` for the target of ``accelerator``, and run its program on images ``x`` in the netlist."""
    parameters = accelerator.manifest.parameters
    made = synthesize({"systolith.v": verilog}, TOP, parameters.target, kept)
    netlist = ZEROS.sub("", (made.folder / "netlist.v").read_text())
    text = "\n".join([netlist, cells(parameters.target)])
    # the netlist names the family's cells, the models of which are in the text already
    bare = accelerator.manifest.model_copy(
        update={"parameters": replace(parameters, target="generic", columns_per_multiplier=1)}
    )
    graph = accelerator.graph
    tensors = golden.run(graph, golden.quantize_input(graph, x))
    return sim.simulate_tensors(replace(accelerator, verilog=text, manifest=bare), graph, tensors, waveform=False)
