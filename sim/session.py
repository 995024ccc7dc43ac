"""Run a job on a compiled simulation in a process of its own, and bring its outcomes home."""

from __future__ import annotations

import concurrent.futures
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.runner import Icarus, Runner, get_runner

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
    log = folder / "simulation.log"
    with tempfile.TemporaryDirectory(prefix="systolith-") as scratch, environment(compiled.simulator, Path(scratch)):
        runner = get_runner(compiled.simulator)
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            running = pool.submit(_test, runner, compiled, job, folder, log)
            while not running.done():
                concurrent.futures.wait([running], timeout=POLL_SECONDS)
                progress(len(_outcomes(outcomes)[0]))
            broken = running.result()
    done, failure = _outcomes(outcomes)
    progress(len(done))
    if broken and failure is None:
        raise SimulationError(f"the simulation broke: {broken}; its log is {log}")
    if failure is None and job.trace is None and len(done) != len(job.inputs):
        raise SimulationError(f"the simulation ended after {len(done)} of {len(job.inputs)} images; its log is {log}")
    return Session(done, failure)


def _outcomes(file: Path) -> tuple[list[Outcome], Failure | None]:
    return read_outcomes(file.read_text()) if file.exists() else ([], None)


def _test(runner: Runner, compiled: Compiled, job: Job, folder: Path, log: Path) -> str:
    """Empty if the one test ran and passed, by its results file; a bare exit status would not tell."""
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    if isinstance(runner, Icarus):  # its executable is looked for in the build folder of the runner
        runner.build_dir = compiled.folder
    try:
        runner.test(
            test_module=f"systolith.sim.benches.{compiled.bench}",
            hdl_toplevel=compiled.bench,
            hdl_toplevel_lang="verilog",
            build_dir=compiled.folder,
            test_dir=folder,
            results_xml=str(results.absolute()),
            seed=job.seed,
            waves=job.trace is not None and compiled.simulator == "icarus",  # Verilator's needs no switch
            log_file=log,
            extra_env={"COCOTB_LOG_LEVEL": "INFO"},
        )
    except (SystemExit, RuntimeError, OSError) as error:
        if not results.exists():
            return f"the simulator ended with {error}"
    if not results.exists():
        return "the simulator left no results"
    root = ElementTree.parse(results).getroot()
    for case in root.iter("testcase"):
        for failure in (*case.findall("failure"), *case.findall("error")):
            said = failure.get("message") or failure.get("error_msg") or failure.text or "a test failed"
            return said.splitlines()[0]
    return "" if any(root.iter("testcase")) else "no test ran"
