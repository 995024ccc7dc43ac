"""Whether an accelerator and its memory fit a board: before synthesis as the area model has it, then as counted."""

from collections.abc import Mapping
from dataclasses import replace

from ...quant.graph.errors import ConfigurationError
from ..area import area, blocks
from ..isa.parameters import Parameters
from .boards import Board

SMALLER = "an array of fewer rows or columns, or less memory on the accelerator (--activation-kib, --accumulator-kib)"
LINK_RAMS = 1
"""That the serial link holds a frame in."""
MULTIPLIERS, RAMS = ("MULT18X18D",), ("DP16KD", "PDPW16KD")


def taken(board: Board, parameters: Parameters, memory_bytes: int) -> tuple[int, int, int]:
    """Multipliers; block RAMs of the accelerator; those of the memory behind its bus and of the serial link."""
    target = board.device.target
    engine = area(replace(parameters, target=target))
    words = -(-memory_bytes // parameters.bus_bytes)
    return engine.multipliers, engine.block_rams, blocks(target, 9 * parameters.bus_bytes, words) + LINK_RAMS


def check_fit(board: Board, parameters: Parameters, memory_bytes: int) -> None:
    """Raises ConfigurationError, saying what ``board`` lacks, if it cannot hold the accelerator and its memory.

    memory_bytes : that the accelerator reaches over its bus, here in block RAM
    """
    target = board.device.target
    if parameters.target not in ("generic", target):
        raise ConfigurationError(
            f"the build is for the target {parameters.target}, {board.name} has an {target}; "
            f"generate it with --target {target}"
        )
    (multipliers, rams, behind), there = taken(board, parameters, memory_bytes), board.device
    if multipliers > there.multipliers:
        raise _lacks(board, f"{there.multipliers} multipliers, and the engine takes {multipliers:,}")
    if rams + behind > there.block_rams:
        raise _lacks(
            board,
            f"{there.block_rams} block RAMs; the engine takes {rams:,} and {memory_bytes:,} bytes of memory {behind:,}",
        )


def check_counts(board: Board, cells: Mapping[str, int]) -> None:
    """The same of what synthesis has made: ``cells`` by type."""
    for there, what, types in (
        (board.device.multipliers, "multipliers", MULTIPLIERS),
        (board.device.block_rams, "block RAMs", RAMS),
    ):
        if (taken := sum(cells.get(name, 0) for name in types)) > there:
            raise _lacks(board, f"{there} {what}, and {taken:,} are taken")


def _lacks(board: Board, what: str) -> ConfigurationError:
    return ConfigurationError(f"{board.name} has {what}; try {SMALLER}")
