"""From a build to the folder of a bitstream: sources, synthesis, place and route, packing; whole, or nothing."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...quant.graph.errors import ToolError
from ...quant.graph.progress import Progress, quiet
from ..board.emit import emit_board
from ..describe import check_version
from ..folder import read_content, read_manifest
from ..isa.register_map import whole_pages
from ..made_folder import check_made
from ..manifest import Manifest
from . import tools
from .boards import BAUD, Board, board_named
from .fit import check_counts, check_fit
from .pll import Pll, pll
from .record import BITSTREAM, CONSTRAINTS, FOLDER, FORMAT, SOURCES, Bitstream, seal
from .timing import Timing, read_timing
from .top import TOP, constraints, divisor, rate_error, top_verilog

ROUNDS: Final = 4
"""Clocks that are tried at most where none is asked for."""
SAFE: Final = 0.98
"""Of what was reached, what is tried next: another clock places anew."""
STAGES: Final = ("synthesis", "place and route")


@dataclass(frozen=True)
class _Design:
    """What every clock's attempt has in common."""

    board: Board
    baud: int
    verilog: bytes
    bus_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class _Attempt:
    """contents : the folder's files but the bitstream"""

    pll: Pll
    contents: dict[str, bytes]
    timing: Timing


def make_bitstream(
    build: Path,
    board: str,
    output: Path,
    cycles: float,
    *,
    clock: float | None = None,
    baud: int = BAUD,
    progress: Progress = quiet,
) -> Bitstream:
    """Write the folder ``output`` with the bitstream of the build in ``build`` for ``board``.

    cycles : of one image on the board
    clock : MHz, which the PLL comes up to as near as it can from below; None: the board's goal, and after a miss what
    was reached, until it holds
    baud : bits a second of the serial line

    Nothing is written unless the timing is met.  Raises ConfigurationError where ``build`` is no build of this version,
    does not fit, or ``output`` holds what is not ours or was changed since; ToolError where a tool is missing or fails,
    or the clock is not reached; DataError where ``output`` cannot be written.
    """
    check_made(FOLDER, Bitstream, output)
    known = board_named(board)
    manifest, sealed = read_manifest(build)
    verilog = read_content(build, "systolith.v", manifest)
    check_version(build, manifest, verilog)
    memory = whole_pages(manifest.memory.bytes)
    check_fit(known, manifest.parameters, memory)
    design = _Design(known, baud, verilog, manifest.parameters.bus_bytes, memory)
    asked = pll(known.crystal, known.goal if clock is None else clock)
    divisor(float(asked.clock), baud, known)
    versions = tools.require()
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory(prefix="systolith-") as work:
        folder = Path(work)
        made, routes = _attempt(design, asked, folder, seconds, progress), 1
        while made.timing.slack < 0:
            asked = pll(known.crystal, SAFE * made.timing.reached)
            if clock is not None or routes == ROUNDS:
                raise ToolError(_too_slow(known, made.timing, asked, clock))
            made, routes = _attempt(design, asked, folder, seconds, progress), routes + 1
        with _timed("ecppack", seconds):
            contents = made.contents | {BITSTREAM: tools.pack(folder)}
    fields = _figures(design, made, manifest, cycles) | {"build": sealed, "asked_mhz": clock, "tools": versions}
    fields |= {"routes": routes, "seconds": {tool: round(spent, 1) for tool, spent in seconds.items()}}
    record, contents = seal(fields, contents)
    check_made(FOLDER, Bitstream, output)
    FOLDER.write(output, contents, record.to_bytes())
    return record


def _attempt(design: _Design, asked: Pll, folder: Path, seconds: dict[str, float], progress: Progress) -> _Attempt:
    """The design with one clock, routed in ``folder``."""
    megahertz = float(asked.clock)
    cycles = divisor(megahertz, design.baud, design.board)
    top, circuit, engine = SOURCES
    contents = {
        top: top_verilog(design.board, asked).encode(),
        circuit: emit_board(bus_bytes=design.bus_bytes, memory_bytes=design.memory_bytes, divisor=cycles).encode(),
        engine: design.verilog,
        CONSTRAINTS: constraints(design.board).encode(),
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    progress(STAGES[0], 0, 1)
    with _timed("yosys", seconds):
        check_counts(design.board, tools.synthesize(folder, SOURCES, TOP))
    progress(STAGES[0], 1, 1)
    progress(STAGES[1], 0, 1)
    with _timed("nextpnr", seconds):
        timing = read_timing(tools.route(folder, design.board.options, CONSTRAINTS), megahertz)
    progress(STAGES[1], 1, 1)
    return _Attempt(asked, contents, timing)


def _figures(design: _Design, made: _Attempt, manifest: Manifest, cycles: float) -> dict[str, object]:
    """What the record has of the board's circuits."""
    megahertz = float(made.pll.clock)
    bits = divisor(megahertz, design.baud, design.board)
    moved = sum(tensor.bytes for tensor in (*manifest.inputs, *manifest.outputs)) / manifest.batch
    return {
        "format": FORMAT,
        "board": design.board.name,
        "clock_mhz": megahertz,
        "reached_mhz": made.timing.reached,
        "slack_ns": made.timing.slack,
        "baud": design.baud,
        "divisor": bits,
        "baud_error": rate_error(megahertz, design.baud, bits),
        "used": dict(made.timing.used),
        "there": dict(made.timing.there),
        "memory_bytes": design.memory_bytes,
        "cycles": cycles,
        "frames_per_second": 1e6 * megahertz / cycles,
        "line_seconds": 10 * moved * bits / (1e6 * megahertz),  # ten bits an octet
    }


def _too_slow(board: Board, timing: Timing, below: Pll, clock: float | None) -> str:
    """What to do about it."""
    found = (
        f"negative slack on {board.name}: {timing.slack:.2f} ns at {timing.asked:g} MHz, of which "
        f"{timing.reached:.1f} MHz are reached"
    )
    if clock is None:
        return f"{found}, after {ROUNDS} clocks were tried; give a --clock well below"
    return f"{found}; try --clock {float(below.clock):.6g}, or leave --clock out"


@contextmanager
def _timed(tool: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    finally:
        seconds[tool] += time.monotonic() - started
