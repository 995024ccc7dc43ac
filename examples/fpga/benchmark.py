"""``make bench-fpga``: what LeNet-5's accelerators cost and how fast they run on FPGAs, and whether netlists are exact.

Hours on one core, of which each synthesis and each route is done once: results are kept by the content of all that went
into them, so an interrupted run goes on where it was.  Figures go to figures.json in the folder that is given.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from systolith import SystolithError, generate_build, quantize_model, sim
from systolith.hw.area import DATA
from systolith.hw.devices import DEVICES
from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.target import Target
from systolith.quant import write_whole

from .chip import TOP, around
from .fit import Measured, amounts, fit, measure, unit
from .netlist import simulate_netlist, with_fault
from .route import Routed, route
from .synthesis import Synthesis, synthesize

LENET = Path(__file__).parent.parent / "lenet5"
SIZES = {4: {}, 8: {}, 16: {"bus_bytes": 16}}
"""Of the arrays, and what is not by default."""

SEEDS = (1, 2, 3)
OTHERS: tuple[Target, ...] = ("xilinx", "gowin")
"""Families that nothing here can route."""

SMALL_PARTS: tuple[Target, ...] = ("ecp5", "ice40", "gowin")
"""Families that have some."""

LEAST_OF_ALL = {"bus_bytes": 4, "activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
"""The narrowest bus and the smallest memories that there are."""

SMALL = {"activation_kib": 8, "accumulator_kib": 2, "weight_fifo_kib": 1}
LEAST = {"activation_kib": 4, "accumulator_kib": 4}
LENETS = {"sum_bits": 23, "total_bits": 24, "shift_low": 13, "shift_high": 16}
"""What LeNet-5 needs of any accelerator, so that most whole engines are those that are routed."""

DENSENETS = {"sum_bits": 24, "total_bits": 24, "shift_low": 5, "shift_high": 19}
"""What DenseNet-121 needs."""

ALL = {
    **dict.fromkeys(("operands", "tables", "extrema", "products", "affine"), True),
    "normalization": 5,
    "sliding": 7,
}
"""What the vector unit can do."""

NARROW = {"weight_bits": 4, "activation_bits": 4}


def sums(bits: int) -> dict[str, int]:
    """What networks of fewer bits need: sums of so many, and scales."""
    return {"sum_bits": bits, "total_bits": bits + 1, "shift_low": 9, "shift_high": 12}


UNITS: dict[str, tuple[dict[str, Any], ...]] = {
    "array": (
        {"rows": 2, "columns": 2, "sum_bits": 23},
        {"rows": 3, "columns": 2, "sum_bits": 28},
        {"rows": 2, "columns": 4, "sum_bits": 28, "columns_per_multiplier": 2},
        {"rows": 4, "columns": 12, "sum_bits": 15, **NARROW},
        {"rows": 8, "columns": 8, "sum_bits": 15, **NARROW, "columns_per_multiplier": 3},
        {"rows": 4, "columns": 12, "sum_bits": 15, **NARROW, "columns_per_multiplier": 4},
        {"rows": 4, "columns": 12, "sum_bits": 19, "weight_bits": 4},
        {"rows": 4, "columns": 12, "sum_bits": 19, "weight_bits": 4, "columns_per_multiplier": 2},
        {"rows": 4, "columns": 12, "sum_bits": 19, "weight_bits": 4, "columns_per_multiplier": 3},
        {"rows": 4, "columns": 12, "sum_bits": 23, "columns_per_multiplier": 2},
        {"rows": 6, "columns": 4, "sum_bits": 23, "line_buffer": 512},
        {"rows": 9, "columns": 4, "sum_bits": 23, "line_buffer": 512, "columns_per_multiplier": 2},
        {"rows": 8, "columns": 8, "sum_bits": 23, "packing": 2},
        {"rows": 8, "columns": 8, "sum_bits": 23, "packing": 2, "row_parts": 2},
        {"rows": 8, "columns": 8, "sum_bits": 23, "packing": 4, "row_parts": 4},
    ),
    "lines": (
        {"rows": 6, "columns": 6, "line_buffer": 512},
        {"rows": 9, "columns": 9, "line_buffer": 512},
    ),
    "accumulators": (
        {"rows": 2, "columns": 2, "sum_bits": 30},
        {"rows": 4, "columns": 8, "sum_bits": 22, "accumulator_kib": 8},
    ),
    "gearbox": (
        {"rows": 2, "columns": 8},
        {"rows": 2, "columns": 16},
        {"rows": 2, "columns": 4, "bus_bytes": 16},
        {"rows": 2, "columns": 16, "bus_bytes": 16},
    ),
    "vector": (
        {"rows": 2, "columns": 2, "sum_bits": 23, "multiplier": False},
        {"rows": 8, "columns": 8, "sum_bits": 23},
        {"rows": 2, "columns": 2, **LENETS},
        {"rows": 4, "columns": 4, "sum_bits": 23, "shift_low": 9, "shift_high": 16},
        {"rows": 4, "columns": 4, "sum_bits": 26, "operands": True, "tables": True},
        {"rows": 8, "columns": 8, "sum_bits": 24, "operands": True, "sliding": 7},
        {"rows": 8, "columns": 8, "sum_bits": 24, "operands": True, "affine": True},
        {"rows": 16, "columns": 16, "sum_bits": 24, "lanes": 8, "operands": True, "affine": True},
        {"rows": 8, "columns": 8, "sum_bits": 26, "operands": True, "products": True},
        {"rows": 8, "columns": 8, "sum_bits": 26, "operands": True, "tables": True, "normalization": 5},
        {"rows": 16, "columns": 16, "sum_bits": 26, "operands": True, "tables": True, "normalization": 16},
    ),
    "activations": (
        {"rows": 8, "columns": 8},
        {"rows": 4, "columns": 4, "operands": True, "bus_bytes": 16},
        {"rows": 16, "columns": 16, "bus_bytes": 16},
    ),
}
"""Parts of the engine that are synthesized alone for an ECP5; the first of each for the other families."""

WHOLE: dict[Target, tuple[dict[str, Any], ...]] = {
    "ecp5": (
        {"rows": 4, "columns": 4, **LENETS},
        {"rows": 8, "columns": 8, **LENETS},
        {"rows": 16, "columns": 16, "columns_per_multiplier": 2, "bus_bytes": 16, **LENETS},
        {"rows": 4, "columns": 4, "sum_bits": 26, "operands": True, "tables": True, **SMALL},
        {"rows": 8, "columns": 8, "line_buffer": 512, **LENETS},
        {"rows": 8, "columns": 8, "weight_bits": 4, **sums(19)},
        {"rows": 8, "columns": 8, **NARROW, **sums(15)},
        {"rows": 8, "columns": 8, **NARROW, **sums(15), "columns_per_multiplier": 3},
        {"rows": 8, "columns": 8, "operands": True, "affine": True, **DENSENETS},
        {"rows": 8, "columns": 8, "line_buffer": 512, **ALL},
    ),
    "ice40": ({"rows": 2, "columns": 2, "multiplier": False, "bus_bytes": 4, **LENETS, **SMALL},),
    "xilinx": ({"rows": 4, "columns": 4, **LENETS},),
    "gowin": ({"rows": 4, "columns": 4, **LENETS},),
}
"""Whole engines, which say how far the sum of the parts is off."""

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Row:
    """One accelerator, routed with several seeds."""

    size: int
    synthesis: Synthesis
    routes: list[Routed]

    @property
    def best(self) -> Routed:
        return max(self.routes, key=lambda routed: routed.mhz)

    def figures(self) -> dict[str, Any]:
        """MHz, cells used, paths; MACs x MHz, and that for each 1,000 COMB."""
        best, used = self.best, self.best.used
        rate = self.size**2 * best.mhz
        return {
            "mhz": [routed.mhz for routed in self.routes],
            **{name: used.get(name, 0) for name in ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")},
            "macs x mhz": rate,
            "per 1000 comb": rate / used["TRELLIS_COMB"] * 1000,
            "worst": [asdict(path) for path in best.worst],
        }


def chip(parameters: Parameters, kept: Path) -> Synthesis:
    """The netlist of an accelerator between shift registers."""
    verilog = emit_verilog(parameters)
    return synthesize({"systolith.v": verilog, "chip.v": around(verilog)}, TOP, parameters.target, kept)


def lenet_build(folder: Path, target: Target, size: int, scales: str = "float", **sizes: Any) -> sim.Accelerator:
    """LeNet-5's accelerator in a folder of its own."""
    made = folder / f"lenet5-{target}-{size}x{size}"
    model = quantize_model(LENET / "lenet5.onnx", LENET / "calibration.npz", scales=scales)
    generate_build(model, made, rows=size, columns=size, target=target, **sizes)
    return sim.load(made)


