"""From syntheses to the coefficients of hw/area.json."""

from __future__ import annotations

import gc
import json
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from amaranth import Value
from amaranth.back import verilog
from amaranth.hdl import UnusedElaboratable

from systolith import SystolithError
from systolith.hw.area import blocks, memories, multiplying, sizes, weighed
from systolith.hw.engine.accelerator import Accelerator
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.target import Target

from .chip import TOP

LUTS: dict[Target, dict[str, float]] = {
    # nextpnr's COMB: a carry cell is two and its ends, a distributed RAM four and its addresses, as routing has shown
    "ecp5": {"LUT4": 1, "CCU2C": 2.42, "TRELLIS_DPR16X4": 6.1},
    "ice40": {"SB_LUT4": 1, "SB_CARRY": 0.1},
    "xilinx": {**{f"LUT{n}": 1 for n in range(1, 7)}, "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2},
    "gowin": {**{f"LUT{n}": 1 for n in range(1, 5)}, "ALU": 1, "RAM16SDP4": 4, "RAM16SDP2": 2, "RAM16SDP1": 1},
}
REGISTERS: dict[Target, tuple[str, ...]] = {
    "ecp5": ("TRELLIS_FF",),
    "ice40": ("SB_DFF",),
    "xilinx": ("FDRE", "FDSE", "FDCE", "FDPE"),
    "gowin": ("DFF",),
}
MULTIPLIERS: dict[Target, dict[str, float]] = {
    "ecp5": {"MULT18X18D": 1},
    "ice40": {"SB_MAC16": 1},
    "xilinx": {"DSP48E1": 1},
    "gowin": {"MULT9X9": 0.5, "MULT18X18": 1, "MULT36X36": 4},
}
RAMS: dict[Target, dict[str, float]] = {
    "ecp5": {"DP16KD": 1, "PDPW16KD": 1},
    "ice40": {"SB_RAM40_4K": 1},
    "xilinx": {"RAMB36E1": 1, "RAMB18E1": 0.5},
    "gowin": {"SDPB": 1, "DPB": 1, "SPB": 1, "SDPX9B": 1, "DPX9B": 1, "pROM": 1},
}
KINDS = ("luts", "registers", "multipliers", "block_rams")
"""What a Device has."""

PARTS = ("array", "accumulators", "activations", "vector", "gearbox", "lines")
"""Units that are parts of the model by themselves; a lane is one too, and all others are "control"."""


@dataclass(frozen=True)
class Measured:
    """One synthesis of the whole engine or of a part: counts by part."""

    parameters: Parameters
    luts: dict[str, float]
    registers: dict[str, float]
    multipliers: dict[str, float]
    block_rams: dict[str, float]

    def counts(self) -> dict[str, int]:
        """Of the whole, in the units and by the names of a Device; part of a cell is one."""
        return {kind: ceil(sum(getattr(self, kind).values())) for kind in KINDS}

    def record(self) -> dict[str, Any]:
        """The whole, and what it is the whole of."""
        return {"parameters": asdict(self.parameters), **self.counts()}


def unit(parameters: Parameters, part: str) -> str:
    """Verilog of one part of the engine alone, module ``unit``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # the other parts
        component = getattr(Accelerator(parameters=parameters), part)
        members = component.signature.flatten(component)
        ports = {"_".join(map(str, path)): (Value.cast(signal), None) for path, _, signal in members}
        text: str = verilog.convert(component, name="unit", ports=ports, strip_internal_attrs=True, emit_src=False)
        gc.collect()
    return text


def measure(parameters: Parameters, netlist: Path, part: str | None = None) -> Measured:
    """Count what is in a netlist.json: of the chip, by the part that a cell's name begins with, or of one ``part``.

    Raises SystolithError for a chip whose cells have lost their names.
    """
    target = parameters.target
    modules = json.loads(netlist.read_text())["modules"]
    cells = modules["unit" if part else TOP]["cells"]
    if part is None and 2 * sum(name.startswith("dut.") for name in cells) < len(cells):
        raise SystolithError(f"cells have no names in {netlist}: yosys only came to its end without")
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for name, cell in cells.items():
        path = name.split(".")
        of = part_of(["dut", "engine", part, *path]) if part else part_of(path)
        if of is not None:
            found[of][cell["type"]] += 1
    there = {of: amounts(target, types) for of, types in found.items()}
    return Measured(parameters, *({of: amount[kind] for of, amount in there.items()} for kind in KINDS))


def amounts(target: Target, cells: Mapping[str, int]) -> dict[str, float]:
    """What ``cells``, counts by type, are in the units and by the names of a Device."""
    weights = {"luts": LUTS, "multipliers": MULTIPLIERS, "block_rams": RAMS}
    found = {kind: sum(of[target].get(name, 0) * n for name, n in cells.items()) for kind, of in weights.items()}
    registers = sum(n for name, n in cells.items() if name.startswith(REGISTERS[target]))
    return {kind: found.get(kind, registers) for kind in KINDS}


def part_of(path: list[str]) -> str | None:
    """The part of the engine that a cell of the flattened chip is of; None for the shift registers around it."""
    if path[0] != "dut":
        return None
    unit = path[2:] if path[1:2] == ["engine"] else []
    if len(unit) > 2 and unit[0] == "vector" and unit[1].startswith("lane_"):
        return "lanes"
    name = unit[0].partition("$")[0] if unit else ""  # what Amaranth appends where a signal is called so too
    return name if len(unit) > 1 and name in PARTS else "control"


def fit(
    whole: Sequence[Measured], units: Mapping[str, Sequence[Measured]], like: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The coefficients of one target: each part's LUTs and registers as sums of its sizes, none of them negative.

    whole : engines, which tell the part "control", and how far the sum of all parts is off
    units : parts alone, by name
    like : another target's coefficients, to be scaled part by part where too few were measured for more, and where
    nothing was of a part, by as much as all others
    """
    everything = [*whole, *(m for several in units.values() for m in several)]
    found: dict[str, Any] = {}
    for kind in ("luts", "registers"):
        found[kind] = {}
        for part in sizes(everything[0].parameters):
            if like is None:
                several = [m for m in everything if part in getattr(m, kind)]
                found[kind][part] = _solved(part, several, [getattr(m, kind)[part] for m in several])
            else:
                factor = _factor(like[kind], part, everything, kind)
                found[kind][part] = {name: round(weight * factor, 4) for name, weight in like[kind][part].items()}
        if like is None:
            found[kind] = _calibrated(found[kind], whole, kind)
    found["multipliers"] = _multipliers(everything, like)
    found["block RAM copies"] = _copies(everything, like)
    misses = [_miss(found, m, kind) for m in whole for kind in ("luts", "registers")]
    found["error"] = round(max(misses), 3) if misses else None
    found["measured"] = [m.record() for m in whole]
    return found


def _calibrated(
    parts: dict[str, dict[str, float]], whole: Sequence[Measured], kind: str
) -> dict[str, dict[str, float]]:
    """All coefficients times one factor, with which the whole engine that is missed most is missed least: as parts of
    one their parts take a few per cent more than alone.
    """
    ratios = [_model(parts, m) / sum(getattr(m, kind).values()) for m in whole]
    factor = 2 / (min(ratios) + max(ratios))
    return {part: {name: round(weight * factor, 4) for name, weight in named.items()} for part, named in parts.items()}


def _solved(part: str, measured: Sequence[Measured], counts: Sequence[float]) -> dict[str, float]:
    """Least squares of the relative misses; sizes that are negative or that too few tell apart are left out."""
    rows = [sizes(m.parameters)[part] for m in measured]
    names = list(dict.fromkeys(name for row in rows for name in row))
    matrix = np.array([[float(row.get(name, 0)) for name in names] for row in rows])
    wanted = np.maximum(counts, 1.0)
    used = [n for n in range(len(names)) if matrix[:, n].any()][
        : len(rows)
    ]  # the first: more than that few cannot tell
    while True:
        weights = np.linalg.lstsq(matrix[:, used] / wanted[:, None], np.ones(len(wanted)), rcond=None)[0]
        if not used or weights.min() >= 0:
            return {names[n]: round(float(w), 4) for n, w in zip(used, weights, strict=True)}
        del used[int(weights.argmin())]


def _factor(like: dict[str, dict[str, float]], part: str, measured: Sequence[Measured], kind: str) -> float:
    """What was measured of ``part``, or if nothing was of all parts, in ``like``'s units."""
    pairs = [(m, name) for m in measured for name in getattr(m, kind) if name in like]
    pairs = [pair for pair in pairs if pair[1] == part] or pairs
    there = sum(weighed(like[name], sizes(m.parameters)[name]) for m, name in pairs)
    return sum(getattr(m, kind)[name] for m, name in pairs) / there if there else 1.0


def _miss(found: dict[str, Any], m: Measured, kind: str) -> float:
    """Share by which the model misses the whole of one synthesis."""
    return abs(_model(found[kind], m) / sum(getattr(m, kind).values()) - 1)


def _model(parts: dict[str, dict[str, float]], m: Measured) -> float:
    """What the coefficients say of the whole."""
    return sum(weighed(parts[part], named) for part, named in sizes(m.parameters).items())


def _multipliers(measured: Sequence[Measured], like: dict[str, Any] | None) -> dict[str, float]:
    """Multipliers of each of ``multiplying``; those of products are what lanes have beside their own."""
    parts = {"cell": "array", "lane": "lanes", "square": "vector"}
    otherwise = like["multipliers"] if like else dict.fromkeys((*parts, "product"), 0.0)
    counted = [(m.multipliers, multiplying(m.parameters)) for m in measured]
    found = {
        taker: _most(((there.get(part), of[taker]) for there, of in counted if not of["product"]), otherwise[taker])
        for taker, part in parts.items()
    }
    beside = [(there["lanes"] - found["lane"] * of["lane"], of["product"]) for there, of in counted if "lanes" in there]
    return {**found, "product": _most(beside, otherwise["product"])}


def _copies(measured: Sequence[Measured], like: dict[str, Any] | None) -> dict[str, float]:
    """Block RAMs that synthesis takes for one that a kind of memory would fill."""
    parts = {
        "activations": "activations",
        "accumulators": "accumulators",
        "weights": "control",
        "lines": "lines",
        "tables": "lanes",
    }
    otherwise = like["block RAM copies"] if like else dict.fromkeys(parts, 1.0)
    return {
        kind: _most(((m.block_rams.get(part), _ideal(m.parameters, kind)) for m in measured), otherwise[kind])
        for kind, part in parts.items()
    }


def _ideal(p: Parameters, kind: str) -> int:
    return sum(count * blocks(p.target, width, words, kind) for width, words, count in memories(p)[kind])


def _most(pairs: Iterable[tuple[float | None, float]], otherwise: float) -> float:
    """The largest quotient, where there is anything to divide."""
    return max((round(count / of, 3) for count, of in pairs if count is not None and of), default=otherwise)
