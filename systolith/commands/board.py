"""The ``board`` command as a function: the bitstream of a build for a board, by tools that pip installs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..hw.bitstream import tools
from ..hw.bitstream.boards import BAUD, board_named
from ..hw.bitstream.make import STAGES, make_bitstream
from ..hw.bitstream.record import BITSTREAM, Bitstream
from ..hw.board.board import Board
from ..hw.compiler.planner import plan
from ..hw.model.schedule import predict
from ..progress import stage_bars
from ..sim import accelerator as accelerators


@dataclass(frozen=True)
class BoardBuild:
    """What ``board_build`` wrote into ``path``: ``bitstream`` has its figures.  loaded : it is in the board's FPGA"""

    path: Path
    bitstream: Bitstream
    loaded: bool

    def lines(self) -> list[str]:
        """For people: what it is, and what is next."""
        file, board = self.path / BITSTREAM, board_named(self.bitstream.board)
        said = [*self.bitstream.lines(), f"written to {file}"]
        if self.loaded:
            return [*said, f"loaded into the {board.name}"]
        return [*said, f"next: {tools.LOADER} -b {board.programmer} {file}"]


def board_build(
    build: str | Path,
    output: str | Path,
    *,
    board: str,
    clock_mhz: float | None = None,
    baud: int = BAUD,
    program: bool = False,
    show_progress: bool = False,
) -> BoardBuild:
    """Make the bitstream of the build in the folder ``build`` for a board: the folder ``output``.

    board : "ulx3s_85f", "ecpix5_85f" or "orangecrab_25f"
    clock_mhz : 10 to 400, which the PLL comes up to as near as it can from below; None: the highest that holds of those
    that are tried, from the board's goal down
    baud : bits a second of the serial line;  program : load it into the board that is plugged in

    Minutes.  Nothing is written unless the timing is met.  Raises ConfigurationError where ``build`` is no build, does
    not fit the board, or ``output`` holds what is not ours; ToolError where a tool is missing or fails, or the clock is
    not reached; DataError where ``output`` cannot be written.
    """
    known = board_named(board)
    if program:
        tools.require_loader()
    source = accelerators.load(Path(build))
    planned = plan(source.graph, source.manifest.parameters, source.batch, source.unfolding is not None)
    cycles = predict(planned, Board.LATENCY).cycles / source.batch
    with stage_bars({stage: stage for stage in STAGES}, show_progress) as progress:
        made = make_bitstream(
            Path(build), known.name, Path(output), cycles, clock=clock_mhz, baud=baud, progress=progress
        )
    if program:
        tools.load(known.programmer, Path(output) / BITSTREAM)
    return BoardBuild(Path(output), made, program)
