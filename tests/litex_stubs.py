"""What of LiteX and LiteDRAM the package's files call, without either: to run them where neither is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class Endpoint:
    """A channel: each signal is its own name, and a part of an address the width that was asked for."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Any:
        return Sliced(f"{self.path}.{name}")


class Sliced(str):
    """A signal, of which the lowest bits may be taken."""

    def __getitem__(self, bits: Any) -> str:
        return f"{self}[:{bits.stop}]"


class Interface:
    """An AXI bus of any kind."""

    def __init__(self, data_width: int, address_width: int, id_width: int = 0) -> None:
        self.data_width, self.address_width, self.id_width = data_width, address_width, id_width
        for channel in ("aw", "w", "b", "ar", "r"):
            setattr(self, channel, Endpoint(channel))


class Instances(list[Any]):
    """Of Migen: ``+=`` takes one."""

    def __iadd__(self, other: Any) -> Instances:
        self.append(other)
        return self


class LiteXModule:
    """Keeps what it is given."""

    specials: Instances

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        made = super().__new__(cls)
        made.specials = Instances()
        return made


class EventManager:
    """Keeps its sources."""

    def finalize(self) -> None:
        """There is nothing to do."""


class Platform:
    """Keeps the names of its sources."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    def add_source(self, name: str) -> None:
        self.sources.append(Path(name).name)


class SimPlatform(Platform):
    """LiteX's simulator's."""


def modules() -> dict[str, ModuleType]:
    """The stubs by the names that the package's files import."""

    def module(name: str, **members: Any) -> ModuleType:
        made = ModuleType(name)
        made.__dict__.update(members)
        return made

    def instance(name: str, **ports: Any) -> SimpleNamespace:
        return SimpleNamespace(name=name, ports=ports)

    def record(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    def native(axi: Any, port: Any, **options: Any) -> SimpleNamespace:
        return SimpleNamespace(axi=axi, port=port, **options)

    made = [
        module("litedram"),
        module("litedram.frontend"),
        module("litedram.frontend.axi", LiteDRAMAXI2Native=native),
        module("litex"),
        module("litex.build"),
        module("litex.build.sim", SimPlatform=SimPlatform),
        module("litex.gen", LiteXModule=LiteXModule),
        module("litex.soc"),
        module("litex.soc.integration"),
        module("litex.soc.integration.soc", SoCRegion=record),
        module("litex.soc.interconnect"),
        module("litex.soc.interconnect.axi", AXIInterface=Interface, AXILiteInterface=Interface),
        module(
            "litex.soc.interconnect.csr_eventmanager",
            EventManager=EventManager,
            EventSourceProcess=lambda edge: SimpleNamespace(edge=edge, trigger=f"{edge} edge"),
        ),
        module("migen", Instance=instance, ClockSignal=lambda name: name, ResetSignal=lambda name: f"reset of {name}"),
    ]
    return {each.__name__: each for each in made}


def soc(port_bits: int, interrupts: bool = True, simulated: bool = False) -> SimpleNamespace:
    """A SoC with DRAM at 0x40000000 whose native port has ``port_bits``, and what was added to it."""
    added = SimpleNamespace(modules={}, slaves={}, irqs=[])
    return SimpleNamespace(
        platform=SimPlatform() if simulated else Platform(),
        sdram=SimpleNamespace(crossbar=SimpleNamespace(get_port=lambda: SimpleNamespace(data_width=port_bits))),
        bus=SimpleNamespace(
            regions={"main_ram": SimpleNamespace(origin=0x40000000)},
            add_slave=lambda name, slave, region: added.slaves.update({name: (slave, region)}),
        ),
        irq=SimpleNamespace(enabled=interrupts, add=lambda name, use_loc_if_exists: added.irqs.append(name)),
        add_module=lambda name, module: added.modules.update({name: module}),
        added=added,
    )


def forget(*names: str) -> None:
    """Modules that the next import shall load again."""
    for name in names:
        sys.modules.pop(name, None)
