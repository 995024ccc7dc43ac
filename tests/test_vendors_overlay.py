"""The device-tree overlays: compiled where the compiler is installed, and read by a parser of our own everywhere."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from systolith.hw.vendors.boards import BOARDS, Board
from systolith.hw.vendors.component import REGISTER_BYTES
from systolith.hw.vendors.vivado import OVERLAYS, SHARED_BYTES
from systolith.hw.vendors.words import CHECKED

from . import device_tree
from .packages import BUILDS, hardware, package

pytestmark = pytest.mark.xdist_group("vendors")

BY_NAME = {board.name: board for board in BOARDS}
INTERRUPTS = {"pynq_z2": ("&intc", 61), "kv260": ("&gic", 121), "zcu104": ("&gic", 121)}
"""Label of the interrupt controller in Linux's zynq-7000.dtsi and zynqmp.dtsi, and the ID of the first interrupt from
the fabric: UG585, table 7-4; UG1085, table 13-1."""
CLOCKS = {"pynq_z2": ["&clkc", 15], "kv260": ["&zynqmp_clk", 71], "zcu104": ["&zynqmp_clk", 71]}
"""Linux's bindings clock/zynq-7000.txt, fclk0; include/dt-bindings/clock/xlnx-zynqmp-clk.h, PL0_REF."""
FIRST_SHARED = 32
"""ID of the first shared peripheral interrupt, from which a device tree counts (ARM's binding of the GIC)."""
HIGH = 4
"""IRQ_TYPE_LEVEL_HIGH."""


def check(source: bytes, board: Board, name: str) -> None:
    """The overlay says of the build ``name`` on ``board`` what is so."""
    text = source.decode()
    assert CHECKED in text.splitlines()[1]
    tree = device_tree.parse(text)
    assert list(tree) == ["&amba"]
    bus = tree["&amba"]
    cells, registers = board.processor.cells, f"systolith@{board.processor.registers:x}"
    assert set(bus) == {"#address-cells", "#size-cells", "systolith-clock", registers, "udmabuf0"}
    assert bus.pop("#address-cells") == bus.pop("#size-cells") == [cells]
    clock = CLOCKS[board.name]
    assert bus.pop("systolith-clock") == {
        "compatible": "xlnx,fclk",
        "clocks": clock,
        "assigned-clocks": clock,
        "assigned-clock-rates": [125_000_000],
    }
    controller, number = INTERRUPTS[board.name]
    high = [0] * (cells - 1)
    assert bus.pop(registers) == {
        "compatible": "generic-uio",
        "reg": [*high, board.processor.registers, *high, REGISTER_BYTES],
        "interrupt-parent": [controller],
        "interrupts": [0, number - FIRST_SHARED, HIGH],
    }
    needed = hardware(name).memory.bytes if name == "tiny" else SHARED_BYTES
    memory = bus.pop("udmabuf0")
    assert set(memory) == {"compatible", "device-name", "size"}
    assert (memory["compatible"], memory["device-name"]) == ("ikwzm,u-dma-buf", "udmabuf0")
    (size,) = memory["size"]
    assert (size % 4096, 0 <= size - needed < 4096) == (0, True)


def compile_with_dtc(source: bytes) -> bytes:
    """What ``dtc`` makes of an overlay; what it warns of is an error."""
    ran = subprocess.run(
        ["dtc", "-@", "-I", "dts", "-O", "dtb"], input=source, capture_output=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    return ran.stdout


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("board", BY_NAME)
def test_an_overlay_says_where_registers_interrupt_and_memory_are(board, name):
    check(package(name, "vivado")[OVERLAYS[board]], BY_NAME[board], name)


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed: apt install device-tree-compiler")
@pytest.mark.parametrize("board", BY_NAME)
def test_an_overlay_compiles(board):
    tree = compile_with_dtc(package("tiny", "vivado")[OVERLAYS[board]])
    assert tree.startswith(b"\xd0\x0d\xfe\xed")
    assert all(word in tree for word in (b"__fixups__", b"amba", b"generic-uio", b"ikwzm,u-dma-buf"))


BROKEN = {
    "no end": ("\t};\n};\n", "\t};\n"),
    "no semicolon": ('"generic-uio";', '"generic-uio"'),
    "no end of a string": ('"generic-uio"', '"generic-uio'),
    "no end of cells": ("<0x40000000 0x1000>", "<0x40000000 0x1000"),
    "no cell": ("<0x40000000", "<0x4000000g"),
    "no overlay": ("/plugin/;", ""),
    "registers elsewhere": ("<0x40000000", "<0x43c00000"),
    "registers elsewhere than their node": ("systolith@40000000", "systolith@43c00000"),
    "cells of the other family": ("#address-cells = <1>", "#address-cells = <2>"),
    "another interrupt": ("<0 29 4>", "<0 61 4>"),
    "an interrupt that is an edge": ("<0 29 4>", "<0 29 1>"),
    "another controller": ("&intc", "&gic"),
    "another clock": ("<125000000>", "<100000000>"),
    "another buffer": ('device-name = "udmabuf0"', 'device-name = "udmabuf1"'),
    "a property of no driver": ("compatible", "compatibel"),
    "a property that is twice there": ("\t\tsize =", "\t\tsize = <0x1000>;\n\t\tsize ="),
    "no word of what was checked": (CHECKED, ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_overlay_is_seen(how):
    source, (old, new) = package("tiny", "vivado")["pynq_z2.dtso"].decode(), BROKEN[how]
    assert old in source
    with pytest.raises(AssertionError):
        check(source.replace(old, new).encode(), BY_NAME["pynq_z2"], "tiny")


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed: apt install device-tree-compiler")
@pytest.mark.parametrize(
    "how", ["no end", "no semicolon", "no end of a string", "no end of cells", "no cell", "no overlay"]
)
def test_what_is_no_device_tree_does_not_compile_either(how):
    old, new = BROKEN[how]
    with pytest.raises(AssertionError):
        compile_with_dtc(package("tiny", "vivado")["pynq_z2.dtso"].decode().replace(old, new).encode())


def test_memory_that_is_too_small_is_seen():
    source = package("tiny", "vivado")["kv260.dtso"].decode()
    (size,) = device_tree.parse(source)["&amba"]["udmabuf0"]["size"]
    with pytest.raises(AssertionError):
        check(source.replace(f"<{size:#x}>", f"<{size - 4096:#x}>").encode(), BY_NAME["kv260"], "tiny")
