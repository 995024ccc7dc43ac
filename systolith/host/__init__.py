"""The driver: runs a build on an accelerator, whatever carries its registers and memory to this computer.

It needs Python and numpy alone (pyserial for a serial line, pynq for a PYNQ board), so a board need not have the rest.
"""

from ..quant.graph.errors import HostError
from .accelerator import Accelerator
from .build import Build
from .carrier import Carrier, Memory, Registers
from .counters import Counters, Run
from .device_memory import DeviceMemory
from .pynq_board import PynqBoard
from .serial_line import SerialLine
from .uio import Uio

__all__ = [
    "Accelerator",
    "Build",
    "Carrier",
    "Counters",
    "DeviceMemory",
    "HostError",
    "Memory",
    "PynqBoard",
    "Registers",
    "Run",
    "SerialLine",
    "Uio",
]
