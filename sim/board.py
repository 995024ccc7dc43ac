"""A whole board, simulated down to its serial pins, which a pseudo-terminal stands for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..hw.board.emit import TOP, emit_board
from ..hw.isa.register_map import whole_pages
from . import accelerator as accelerators
from .accelerator import Accelerator
from .executable import compile_executable
from .session import power_up
from .toolchain import VERILOG, cell_models

DIVISOR = 4
"""Clock cycles a bit: fewer than on a board, whose line is slow beside its clock, so that less has to be simulated."""


class SimulatedBoard:
    """``build``'s Verilog in hw/board's top, which Verilator runs in a process of its own.

    ``port`` : the pseudo-terminal that the driver's SerialLine opens, at any baud rate

    build : or its folder;  memory_bytes : of block RAM, by default what the build needs
    line : the descriptor to join to the pins in place of a pseudo-terminal
    divisor : clock cycles a bit;  seed : of what registers and RAM hold first

    Raises SimulationError if a tool is missing, ConfigurationError for a folder that is no build.
    """

    def __init__(
        self,
        build: Accelerator | str | Path,
        *,
        memory_bytes: int | None = None,
        line: int | None = None,
        divisor: int = DIVISOR,
        seed: int = 0,
    ) -> None:
        import pty
        import tty

        source = build if isinstance(build, Accelerator) else accelerators.load(Path(build))
        size = whole_pages(source.memory_bytes) if memory_bytes is None else memory_bytes
        program = compile_board(source, size, divisor)
        self.port = ""
        self._mine: list[int] = []
        if line is None:
            line, user = pty.openpty()
            tty.setraw(user)
            self.port = os.ttyname(user)
            self._mine = [line, user]  # while the user's end is open here, nobody's leaving it ends the board
        self._process = subprocess.Popen([program, str(line), str(divisor), *power_up(seed)], pass_fds=[line])

    def __enter__(self) -> SimulatedBoard:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Switch it off."""
        self._process.terminate()
        self._process.wait()
        for descriptor in self._mine:
            os.close(descriptor)
        self._mine = []


def compile_board(source: Accelerator, memory_bytes: int, divisor: int = DIVISOR) -> Path:
    """The program of board_host.cpp for ``source`` in a board of these sizes."""
    board = emit_board(bus_bytes=source.bus_bytes, memory_bytes=memory_bytes, divisor=divisor)
    sources = [VERILOG / "board_host.cpp", *cell_models(source)]
    return compile_executable(sources, TOP, {}, {"board.v": board, "systolith.v": source.verilog})
