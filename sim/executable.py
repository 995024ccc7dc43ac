"""Compile Verilog with a C++ main of its own, which neither cocotb nor Python runs in: a program to talk to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..quant.graph.errors import SimulationError
from . import cache
from .toolchain import (
    ALIASES,
    VERILATOR_FLAGS,
    environment,
    keep_runtime,
    require,
    reuse_runtime,
    runtime_key,
    tail,
    verilator_root,
    versions,
)

NAME = "simulated"
FLAGS = (*VERILATOR_FLAGS[: VERILATOR_FLAGS.index("-LDFLAGS")], "--cc", "--exe", "--build", "--prefix", "Vtop")
OPTIMIZE = f"-O2 {ALIASES}"


def compile_executable(
    sources: Sequence[Path],
    top: str,
    parameters: Mapping[str, int],
    designs: Mapping[str, str],
    defines: Sequence[str] = (),
) -> Path:
    """The program made of Verilog and C++ ``sources``, whose class Vtop is the module ``top``; from the cache, or new.

    designs : texts of further Verilog files by name;  defines : macros
    Raises SimulationError if a tool is missing or refuses.
    """
    require("verilator")
    parts = {"top": top, "parameters": str(dict(parameters)), "flags": str((FLAGS, OPTIMIZE, list(defines)))}
    parts |= {"versions": versions("verilator"), "kind": "executable", **designs}
    key = cache.digest({**parts, **{source.name: source.read_text() for source in sources}})
    runtime = cache.digest({"runtime": str(FLAGS), "versions": parts["versions"]})

    def build(target: Path) -> None:
        work = target / "work"
        (work / "obj").mkdir(parents=True)
        if not reuse_runtime(runtime_key("verilator"), work / "obj"):  # a bench's has all that a program needs
            reuse_runtime(runtime, work / "obj")
        for name, text in designs.items():
            (work / name).write_text(text)
        verilator = [str(verilator_root() / "bin" / "verilator_bin"), *FLAGS]
        module = ["--top-module", top, *(f"-D{name}" for name in defines)]
        module += [f"-G{name}={value}" for name, value in parameters.items()]
        files = [*map(str, sources), *(str(work / name) for name in designs)]
        command = [*verilator, *module, "--Mdir", str(work / "obj"), *files, "-o", NAME]
        with environment("verilator", target / "shim", OPTIMIZE), (target / "build.log").open("w") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        made = work / "obj" / NAME
        if done.returncode or not made.is_file():
            raise SimulationError(f"the simulator could not be built; its log ends: {tail(target / 'build.log')}")
        cache.obtain(runtime, lambda kept: keep_runtime(work / "obj", kept))
        shutil.move(made, target / NAME)
        shutil.rmtree(work)
        shutil.rmtree(target / "shim", ignore_errors=True)

    entry, _ = cache.obtain(key, build)
    return entry / NAME
