"""The top of a bitstream as Verilog, and its constraints: PLL, reset, LEDs and pins around hw/board's top."""

from math import floor, log2
from typing import Final

from ...quant.graph.errors import ConfigurationError
from ..board.emit import TOP as BOARD
from .boards import Board, Pin
from .pll import Pll

TOP: Final = "systolith_top"
INPUTS: Final = ("clock", "button", "rx")
LEDS: Final = ("busy", "interrupt", "heartbeat")
CLOCK: Final = "clk"
"""The net of the PLL's clock, in the Verilog."""
TOLERANCE: Final = 0.015
"""By which the line's rate may be off: octets are sampled within half a bit of ten, and the other end is off too."""


def divisor(megahertz: float, baud: int, board: Board) -> int:
    """Clock cycles a bit.  Raises ConfigurationError where the line cannot have that rate."""
    if not 1 <= baud <= board.fastest_line:
        raise ConfigurationError(f"the serial line of {board.name} does 1 to {board.fastest_line:,} baud, not {baud:,}")
    cycles = max(1, round(1e6 * megahertz / baud))
    if not 4 <= cycles <= 1 << 16:
        raise ConfigurationError(f"{baud:,} baud are {cycles:,} cycles a bit at {megahertz:g} MHz, not 4 to 65,536")
    if abs(off := rate_error(megahertz, baud, cycles)) > TOLERANCE:
        raise ConfigurationError(
            f"at {megahertz:g} MHz the line is {off:+.1%} off {baud:,} baud, more than {TOLERANCE:.1%}; "
            f"a clock of {baud * cycles / 1e6:g} MHz would hit it"
        )
    return cycles


def rate_error(megahertz: float, baud: int, cycles: int) -> float:
    """By which ``cycles`` a bit are off ``baud``: positive where the line is too fast."""
    return 1e6 * megahertz / cycles / baud - 1


def top_verilog(board: Board, pll: Pll) -> str:
    """Verilog-2001 of module ``systolith_top`` around hw/board's ``systolith_board``.

    Reset: until the PLL is locked and while the button is pressed; it ends with the clock.  Heartbeat: 0.7 to 1.5 Hz.
    """
    outputs = ("tx", *LEDS, *board.high)
    ports = [*(f"input wire {name}" for name in INPUTS), *(f"output wire {name}" for name in outputs)]
    beat = floor(log2(1e6 * float(pll.clock)))
    pressed = "~button" if board.pins["button"].low else "button"
    lit = {"busy": "is_busy", "interrupt": "is_interrupt", "heartbeat": f"beats[{beat - 1}]"}
    leds = (f"  assign {name} = {'~' if board.pins[name].low else ''}{lit[name]};" for name in LEDS)
    held = (f"  assign {name} = 1'b1;" for name in board.high)
    return "\n".join(
        [
            f"// {board.name}: {float(pll.clock):g} MHz of a crystal of {float(pll.crystal):g} MHz",
            f"module {TOP}({', '.join(ports)});",
            f"  wire {CLOCK}, fed_back, locked, is_busy, is_interrupt;",
            '  (* ICP_CURRENT="12", LPF_RESISTOR="8", MFG_ENABLE_FILTEROPAMP="1", MFG_GMCREF_SEL="2" *)',
            "  EHXPLLL #(",
            *(f"    .{name}({value})," for name, value in _settings(pll).items()),
            '    .FEEDBK_PATH("CLKOP")',
            "  ) pll (",
            f"    .CLKI(clock), .CLKFB(fed_back), .CLKOP(fed_back), .CLKOS({CLOCK}), .LOCK(locked), .RST(1'b0),",
            "    .STDBY(1'b0), .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b0), .PHASESTEP(1'b0),",
            "    .PHASELOADREG(1'b0), .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0), .ENCLKOS(1'b0)",
            "  );",
            f"  wire held = ~locked | {pressed};",
            "  reg [2:0] reset = 3'b111;",
            f"  always @(posedge {CLOCK} or posedge held)",
            "    if (held) reset <= 3'b111;",
            "    else reset <= {reset[1:0], 1'b0};",
            f"  reg [{beat - 1}:0] beats = 0;",
            f"  always @(posedge {CLOCK}) beats <= beats + 1'b1;",
            f"  {BOARD} board(.clk({CLOCK}), .rst(reset[2]), .rx(rx), .tx(tx), .busy(is_busy), "
            ".interrupt(is_interrupt));",
            *leds,
            *held,
            "endmodule",
            "",
        ]
    )


def _settings(pll: Pll) -> dict[str, str | int]:
    """Parameters of the EHXPLLL; an output whose phase is one period less a cycle has its edges with the VCO's."""
    off = ("PLLRST_ENA", "INTFB_WAKE", "STDBY_ENABLE", "DPHASE_SOURCE")
    named: dict[str, str | int] = dict.fromkeys(off, '"DISABLED"')
    named |= {f"OUTDIVIDER_MUX{letter}": f'"DIV{letter}"' for letter in "ABCD"}
    named |= {"CLKI_DIV": pll.input, "CLKFB_DIV": pll.feedback}
    for output, divided in (("CLKOP", pll.fed), ("CLKOS", pll.output)):
        named |= {f"{output}_ENABLE": '"ENABLED"', f"{output}_DIV": divided}
        named |= {f"{output}_CPHASE": divided - 1, f"{output}_FPHASE": 0}
    return named


def constraints(board: Board) -> str:
    """Pins, levels and the crystal's frequency, in Lattice's preference format (LPF)."""
    lines = []
    for name, pin in {**board.pins, **board.high}.items():
        lines += [f'LOCATE COMP "{name}" SITE "{pin.site}";', f'IOBUF PORT "{name}" {_levels(pin)};']
    return "\n".join([*lines, f'FREQUENCY PORT "clock" {board.crystal:g} MHZ;', ""])


def _levels(pin: Pin) -> str:
    return " ".join(f"{name}={value}" for name, value in {"IO_TYPE": "LVCMOS33", **(pin.attributes or {})}.items())
