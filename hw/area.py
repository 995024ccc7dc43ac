"""What an accelerator takes of an FPGA: a model fitted to measured syntheses, which ``area.json`` holds.

LUTs and registers of each part of the engine are sums of its sizes times measured coefficients.  Multipliers and block
RAMs are counted; what synthesis makes of each is measured too.  ``make bench-fpga PARTS=areas`` measures and fits anew.
"""

import json
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from ..quant.graph.errors import ConfigurationError
from .devices import Device
from .engine.requantize import MANTISSA
from .engine.sizes import array_share
from .isa.parameters import Parameters, window_bits
from .isa.target import Target

DATA = Path(__file__).parent / "area.json"
SHAPES: dict[Target, tuple[tuple[int, int], ...]] = {
    "ecp5": ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)),
    "ice40": ((16, 256), (8, 512), (4, 1024), (2, 2048)),
    "xilinx": ((72, 512), (36, 1024), (18, 2048), (9, 4096), (4, 8192), (2, 16384), (1, 32768)),
    "gowin": ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)),
}
"""Width in bits and words of a block RAM, the widest with a port that writes and one that reads alone."""

SHALLOW = 32
"""Words of the deepest memory that synthesis makes of LUTs: accumulators of 64 x 23 bits become block RAM."""


@dataclass(frozen=True)
class Area:
    """Counts in the units of ``devices.Device``.

    engines : whole engines that the model was compared with;  error : largest share by which it missed one's LUTs or
    registers, None if there was none
    """

    luts: int
    registers: int
    multipliers: int
    block_rams: int
    engines: int
    error: float | None

    def shares(self, device: Device) -> dict[str, float]:
        """Of each count, what it is of the device's; infinite for what the device has none of."""
        names = ("luts", "registers", "multipliers", "block_rams")
        return {n: _share(getattr(self, n), getattr(device, n)) for n in names}

    def fits(self, device: Device) -> bool:
        return max(self.shares(device).values()) <= 1


def _share(count: int, there: int) -> float:
    return count / there if there else float("inf") if count else 0.0


def sizes(p: Parameters) -> dict[str, dict[str, float]]:
    """What each part of the engine is made of: the sizes that its LUTs and registers grow with."""
    element, ring = 8 * p.element_bytes, p.banks * p.line
    lane = "lanes" if p.multiplier else "lanes without multiplier"
    return {
        "array": _array(p),
        "accumulators": {"columns": p.columns, "column bits": p.columns * p.sum_bits},
        "activations": {
            "fixed": 1,
            "ring bits": ring * element,
            "window bits": p.rows * element * (ring.bit_length() - 1),
            "operand bits": p.operands * p.columns * element * (ring.bit_length() - 1),
        },
        "vector": {
            "fixed": 1,
            "columns": p.columns,
            "column bits": p.columns * p.sum_bits,
            "operand bits": p.operands * p.columns * p.sum_bits,
            "added columns": (p.tables or p.products) * p.columns,
            "affine columns": p.affine * p.columns,
            "squares": p.normalization * p.lanes,
            "sliding bits": min(p.sum_bits, window_bits(p.activation_bits)) * p.columns if p.sliding else 0,
        },
        "lanes": {
            lane: p.lanes,
            "shift bits": p.lanes * (p.shift_high - p.shift_low).bit_length(),
            "rounded bits": p.lanes * max(0, p.total_bits - MANTISSA),
            "tables": p.tables * p.lanes,
            "squares": p.normalization * p.lanes,
            "products": p.products * p.lanes,
            "affine": p.affine * p.lanes,
        },
        "gearbox": {"fixed": 1, "bits": _gearbox_bits(p)},
        "control": {"fixed": 1, "bus bits": 8 * p.bus_bytes, "row bits": p.weight_row_bits},
        "lines": {"bits": _line_bits(p)},
    }


def _array(p: Parameters) -> dict[str, float]:
    """Sums grow by a bit where twice as many rows are added; of columns that share a multiplier, all but the lowest of
    each take a carry bit, in the first row too, or are corrected.
    """
    cells, bits = p.rows * p.columns, p.activation_bits + p.weight_bits
    carried, overlap = 0, 0
    if p.sharing and not p.sharing.lowest:
        carried, overlap = p.columns - ceil(p.columns / p.columns_per_multiplier), p.sharing.overlap
    return {
        "cells": cells,
        "weight bits": cells * p.weight_bits,
        "pixel bits": cells * p.activation_bits,
        "adder bits": p.columns * sum(min(p.sum_bits, bits + row.bit_length()) for row in range(1, p.rows)),
        "carry bits": 0 if overlap else carried * (p.rows + bits),
        "overlapping bits": carried * p.rows * overlap**2,
        "corrected bits": carried * p.rows * bits if overlap else 0,
        "skew bits": (p.weight_bits * p.columns**2 + p.activation_bits * p.rows**2) / 2,
        "depthwise bits": cells * p.activation_bits if p.line_buffer else 0,
        "widened bits": p.row_parts * p.weight_row_bits if p.packing > 1 else 0,
        "lag bits": (p.row_parts - 1) * p.rows // p.row_parts * p.weight_row_bits,
    }