def routes(folder: Path) -> dict[str, Any]:
    """Each size routed on an ECP5-85F."""
    figures = {}
    table = Table("array", "MHz", "COMB", "FF", "MULT18X18D", "DP16KD", "MACs x MHz", "per 1,000 COMB", box=None)
    for size, sizes in SIZES.items():
        parameters = lenet_build(folder, "ecp5", size, **sizes).manifest.parameters
        synthesis = chip(parameters, folder / "kept")
        row = Row(size, synthesis, [route(synthesis.folder, seed) for seed in SEEDS])
        figures[f"{size}x{size}"] = found = row.figures()
        counts = (found[name] for name in ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD"))
        rates = (found["macs x mhz"], found["per 1000 comb"])
        table.add_row(
            f"{size}x{size}", f"{row.best.mhz:.1f}", *(f"{count:,}" for count in counts), *map("{:,.0f}".format, rates)
        )
        said = ", ".join(f"{routed.mhz:.1f} with seed {routed.seed}" for routed in row.routes)
        console.print(f"{size}x{size}: MHz {said}; the slowest of the best:")
        for path in row.best.worst:
            console.print(f"    {path.nanoseconds:.2f} ns from {path.begin} to {path.end}")
    console.print(table)
    return figures


def told(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{count:,.0f} {kind.replace('_', ' ')}" for kind, count in counts.items())


def counts(folder: Path) -> dict[str, Any]:
    """Each size synthesized for OTHERS, with the shift registers around it."""
    figures: dict[str, Any] = {}
    for target in OTHERS:
        for size, sizes in SIZES.items():
            parameters = lenet_build(folder, target, size, **sizes).manifest.parameters
            found = amounts(target, chip(parameters, folder / "kept").cells)
            figures[f"{target} {size}x{size}"] = found
            console.print(f"{target} {size}x{size}: {told(found)}")
    return figures


def netlists(folder: Path) -> dict[str, Any]:
    """LeNet-5, one image at 4x4, in the netlist of the source, and of the source with a fault."""
    x = np.load(LENET / "test.npz")["x"][:1]
    figures: dict[str, Any] = {}
    for target in ("ecp5", "ice40"):
        accelerator = lenet_build(folder, target, 4, monitor=True, **SMALL)
        exact = [
            simulate_netlist(accelerator, verilog, x, folder / "kept").bit_exact
            for verilog in (accelerator.verilog, with_fault(accelerator.verilog))
        ]
        said = ("exact" if exact[0] else "WRONG", "taken for exact" if exact[1] else "seen to differ")
        console.print(f"{target}: the netlist is {said[0]}; that of a source with a fault is {said[1]}")
        if exact != [True, False]:
            raise SystolithError(f"{target}: the netlist does not do what the source does, or the check sees no fault")
        figures[target] = {"exact": exact[0], "exact with a fault": exact[1]}
    return figures


def smallest(folder: Path) -> dict[str, Any]:
    """LeNet-5 in the smallest accelerators of the families of small parts, and the parts that each fits."""
    figures: dict[str, Any] = {}
    for target in SMALL_PARTS:
        devices = [device for device in DEVICES.values() if device.target == target]
        for size in (1, 2):
            accelerator = lenet_build(folder, target, size, "pow2", **LEAST_OF_ALL)
            parameters, cycles = accelerator.manifest.parameters, accelerator.predicted_cycles
            found = measure(parameters, chip(parameters, folder / "kept").folder / "netlist.json").counts()
            fits = [d.name for d in devices if all(count <= getattr(d, kind) for kind, count in found.items())]
            figures[f"{target} {size}x{size}"] = {**found, "cycles": cycles, "fits": fits}
            into = f"fits {', '.join(fits)}" if fits else f"fits none of {', '.join(d.name for d in devices)}"
            console.print(f"{target} {size}x{size}: {told(found)}; {cycles:,} cycles; {into}")
    return figures


def areas(folder: Path) -> dict[str, Any]:
    """Synthesize WHOLE and UNITS, and write what `estimate` knows: hw/area.json."""
    kept, data = folder / "kept", {}
    for target, several in WHOLE.items():
        whole = []
        for sizes in several:
            parameters = Parameters(target=target, **sizes)
            whole.append(measure(parameters, chip(parameters, kept).folder / "netlist.json"))
        units: dict[str, list[Measured]] = {}
        for part, choices in UNITS.items():
            for sizes in choices if target == "ecp5" else choices[:1]:
                parameters = Parameters(target=target, **{**LEAST, **sizes})
                made = synthesize({"unit.v": unit(parameters, part)}, "unit", target, kept)
                units.setdefault(part, []).append(measure(parameters, made.folder / "netlist.json", part))
        data[target] = fit(whole, units, data.get("ecp5"))
        console.print(f"{target}: at most {data[target]['error']:.1%} off for {len(whole)} whole engines")
    write_whole(DATA, (json.dumps(data, indent=2) + "\n").encode())
    return {target: of["error"] for target, of in data.items()}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "routes": routes,
    "counts": counts,
    "netlists": netlists,
    "smallest": smallest,
    "areas": areas,
}


def main(folder: Path, wanted: list[str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    if unknown := set(wanted) - set(PARTS):
        raise SystolithError(f"the parts are {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    path = folder / "figures.json"
    figures = json.loads(path.read_text()) if path.exists() else {}
    for name in wanted or PARTS:
        figures[name] = PARTS[name](folder)
        write_whole(path, (json.dumps(figures, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
    except SystolithError as error:
        sys.exit(f"bench-fpga: {error}")
