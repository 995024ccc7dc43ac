"""The accelerator as one portable Verilog file."""

import gc
import re
from functools import lru_cache
from typing import Final

from amaranth import Signal
from amaranth.back import verilog

from ..isa.parameters import Parameters
from .accelerator import Accelerator

TOP: Final = "systolith"


@lru_cache(maxsize=4)
def emit_verilog(parameters: Parameters) -> str:
    """Verilog-2005 of the accelerator with ``parameters``; the same parameters give the same text."""
    # elaboration makes millions of small objects that all stay alive; collecting them costs a third of its time
    gc.disable()
    try:
        accelerator = Accelerator(parameters=parameters)
        text = verilog.convert(
            accelerator, name=TOP, ports=_ports(accelerator), strip_internal_attrs=True, emit_src=False
        )
    finally:
        gc.enable()
    return _with_interfaces(_shorter_memories(text))


def _ports(accelerator: Accelerator) -> dict[str, tuple[Signal, None]]:
    """The top module's ports by their names in Verilog: ``m_axi.read.araddr`` is m_axi_araddr.

    What the accelerator drives is an output (None leaves that to Amaranth).
    """
    members = accelerator.signature.flatten(accelerator)
    return {"_".join([first, *inner[-1:]]): (signal, None) for (first, *inner), _, signal in members}


_BUSES = {"s_axil": "PROTOCOL AXI4LITE", "m_axi": "PROTOCOL AXI4, SUPPORTS_NARROW_BURST 0, HAS_REGION 0"}
_INTERFACES = {
    "clk": ("signal:clock:1.0 clk CLK", f"clk, ASSOCIATED_BUSIF {':'.join(_BUSES)}, ASSOCIATED_RESET rst"),
    "rst": ("signal:reset:1.0 rst RST", "rst, POLARITY ACTIVE_HIGH"),
    "interrupt": ("signal:interrupt:1.0 interrupt INTERRUPT", "interrupt, SENSITIVITY LEVEL_HIGH"),
}
"""Of a port: what it is of which interface, and that interface's parameters."""


def _with_interfaces(text: str) -> str:
    """The attributes that tell a packager of IP the top module's clock, reset and buses (AMD UG994, UG1118).

    Where nobody looks for them they are comments.
    """
    told = set()

    def port(match: re.Match[str]) -> str:
        name = match.group(1)
        bus = next((bus for bus in _BUSES if name.startswith(f"{bus}_")), "")
        if bus:
            info = f"interface:aximm:1.0 {bus} {name.removeprefix(bus)[1:].upper()}"
            parameters = f"{bus}, {_BUSES[bus]}"
        elif name in _INTERFACES:
            info, parameters = _INTERFACES[name]
        else:
            return match.group()
        lines = [f'  (* X_INTERFACE_INFO = "xilinx.com:{info}" *)\n']
        if parameters not in told:
            told.add(parameters)
            lines.append(f'  (* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME {parameters}" *)\n')
        return "".join(lines) + match.group()

    first = text.index(f"module {TOP}(")
    last = text.index("endmodule", first)
    return text[:first] + _PORT.sub(port, text[first:last]) + text[last:]


_PORT = re.compile(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);\n", re.MULTILINE)
_ZEROS = re.compile(r"  initial begin\n((?:    (\w+|\\\S+ )\[\d+\] = \d+'[dh]0+;\n)+)  end\n")


def _shorter_memories(text: str) -> str:
    """A loop instead of a line for each zero word of a memory."""
    count = 0

    def loop(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        lines = match.group(1).splitlines()
        memory, width = match.group(2), lines[0].split("=")[1].split("'")[0].strip()
        return (
            f"  integer word_{count};\n  initial\n"
            f"    for (word_{count} = 0; word_{count} < {len(lines)}; word_{count} = word_{count} + 1)\n"
            f"      {memory}[word_{count}] = {width}'h0;\n"
        )

    return _ZEROS.sub(loop, text)
