"""The ``simulate`` command as a function, and its report as tables for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .. import sim
from ..data import Inputs
from ..hw.folder import SIMULATION
from ..progress import stage_bars
from ..quant import check_target
from ..sim import accelerator as accelerators
from .golden import load_images

if TYPE_CHECKING:
    from ..sim.toolchain import BenchName, Simulator

SHOWN = 10
STAGES = {
    "golden": "golden",
    "build": "compiling the Verilog",
    "simulate": "simulating",
    "trace": "recording a waveform",
}


def simulate_build(
    build: str | Path,
    inputs: Inputs,
    *,
    labels: ArrayLike | None = None,
    images: int | None = None,
    bench: BenchName = "bulk",
    simulator: Simulator = "verilator",
    seed: int = 0,
    memory_latency: int = 30,
    show_progress: bool = False,
) -> sim.Report:
    """Simulate the accelerator in folder ``build`` on images; compare every byte with golden.

    The report is saved in the folder as simulation.json, which `report_build` reads.

    inputs : an .npz file with the images ``x`` and perhaps labels ``y``, or the array x, or the pair (x, y)
    labels : of the images, (N,) integers, where ``inputs`` has none
    images : only the first so many;  seed : of stalls and of unused memory;  memory_latency : cycles, bulk bench
    Raises a SystolithError that says what is wrong with the folder, the data, the tools, or where the accelerator
    hangs.  Wrong bytes raise nothing: they are in the report.
    """
    simulate = sim.simulate  # raises now, not after long work, if the simulator is not installed
    accelerator = accelerators.load(Path(build))
    data, arrays = load_images(accelerator.graph, inputs, labels)
    check_target(Path(build) / SIMULATION)
    with stage_bars(STAGES, show_progress) as progress:
        report = simulate(
            accelerator,
            arrays,
            labels=data.y,
            images=images,
            bench=bench,
            simulator=simulator,
            seed=seed,
            memory_latency=memory_latency,
            progress=progress,
        )
    report.save(Path(build))
    return report


def report_tables(report: sim.Report) -> RenderableType:
    """The result and, if there are any, the first differences."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    exact = "[green]bit-exact[/]" if report.bit_exact else f"[red]{report.mismatches:,} values differ[/]"
    table.add_row("result", f"{exact}, {report.images} image{'s' * (report.images != 1)}")
    if report.accuracy is not None:
        whose = (
            "golden's outputs, and so the hardware's" if report.bit_exact else "golden's outputs, not the hardware's"
        )
        table.add_row("accuracy", f"{report.accuracy:.2%} ({whose})")
    cycles = f"{report.cycles_per_image:,.0f} an image"
    if report.bench == "bulk":
        mark = "" if report.prediction_holds else "[yellow]"
        cycles += f"; {mark}predicted {report.predicted_cycles:,} ({report.prediction_error:+.2%})"
    table.add_row("cycles", f"{cycles}; limit {report.limit_cycles:,}")
    table.add_row("multipliers busy", f"{report.mac_utilization:.1%}")
    if report.stalls:
        table.add_row(
            "stalls, cycles", ", ".join(f"{escape(name)} {count:,.0f}" for name, count in report.stalls.items())
        )
    table.add_row("simulator", f"{report.simulator}, {report.bench} bench, seed {report.seed}")
    built = f"compiled in {report.build_seconds:.1f} s" if report.build_seconds else "compiled before, from the cache"
    speed = f"{report.simulated_cycles_per_second:,.0f} cycles/s"
    table.add_row("time", f"{built}, simulated in {report.simulation_seconds:.1f} s ({speed})")
    if not report.differences:
        return table
    wrong = [f"[red]{escape(str(difference))}[/]" for difference in report.differences[:SHOWN]]
    more = report.mismatches - len(wrong)
    if more > 0:
        wrong.append(f"... and {more:,} more")
    if report.waveform:
        wrong.append(f"waveform around the first: {escape(str(report.waveform))}")
    return Group(table, *wrong)
