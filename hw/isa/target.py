"""Families of FPGAs."""

from typing import Literal, get_args

Target = Literal["generic", "ecp5", "ice40", "xilinx", "gowin"]
TARGETS: tuple[Target, ...] = get_args(Target)
"""Those whose blocks the array may name; generic is plain Verilog."""
