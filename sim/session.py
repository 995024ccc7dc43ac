"""Run a job on a compiled simulation in a process of its own, and bring its outcomes home."""

from __future__ import annotations

import concurrent.futures
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import Icarus, get_runner

from ..quant.graph.errors import SimulationError
from .comparison.job import (
    OUTCOMES,
    Failure,
    Job,
    Outcome,
    read_outcomes,
)
from .toolchain import Compiled, environment

POLL_SECONDS = 0.1
LOG = "simulation.log"


@dataclass(frozen=True)
class Session:
    """What a run left: an outcome per image that ended, and why it ended early if it did."""

    outcomes: list[Outcome]
    failure: Failure | None


def run(compiled: Compiled, job: Job, folder: Path, progress: Callable[[int], None] = lambda done: None) -> Session:
    """Simulate ``job`` with its files in ``folder`` (emptied of old outcomes); ``progress`` gets images done so far.

    Raises SimulationError if the simulator or the bench itself breaks; a hang or an error of the accelerator
    is the session's ``failure``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    outcomes = folder / OUTCOMES
    outcomes.unlink(missing_ok=True)
    job.save(folder)
    log = folder / LOG
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(run_tests, compiled, folder, seed=job.seed, waves=job.trace is not None)
        while not running.done():
            concurrent.futures.wait([running], timeout=POLL_SECONDS)
            progress(len(_outcomes(outcomes)[0]))
        broken = "; ".join(filter(None, running.result().values()))
    done, failure = _outcomes(outcomes)
    progress(len(done))
    if broken and failure is None:
        raise SimulationError(f"the simulation broke: {broken}; its log is {log}")
    if failure is None and job.trace is None and len(done) != len(job.inputs):
        raise SimulationError(f"the simulation ended after {len(done)} of {len(job.inputs)} images; its log is {log}")
    return Session(done, failure)


def _outcomes(file: Path) -> tuple[list[Outcome], Failure | None]:
    return read_outcomes(file.read_text()) if file.exists() else ([], None)


def power_up(seed: int) -> list[str]:
    """Memories and registers without a first value hold random bits: nothing may rely on zeros in them."""
    return ["+verilator+rand+reset+2", f"+verilator+seed+{1 + seed % (2**31 - 1)}"]  # 0 would be another each time


def run_tests(compiled: Compiled, folder: Path, *, seed: int = 0, waves: bool = False) -> dict[str, str]:
    """Run the cocotb tests of ``compiled`` in ``folder``: by name what each failed with, empty if it passed.

    By the results file, for a bare exit status would not tell; without one "simulator" is what failed.
    """
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="systolith-") as scratch, environment(compiled.simulator, Path(scratch)):
        runner = get_runner(compiled.simulator)
        if isinstance(runner, Icarus):  # its executable is looked for in the build folder of the runner
            runner.build_dir = compiled.folder
        try:
            runner.test(
                test_module=compiled.tests,
                hdl_toplevel=compiled.top,
                hdl_toplevel_lang="verilog",
                build_dir=compiled.folder,
                test_dir=folder,
                results_xml=str(results.absolute()),
                seed=seed,
                plusargs=power_up(seed) if compiled.simulator == "verilator" else [],
                waves=waves and compiled.simulator == "icarus",  # Verilator's needs no switch
                log_file=folder / LOG,
                # with its default, pytest parses and rewrites every module that is imported: two thirds of the start
                extra_env={"COCOTB_LOG_LEVEL": "INFO", "COCOTB_REWRITE_ASSERTION_FILES": ""},
            )
        except (SystemExit, RuntimeError, OSError) as error:
            if not results.exists():
                return {"simulator": f"the simulator ended with {error}"}
    if not results.exists():
        return {"simulator": "the simulator left no results"}
    said = {}
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        failures = [*case.findall("failure"), *case.findall("error")]
        texts = [item.get("message") or item.get("error_msg") or item.text or "a test failed" for item in failures]
        said[str(case.get("name"))] = "; ".join(text.splitlines()[0] for text in texts)
    return said or {"simulator": "no test ran"}
