"""The PYNQ driver of a package: bound to the component's name, and nothing but systolith.host behind it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from systolith.hw.isa.parameters import VERSION
from systolith.hw.vendors.component import SPIRIT
from systolith.hw.vendors.words import CHECKED

from .packages import package

pytestmark = pytest.mark.xdist_group("vendors")

DRIVERS: dict[str, type] = {}


class RegisterIP(type):
    """As pynq 4.0's, in pynq/overlay.py: a subclass of DefaultIP that has ``bindto`` is the driver of these names."""

    def __init__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> None:
        for vlnv in attributes.get("bindto", ()):
            DRIVERS[vlnv] = cls
        super().__init__(name, bases, attributes)


class MMIO:
    """As pynq 4.0's, in pynq/mmio.py, as far as a driver looks."""

    def __init__(self, base_addr: int, length: int, device: object) -> None:
        self.base_addr, self.length, self.device = base_addr, length, device


class DefaultIP(metaclass=RegisterIP):
    """As pynq 4.0's, in pynq/overlay.py, as far as a driver looks."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.device = description["device"]
        self.mmio = MMIO(description["phys_addr"], description["addr_range"], self.device)


class Host(ModuleType):
    """systolith.host's part in it; writes down what it is asked for."""

    def __init__(self, fails: Exception | None = None) -> None:
        super().__init__("systolith.host")
        self.asked: list[tuple[Any, ...]] = []
        host = self

        class Build:
            limit = 0x14000

            @classmethod
            def load(cls, folder: str) -> Build:
                host.asked.append(("load", folder))
                return cls()

        class PynqBoard:
            def __init__(self, registers: int, size: int, *, device: object = None) -> None:
                host.asked.append(("board", registers, size, device))

            def close(self) -> None:
                host.asked.append(("close",))

        class Accelerator:
            def __init__(self, carrier: PynqBoard, build: Build, *, timeout: float = 10) -> None:
                assert (type(carrier), type(build)) == (PynqBoard, Build)
                host.asked.append(("accelerator", timeout))
                if fails:
                    raise fails

        self.Build, self.PynqBoard, self.Accelerator = Build, PynqBoard, Accelerator


def bound(source: bytes, host: Host, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The object that PYNQ makes of the accelerator in an overlay, with the module ``source`` imported."""
    pynq = ModuleType("pynq")
    pynq.DefaultIP = DefaultIP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynq", pynq)
    monkeypatch.setitem(sys.modules, "systolith.host", host)
    DRIVERS.clear()
    exec(compile(source, "systolith_pynq.py", "exec"), {"__name__": "systolith_pynq"})
    root = ElementTree.fromstring(package("tiny", "vivado")["component.xml"])
    vlnv = ":".join(root.findtext(f"{{{SPIRIT}}}{part}", "") for part in ("vendor", "library", "name", "version"))
    assert set(DRIVERS) == {vlnv}
    return DRIVERS[vlnv]({"phys_addr": 0x4000_0000, "addr_range": 4096, "device": "the FPGA"})


def check(source: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver opens a build as systolith.host wants it, and lets go of the memory where that fails."""
    assert CHECKED in source.decode().splitlines()[2]
    host = Host()
    block = bound(source, host, monkeypatch)
    assert type(block.open("lenet5", timeout=3)) is host.Accelerator
    asked = [("load", "lenet5"), ("board", 0x4000_0000, 0x14000, "the FPGA"), ("accelerator", 3)]
    assert host.asked == asked
    failing = Host(ValueError("no accelerator there"))
    with pytest.raises(ValueError, match="no accelerator there"):
        bound(source, failing, monkeypatch).open("lenet5", timeout=3)
    assert failing.asked == [*asked, ("close",)]


def test_the_driver_is_bound_to_the_component_and_opens_builds(monkeypatch):
    check(package("tiny", "vivado")["systolith_pynq.py"], monkeypatch)


BROKEN = {
    "no Python": ("class Systolith(", "class Systolith"),
    "no driver": ("pynq.DefaultIP", "object"),
    "another component": ("systolith:accelerator:systolith:", "systolith:accelerator:systolith_0:"),
    "another version": (f":{VERSION}.0", f":{VERSION + 1}.0"),
    "no build": ("Build.load(build)", "build"),
    "another size": ("network.limit", "4096"),
    "another address": ("self.mmio.base_addr", "0"),
    "another device": ("device=self.device", "device=None"),
    "options forgotten": (", **options)\n        except", ")\n        except"),
    "memory that is kept": ("            carrier.close()\n", ""),
    "an error that is not told": ("            raise\n", ""),
    "no word of what was checked": (CHECKED, ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_driver_is_seen(monkeypatch, how):
    source, (old, new) = package("tiny", "vivado")["systolith_pynq.py"].decode(), BROKEN[how]
    assert old in source
    with pytest.raises((AssertionError, SyntaxError, AttributeError, pytest.fail.Exception)):
        check(source.replace(old, new).encode(), monkeypatch)


@pytest.mark.skipif(importlib.util.find_spec("systolith.host") is None, reason="this version has no systolith.host")
def test_the_stub_of_the_host_is_as_the_host_is():
    host = importlib.import_module("systolith.host")
    for name in ("Build", "PynqBoard", "Accelerator"):
        real, stub = getattr(host, name), getattr(Host(), name)
        wanted = inspect.signature(real).parameters
        assert set(inspect.signature(stub).parameters) <= set(wanted), name
    assert list(inspect.signature(host.PynqBoard).parameters)[:3] == ["registers", "size", "device"]
    assert list(inspect.signature(host.Accelerator).parameters)[:2] == ["carrier", "build"]
    assert isinstance(host.Build.limit, property)
    assert list(inspect.signature(host.Build.load).parameters) == ["folder"]
    assert callable(host.PynqBoard.close)
