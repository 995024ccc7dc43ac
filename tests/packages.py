"""Packages of small builds for vendors' tools, and the ports of their Verilog as Verilator parses it."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from systolith.hw.build import general_parameters, generate, generate_hardware, parameters_for
from systolith.hw.folder import read_hardware
from systolith.hw.manifest import Hardware
from systolith.hw.vendors.litex import Runs
from systolith.hw.vendors.package import Vendor, write_package
from systolith.sim.toolchain import verilator_root

from .hw_networks import network

SMALL: dict[str, Any] = {"rows": 2, "columns": 4, "activation_kib": 2, "accumulator_kib": 1, "weight_fifo_kib": 1}
BUILDS = ("tiny", "general")
"""A network's on an 8-byte bus; and an accelerator without a program, on a bus of 16, with ports for its monitor."""

RUNS = Runs(b"inputs", b"outputs")
"""Of firmware that nobody runs."""


@cache
def _folder() -> TemporaryDirectory[str]:
    return TemporaryDirectory()


@cache
def build(name: str) -> Path:
    """The folder of one of BUILDS, written once."""
    folder = Path(_folder().name) / name
    if name == "tiny":
        graph = network("tiny")
        generate(graph, b"a model", parameters_for(graph, **SMALL), folder)
    else:
        generate_hardware(general_parameters(**SMALL, bus_bytes=16, tables=False), folder, monitor=True)
    return folder


@cache
def hardware(name: str) -> Hardware:
    """The manifest of that build."""
    return read_hardware(build(name))[0]


@cache
def package(name: str, vendor: Vendor) -> dict[str, bytes]:
    """The files of that build's package, by name."""
    folder = Path(_folder().name) / f"{name}-{vendor}"
    runs = RUNS if vendor == "litex" else None
    write_package(build(name), vendor, folder, 125 if vendor == "vivado" else None, runs)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@cache
def ports(top: str, *files: bytes) -> dict[str, tuple[str, int]]:
    """Direction, ``in`` or ``out``, and bits of each port of module ``top``, as Verilator elaborates these files.

    A port that nobody connects where one module uses another is an error.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for number, data in enumerate(files):
            (folder / f"{number}.v").write_bytes(data)
        root = verilator_root()
        told = ["--json-only", "--json-only-output", "ports.json", "--top-module", top, "--Mdir", "made"]
        told += ["-Wno-lint", "-Wwarn-PINMISSING", "-Wwarn-IMPLICIT"]
        run = subprocess.run(
            [root / "bin" / "verilator_bin", *told, *(f"{number}.v" for number in range(len(files)))],
            cwd=folder,
            env={**os.environ, "VERILATOR_ROOT": str(root)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        netlist = json.loads((folder / "ports.json").read_text())
    (types,) = (table["typesp"] for table in netlist["miscsp"] if table["type"] == "TYPETABLE")
    ranges = {kind["addr"]: kind.get("range", "0:0") for kind in types}
    (module,) = (module for module in netlist["modulesp"] if module["name"] == top)
    found = {}
    for item in module["stmtsp"]:
        if item["type"] == "VAR" and item["direction"] != "NONE":
            high, low = map(int, ranges[item["dtypep"]].split(":"))
            found[item["name"]] = ({"INPUT": "in", "OUTPUT": "out"}[item["direction"]], high - low + 1)
    return found


def black_box(top: str, *files: bytes) -> bytes:
    """Verilog of a module with the ports of ``top`` in ``files``, and nothing in it: quick to elaborate."""
    words = {"in": "input", "out": "output"}
    listed = [f"{words[way]} [{bits - 1}:0] {name}" for name, (way, bits) in ports(top, *files).items()]
    return f"module {top}({', '.join(listed)}); endmodule\n".encode()
