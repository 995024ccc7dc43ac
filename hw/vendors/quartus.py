"""The accelerator for Quartus: a component of Platform Designer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..engine.read_master import ReadMaster
from ..engine.storer import Storer
from .ports import Port, read_interfaces
from .templates import render
from .words import CHECKED, NAME, VERSION

TOP = "systolith_quartus"
COMPONENT, WRAPPER = "systolith_hw.tcl", f"{TOP}.v"
DIRECTIONS = {"in": "Input", "out": "Output"}
READS, WRITES = ReadMaster.OUTSTANDING, Storer.OUTSTANDING
_OF_BUS: dict[str, object] = {"associatedClock": "clk", "associatedReset": "rst"}
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "clk": ("clock end", {"clockRate": 0}),
    "rst": ("reset end", {"associatedClock": "clk", "synchronousEdges": "BOTH"}),
    "s_axil": ("axi4lite end", {**_OF_BUS, "readAcceptanceCapability": 1, "writeAcceptanceCapability": 1}),
    "m_axi": (
        "axi4 start",
        {
            **_OF_BUS,
            "readIssuingCapability": READS,
            "writeIssuingCapability": WRITES,
            "combinedIssuingCapability": READS + WRITES,
        },
    ),
    "interrupt": ("interrupt end", {**_OF_BUS, "associatedAddressablePoint": "s_axil"}),
}
"""Type, direction and properties of each interface (Platform Designer's component interface reference)."""
ROLES = {"clk": "clk", "rst": "reset", "interrupt": "irq"}
"""Of the one port of these; a bus's are its logical names in small letters."""


@dataclass(frozen=True)
class _Port:
    name: str
    role: str
    direction: str
    width: int


def quartus_files(verilog: str) -> dict[str, bytes]:
    """What goes beside systolith.v: systolith_hw.tcl, and the top module that it names.

    Raises ConfigurationError where the Verilog is not as this version writes it.
    """
    inner, _ = read_interfaces(verilog)
    added = [Port(f"s_axil_{name}", "in", 3, "s_axil", name.upper()) for name in ("awprot", "arprot")]
    ports = [*inner, *added]
    return {
        COMPONENT: render(
            "quartus_hw.tcl.j2",
            checked=CHECKED,
            name=NAME,
            version=VERSION,
            top=TOP,
            interfaces=[*_buses(ports), *_conduits(ports)],
        ),
        WRAPPER: render("quartus.v.j2", checked=CHECKED, top=TOP, ports=ports, inner=inner),
    }


def _buses(ports: Sequence[Port]) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name, (kind, properties) in KINDS.items():
        own = [_told(port, ROLES.get(name, port.logical.lower())) for port in ports if port.interface == name]
        found.append({"name": name, "kind": kind, "properties": properties, "ports": own})
    return found


def _conduits(ports: Iterable[Port]) -> list[dict[str, object]]:
    """Ports of no interface: those of `generate --monitor`."""
    own = [_told(port, port.name.removeprefix("monitor_")) for port in ports if not port.interface]
    properties = {"associatedClock": "clk", "associatedReset": "rst"}
    return [{"name": "monitor", "kind": "conduit end", "properties": properties, "ports": own}] if own else []


def _told(port: Port, role: str) -> _Port:
    return _Port(port.name, role, DIRECTIONS[port.direction], port.width)
