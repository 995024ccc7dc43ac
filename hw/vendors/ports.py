"""Ports and interfaces of the accelerator's top module, as the Verilog states them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from ...quant.graph.errors import ConfigurationError
from ..engine.emit import TOP


@dataclass(frozen=True)
class Port:
    """``interface`` : the one that it is part of, as ``logical``; both empty for a port of none."""

    name: str
    direction: Literal["in", "out"]
    width: int
    interface: str = ""
    logical: str = ""


@dataclass
class Interface:
    """Ports that belong together.

    kind : vendor, library, name and version of its type, as ``xilinx.com:interface:aximm:1.0``
    parameters : what the Verilog says of it, by name
    """

    name: str
    kind: str
    parameters: dict[str, str] = field(default_factory=dict)
    ports: list[Port] = field(default_factory=list)

    @property
    def master(self) -> bool:
        """Whether it begins what goes over it: its address or what else it says first is an output."""
        return next((p.direction for p in self.ports if p.logical == "AWADDR"), self.ports[0].direction) == "out"

    def width(self, logical: str) -> int:
        """Of a port, in bits."""
        return next(port.width for port in self.ports if port.logical == logical)


_HEAD = re.compile(rf"^module {TOP}\(([^)]*)\);$", re.MULTILINE)
_PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);$")
_INFO = re.compile(r'^  \(\* X_INTERFACE_INFO = "(\S+) (\w+) (\w+)" \*\)$')
_PARAMETER = re.compile(r'^  \(\* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME (\w+), ([^"]*)" \*\)$')


def read_interfaces(verilog: str) -> tuple[list[Port], list[Interface]]:
    """The top module's ports in the order of its head, and its interfaces in the order of their first port.

    verilog : what `generate` wrote;  raises ConfigurationError where it says nothing of its interfaces
    """
    head = _HEAD.search(verilog)
    if not head:
        raise ConfigurationError(f"systolith.v has no module '{TOP}' with a list of ports")
    names = re.findall(r"\w+", head[1])
    interfaces: dict[str, Interface] = {}
    ports = {port.name: port for port in _declared(verilog[head.end() :], interfaces)}
    if sorted(ports) != sorted(names):
        strange = sorted(set(ports) ^ set(names))
        raise ConfigurationError(f"systolith.v lists or declares port '{strange[0]}', but not both")
    told = {name for name, interface in interfaces.items() if interface.kind and interface.parameters}
    if wrong := {"clk", "rst", "s_axil", "m_axi", "interrupt"} ^ told:
        raise ConfigurationError(
            f"systolith.v is not as this version writes it, in its interface '{min(wrong)}'; generate it again"
        )
    for name in names:
        if ports[name].interface:
            interfaces[ports[name].interface].ports.append(ports[name])
    order = [port.interface for port in map(ports.__getitem__, names) if port.interface]
    return [ports[name] for name in names], [interfaces[name] for name in dict.fromkeys(order)]


def _declared(body: str, interfaces: dict[str, Interface]) -> Iterator[Port]:
    """Each port that ``body`` declares, up to the module's end; fills ``interfaces`` by name."""
    name = logical = ""
    for line in body.splitlines():
        if line == "endmodule":
            return
        if info := _INFO.match(line):
            kind, name, logical = info.groups()
            interfaces.setdefault(name, Interface(name, kind))
        elif told := _PARAMETER.match(line):
            pairs = (pair.split(" ", 1) for pair in told[2].split(", ") if " " in pair)
            interfaces.setdefault(told[1], Interface(told[1], "")).parameters |= dict(pairs)
        elif port := _PORT.match(line):
            direction, high, own = port.groups()
            yield Port(own, "in" if direction == "input" else "out", int(high or 0) + 1, name, logical)
            name = logical = ""
