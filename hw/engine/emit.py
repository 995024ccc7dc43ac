"""The accelerator as one portable Verilog file."""

import gc
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from amaranth import Signal
from amaranth.back import rtlil, verilog
from amaranth.lib import wiring

from ..isa.parameters import Parameters
from .accelerator import Accelerator

TOP: Final = "systolith"


@lru_cache(maxsize=32)
def emit_verilog(parameters: Parameters, *, monitor: bool = False) -> str:
    """Verilog-2005 of the accelerator with ``parameters``; the same parameters give the same text.

    monitor : the accelerator's monitor has ports; else it ends inside, where a simulation sees it and synthesis
    removes it
    """
    accelerator = Accelerator(parameters=parameters)
    return _with_interfaces(as_verilog(accelerator, TOP, _ports(accelerator, monitor)))


def as_verilog(component: wiring.Component, name: str, ports: dict[str, tuple[Signal, None]]) -> str:
    """Verilog-2005 of a component as module ``name``, cleaned."""
    # elaboration makes millions of small objects that all stay alive; collecting them costs a third of its time
    gc.disable()
    try:
        with _memories_without_zeros():
            return cleaned(
                verilog.convert(component, name=name, ports=ports, strip_internal_attrs=True, emit_src=False)
            )
    finally:
        gc.enable()


@contextmanager
def _memories_without_zeros() -> Iterator[None]:
    """A memory that begins as zeros is written without first values: nothing depends on them, and logic would have to
    make them.

    Amaranth has no word for it, and spells every bit of every word out, which takes a third of the time for 512 KiB.
    """
    complete = rtlil.ModuleEmitter.emit_memory

    def emit_memory(emitter: Any, index: int, memory: Any) -> None:
        if any(memory.init):
            complete(emitter, index, memory)

    rtlil.ModuleEmitter.emit_memory = emit_memory
    try:
        yield
    finally:
        rtlil.ModuleEmitter.emit_memory = complete


def _ports(accelerator: Accelerator, monitor: bool) -> dict[str, tuple[Signal, None]]:
    """The top module's ports by their names in Verilog: ``m_axi.read.araddr`` is m_axi_araddr.

    What the accelerator drives is an output (None leaves that to Amaranth).
    """
    members = accelerator.signature.flatten(accelerator)
    return {
        "_".join([first, *inner[-1:]]): (signal, None)
        for (first, *inner), _, signal in members
        if monitor or first != "monitor"
    }


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
_NO_BITS = re.compile(r"^  wire \[-1:0\] .*;\n", re.MULTILINE)
"""The address of a memory of one word, which nothing reads."""
_NOT_ANY = re.compile(r"(?<== )! ")
"""Logical not of a vector, which Amaranth means as reduction: no bit is set."""
_RESET = re.compile(r"^  input ((?:engine_)?rst);\n", re.MULTILINE)
_AWAKE = re.compile(r"^  reg (\\\$auto\$\S+ ) = 0;\n", re.MULTILINE)
"""A register that does nothing but make blocks run at time zero, unless its first value comes before they wait."""


def cleaned(text: str) -> str:
    """Without what a synthesizer would have to undo, and what a linter would stumble over; see docs/verification.md."""
    text = _NOT_ANY.sub("~| ", _NO_BITS.sub("", text))
    return "".join(_complete_cases(_woken(module)) for module in re.split("^(?=module )", text, flags=re.MULTILINE))


def _woken(module: str) -> str:
    """Reset makes each combinational block run: an event-driven simulator waits for a change of what it reads."""
    if (reset := _RESET.search(module)) and (found := _AWAKE.search(module)):
        return _AWAKE.sub("", module).replace(f"if ({found[1]})", f"if ({reset[1]})")
    return module


def _complete_cases(module: str) -> str:
    lines, has_default = [], []
    for line in module.splitlines(keepends=True):
        word = line.strip()
        if word.startswith("casez "):
            has_default.append(False)
        elif word == "default:":
            has_default[-1] = True
        elif word == "endcase" and not has_default.pop():
            lines.append(line.replace(word, "  default: ;"))
        lines.append(line)
    return "".join(lines)
