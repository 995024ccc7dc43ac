"""A board's top as Verilog, to stand beside a build's systolith.v."""

from functools import lru_cache
from typing import Final

from ..engine.emit import as_verilog
from .board import Board, board_ports

TOP: Final = "systolith_board"


@lru_cache(maxsize=8)
def emit_board(*, bus_bytes: int, memory_bytes: int, divisor: int) -> str:
    """Verilog-2005 of Board with these parameters, module ``systolith_board``: clk, rst, rx, tx, busy, interrupt."""
    board = Board(bus_bytes=bus_bytes, memory_bytes=memory_bytes, divisor=divisor)
    return as_verilog(board, TOP, board_ports(board))
