"""``make bench-light``: small and light networks, and where their cycles above the limit go.

For each network its limit, its predicted cycles, and of the layers that lose most what each unit does in them and what
keeps the array waiting; with ``--simulate`` an image on the simulated Verilog, every byte compared with golden, and the
hardware's own counters.  Quantized networks are kept in the folder, so that predictions cost seconds.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console
from rich.table import Table

from systolith import generate_build, quant, simulate_build
from systolith.hw.build import parameters_for
from systolith.hw.choice import choose
from systolith.hw.compiler.limits import limit_cycles
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.parameters import Parameters
from systolith.hw.manifest import LATENCY
from systolith.hw.model.run import Cause
from systolith.hw.model.schedule import predict
from systolith.sim import Report

from .networks import MEMORIES, MHZ, NETWORKS, Light, prepare

WAITS: tuple[Cause, ...] = get_args(Cause)
TITLES = (
    "network", "array, bus", "KiB", "lanes, input", "limit", "predicted", "x limit", "at most", "goal", "ms at MHz",
    "simulated", "predicted - simulated", "exact",
)  # fmt: skip
WIDTH = 130
"""Of the tables, in columns, wherever they go."""


@dataclass(frozen=True)
class Lost:
    """A layer's cycles above its limit, and what each unit does for it, in cycles.

    array : windows that enter it;  token, weights, half : what it waits for
    vector : vectors' steps;  load, store : beats of maps
    """

    name: str
    limit: int
    cycles: int
    array: int
    token: int
    weights: int
    half: int
    vector: int
    load: int
    store: int


@dataclass(frozen=True)
class Predicted:
    """A network as the cycle model sees it: cycles of one image, all layers, seconds for plan and prediction."""

    parameters: Parameters
    unfolded: bool
    limit: int
    cycles: int
    layers: list[Lost]
    seconds: float


def planned_for(graph: quant.Graph, light: Light) -> Plan:
    """The plan that `systolith generate` makes, with the least of MEMORIES that will do.

    Raises ConfigurationError if the largest will not.
    """
    for kib in MEMORIES:
        try:
            made = choose(graph, parameters_for(graph, **light.hardware, activation_kib=kib))
            return plan(graph, made.parameters, unfold_input=made.unfold_input)
        except quant.ConfigurationError:
            if kib == MEMORIES[-1]:
                raise
    raise AssertionError


def predicted(quantized: Path, light: Light) -> Predicted:
    graph = quant.load(quantized)
    began = time.monotonic()
    planned = planned_for(graph, light)
    parameters = planned.parameters
    found = predict(planned, LATENCY)
    seconds = time.monotonic() - began
    works: dict[str, Counter[int]] = {unit: Counter() for unit in found.timeline}
    for unit, spans in found.timeline.items():
        for layer, _, _, work in spans:
            works[unit][layer] += work
    layers = [
        Lost(
            layer.name, limit_cycles(layer, parameters), found.layer_cycles[number], works["array"][number],
            *(found.waits[cause][number] for cause in WAITS),
            *(works[unit][number] for unit in ("vector", "loader", "storer")),
        )
        for number, layer in enumerate(planned.layers)
    ]  # fmt: skip
    limit = sum(layer.limit for layer in layers)
    return Predicted(parameters, planned.unfolding is not None, limit, found.cycles, layers, seconds)


def simulated(name: str, quantized: Path, light: Light, activation_kib: int, folder: Path) -> Report:
    """One image on the Verilog that `systolith generate` makes."""
    build = folder / name
    generate_build(quantized, build, **light.hardware, activation_kib=activation_kib)
    return simulate_build(build, light.inputs()[:1])


def waits(report: Report) -> str:
    """What keeps the array waiting, in cycles by cause."""
    kept = {name.removeprefix("array_"): cycles for name, cycles in report.stalls.items() if name.startswith("array_")}
    return ", ".join(f"{cycles:,.0f} {cause}" for cause, cycles in kept.items())


def line(name: str, light: Light, found: Predicted, report: Report | None) -> str:
    """A row of the table of docs/cycles.md."""
    p, bounds = found.parameters, (light.most, light.goal)
    cells = [name, f"{p.rows}x{p.columns}, {p.bus_bytes} B", f"{p.activation_kib}"]
    cells.append(f"{p.lanes}{', unfolded' if found.unfolded else ''}")
    cells += [f"{found.limit:,}", f"{found.cycles:,}", f"{found.cycles / found.limit:.3f}"]
    cells += ["" if bound is None else f"{bound:.2f}" for bound in bounds]
    cells.append(f"{found.cycles / MHZ[p.rows] / 1000:.3g} at {MHZ[p.rows]}")
    if report is None:
        return f"| {' | '.join(cells)} | | | |"
    cells += [f"{report.cycles_per_image:,.0f}", f"{found.cycles / report.cycles_per_image - 1:+.2%}"]
    return f"| {' | '.join(cells)} | {'yes' if report.bit_exact else f'{report.mismatches:,} wrong'} |"


def worst(found: Predicted, count: int) -> Table:
    """The layers that lose most."""
    table = Table(box=None, pad_edge=False)
    for title in ("", "cycles", "limit", "lost", "array", *WAITS, "vector", "load", "store"):
        table.add_column(title, justify="right" if title else "left", overflow="fold")
    for layer in sorted(found.layers, key=lambda layer: layer.limit - layer.cycles)[:count]:
        figures = (
            layer.cycles, layer.limit, layer.cycles - layer.limit,
            layer.array, layer.token, layer.weights, layer.half, layer.vector, layer.load, layer.store,
        )  # fmt: skip
        table.add_row(f"  {layer.name}", *(f"{figure:,}" for figure in figures))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for models and builds")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}; by default all")
    parser.add_argument("--simulate", action="store_true", help="one image of each, every byte compared")
    parser.add_argument("--layers", type=int, default=4, metavar="N", help="show N layers that lose most; default 4")
    options = parser.parse_intermixed_args()
    if unknown := [name for name in options.names if name not in NETWORKS]:
        parser.error(f"'{unknown[0]}' is no network of {', '.join(NETWORKS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, WIDTH)
    lines = [f"| {' | '.join(TITLES)} |", "|---" * len(TITLES) + "|"]
    wrong = 0
    for name in options.names or NETWORKS:
        light = NETWORKS[name]
        quantized = prepare(name, options.folder)
        found = predicted(quantized, light)
        of_limit = f"{found.cycles / found.limit:.3f} of the limit"
        console.print(f"[bold]{name}[/]: {found.cycles:,} cycles, {of_limit}; planned in {found.seconds:.1f} s")
        console.print(worst(found, options.layers))
        report = None
        if options.simulate:
            report = simulated(name, quantized, light, found.parameters.activation_kib, options.folder)
            wrong += not report.bit_exact
            console.print(f"  simulated: {report.cycles_per_image:,.0f} cycles; the array waits {waits(report)}")
        lines.append(line(name, light, found, report))
    console.print("\n".join(lines))
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
