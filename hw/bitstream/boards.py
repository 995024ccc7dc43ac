"""Boards that a bitstream is made for: the part, the clock on the board, and the pins that the top takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ...quant.graph.errors import ConfigurationError
from ..devices import Device, device

BAUD: Final = 1_000_000
"""Bits a second of the serial line, by default."""


@dataclass(frozen=True)
class Pin:
    """site : its ball's name;  low : a button that is pressed, or an LED that is lit, at 0;  attributes : of IOBUF"""

    site: str
    low: bool = False
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Board:
    """A board.

    options : of nextpnr, its part, package and speed grade
    crystal : MHz at the pin ``clock``
    pins : ``clock``, ``button``, which resets, ``rx`` and ``tx`` of the serial line as the FPGA has them, and the LEDs
    ``busy``, ``interrupt`` and ``heartbeat``
    high : further pins that are held at 1, and why
    fastest_line : bits a second that the board's USB bridge, or an adapter, can do
    goal : MHz to begin with where no clock is asked for
    programmer : how openFPGALoader calls the board
    """

    name: str
    device: Device
    options: tuple[str, ...]
    crystal: float
    pins: Mapping[str, Pin]
    high: Mapping[str, Pin]
    fastest_line: int
    goal: float
    programmer: str


PULLED_UP = {"PULLMODE": "UP"}
_BOARDS = (
    # Pins: github.com/emard/ulx3s, doc/constraints/ulx3s_v20.lpf; USB: FTDI FT231X, its data sheet: 3 Mbaud.
    Board(
        name="ulx3s_85f",
        device=device("lfe5u-85f"),
        options=("--85k", "--package", "CABGA381", "--speed", "6"),
        crystal=25.0,
        pins={
            "clock": Pin("G2"),
            "button": Pin("R1", attributes={"PULLMODE": "DOWN"}),  # FIRE1
            "rx": Pin("M1", attributes=PULLED_UP),
            "tx": Pin("L4"),
            "busy": Pin("B2", attributes={"DRIVE": "4"}),  # LED 0
            "interrupt": Pin("C2", attributes={"DRIVE": "4"}),
            "heartbeat": Pin("H3", attributes={"DRIVE": "4"}),  # LED 7
        },
        high={"esp32_gpio0": Pin("L2")},  # at 0 the ESP32 beside the FPGA would load its own bitstream over ours
        fastest_line=3_000_000,
        goal=87.5,
        programmer="ulx3s",
    ),
    # Pins: LambdaConcept's ECPIX-5 R03 schematics, as amaranth-boards and litex-boards have them; USB: FTDI FT2232H,
    # its data sheet: 12 Mbaud.
    Board(
        name="ecpix5_85f",
        device=device("lfe5um5g-85f"),
        options=("--um5g-85k", "--package", "CABGA554", "--speed", "8"),
        crystal=100.0,
        pins={
            "clock": Pin("K23"),
            "button": Pin("AB1", low=True),  # GSRN
            "rx": Pin("R26", attributes=PULLED_UP),
            "tx": Pin("R24"),
            "busy": Pin("R21", low=True),  # green of an RGB LED
            "interrupt": Pin("W21", low=True),
            "heartbeat": Pin("R23", low=True),
        },
        high={},
        fastest_line=12_000_000,
        goal=125.0,
        programmer="ecpix5",
    ),
    # Pins: github.com/orangecrab-fpga/orangecrab-examples, verilog/orangecrab_r0.2.1.pcf; the line is on the Feather's
    # pins for one. USB goes to the FPGA itself, so that the line wants an adapter: FTDI's FT232R does 3 Mbaud.
    Board(
        name="orangecrab_25f",
        device=device("lfe5u-25f"),
        options=("--25k", "--package", "CSFBGA285", "--speed", "8"),
        crystal=48.0,
        pins={
            "clock": Pin("A9"),
            "button": Pin("J17", low=True, attributes={"IO_TYPE": "SSTL135_I"}),  # on the DDR3's bank
            "rx": Pin("N17", attributes=PULLED_UP),  # GPIO 0
            "tx": Pin("M18"),  # GPIO 1
            "busy": Pin("M3", low=True),  # green of the RGB LED
            "interrupt": Pin("K4", low=True),  # red
            "heartbeat": Pin("J3", low=True),  # blue
        },
        high={},
        fastest_line=3_000_000,
        goal=105.0,
        programmer="orangeCrab",
    ),
)

BOARDS: Final = {board.name: board for board in _BOARDS}


def board_named(name: str) -> Board:
    """The board called ``name``.  Raises ConfigurationError listing those that are known."""
    if name not in BOARDS:
        raise ConfigurationError(f"board '{name}' is not known; known are {', '.join(BOARDS)}")
    return BOARDS[name]