def _line_bits(p: Parameters) -> int:
    """Of a pixel in the line buffer, 0 without one."""
    return p.depthwise_channels * p.activation_bits if p.line_buffer and p.kernel_lines > 1 else 0


def _gearbox_bits(p: Parameters) -> int:
    """Bits of a beat and of two rows of weights, times the places where a beat may begin."""
    return (8 * p.bus_bytes + 2 * p.weight_row_bits) * max(1, (2 * p.weight_row_bits).bit_length() - 3)


BOTH_WAYS = ("activations",)
"""Memories one of whose ports reads and writes, so that no block RAM has its widest shape, but an iCE40's, which has no
such port, and is there twice instead."""


def memories(p: Parameters) -> dict[str, list[tuple[int, int, int]]]:
    """Width in bits, words and count of the memories of each kind that block RAM holds.

    A byte that is written alone takes the ninth bit of its block RAM with it; an iCE40's bytes have none.
    """
    line = (8 if p.target == "ice40" else 9) * p.element_bytes * p.line
    depth = p.activation_elements // (p.banks * p.line)
    entries = p.table_entries
    found = {
        "activations": [(line, depth, p.banks)],
        "accumulators": [(p.sum_bits, p.accumulator_depth, 2 * p.columns)],
        "weights": [(8 * p.bus_bytes + 1, p.weight_fifo_beats, 1)],
        "lines": [(_line_bits(p), p.line_buffer, p.kernel_lines - 1)] if p.line_buffer else [],
        "tables": [(32 * entries, 256 // entries, 2 * p.lanes)] if p.tables else [],
    }
    return {kind: [m for m in listed if m[1] > SHALLOW] for kind, listed in found.items()}


def blocks(target: Target, width: int, words: int, kind: str = "") -> int:
    """Block RAMs of ``target`` that a memory of one ``kind`` of ``memories`` takes."""
    shapes = SHAPES[target][kind in BOTH_WAYS and target != "ice40" :]
    return min(-(-width // w) * -(-words // d) for w, d in shapes)


def area(p: Parameters) -> Area:
    """The area of the accelerator with ``p`` on its target's devices.

    Raises ConfigurationError for a target of which no synthesis was measured.
    """
    if p.target not in measured():
        known = ", ".join(measured())
        raise ConfigurationError(f"no synthesis for the target {p.target} was measured; the area is known of {known}")
    data = measured()[p.target]
    counts = {
        kind: sum(weighed(data[kind][part], named) for part, named in sizes(p).items())
        for kind in ("luts", "registers")
    }
    copies = data["block RAM copies"]
    rams = sum(
        copies[kind] * count * blocks(p.target, width, words, kind)
        for kind, listed in memories(p).items()
        for width, words, count in listed
    )
    return Area(
        luts=round(counts["luts"]),
        registers=round(counts["registers"]),
        multipliers=multipliers(p, data["multipliers"]),
        block_rams=round(rams),
        engines=len(data["measured"]),
        error=data["error"],
    )


def multipliers(p: Parameters, of: dict[str, float]) -> int:
    """``of``: what each of ``multiplying`` takes."""
    return ceil(sum(count * of[taker] for taker, count in multiplying(p).items()))


def multiplying(p: Parameters) -> dict[str, float]:
    """How many take multipliers: cells of the array, lanes that have one, squares of normalization, lanes' products."""
    return {
        "cell": p.rows * -(-p.columns // p.columns_per_multiplier) * array_share(p),
        "lane": p.multiplier * p.lanes,
        "square": p.lanes + p.normalization - 1 if p.normalization else 0,
        "product": (p.products or p.affine) * p.lanes,
    }


def weighed(coefficients: dict[str, float], named: dict[str, float]) -> float:
    """The LUTs or registers of one part: its sizes, ``named``, times what was fitted for each."""
    return sum(coefficients.get(name, 0.0) * size for name, size in named.items())


@cache
def measured() -> dict[str, Any]:
    """What ``area.json`` holds."""
    found: dict[str, Any] = json.loads(DATA.read_text())
    return found
