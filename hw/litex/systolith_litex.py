"""Systolith in a LiteX SoC: registers on the SoC's bus, memory through a port of LiteDRAM of its own, an interrupt.

Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.

    from systolith_litex import add_systolith

    add_systolith(soc)  # a SoC with LiteDRAM, before it is built

C finds the registers at ACCELERATOR_BASE (generated/mem.h), the interrupt as ACCELERATOR_INTERRUPT (generated/soc.h)
and accelerator_ev_* (generated/csr.h).
"""

import re
from pathlib import Path

from litedram.frontend.axi import LiteDRAMAXI2Native
from litex.build.sim import SimPlatform
from litex.gen import LiteXModule
from litex.soc.integration.soc import SoCRegion
from litex.soc.interconnect.axi import AXIInterface, AXILiteInterface
from litex.soc.interconnect.csr_eventmanager import EventManager, EventSourceProcess
from migen import ClockSignal, Instance, ResetSignal

HERE = Path(__file__).resolve().parent
NAME = "accelerator"
"""Of registers, events and interrupt in C: `systolith` would clash with names of systolith.h."""
ADDRESS_BITS = 8
"""Of a register's address, in bytes."""
BUSES = (4, 8, 16, 32, 64)
"""Bytes that --bus-bytes takes."""
BEATS = 16
"""That are buffered between LiteDRAM and the accelerator, each way."""

_AXI = {
    "aw": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "w": ("data", "strb", "last"),
    "b": ("id", "resp"),
    "ar": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
    "r": ("id", "data", "resp", "last"),
}
_LITE = {"aw": (), "w": ("data", "strb"), "b": ("resp",), "ar": (), "r": ("data", "resp")}
_ANSWERS = ("b", "r")


class SystolithError(ValueError):
    """The accelerator does not fit the SoC; one line says why and what would."""


class Systolith(LiteXModule):
    """The accelerator of systolith.v.

    registers : AXI-Lite, 32 bits;  memory : AXI4, ``bus_bytes`` wide;  ev.run : a run has ended, done or with an error

    platform : takes systolith.v;  port : of LiteDRAM, native, as wide as the bus;  origin : address of its first byte
    folder : where systolith.v is, and the models of FPGA blocks that a simulation needs

    Raises SystolithError where ``port`` is narrower or wider than the bus.
    """

    def __init__(self, platform, port, origin, folder=HERE):
        self.bus_bytes = bus_bytes(folder)
        check_width(port.data_width, self.bus_bytes)
        self.registers = AXILiteInterface(data_width=32, address_width=32)
        self.memory = AXIInterface(data_width=8 * self.bus_bytes, address_width=40, id_width=1)
        self.ev = EventManager()
        self.ev.run = EventSourceProcess(edge="rising")
        self.ev.finalize()

        self.dram = LiteDRAMAXI2Native(
            self.memory, port, w_buffer_depth=BEATS, r_buffer_depth=BEATS, base_address=origin
        )
        simulated = isinstance(platform, SimPlatform)
        for source in sorted(folder.glob("*.v")) if simulated else [folder / "systolith.v"]:
            platform.add_source(str(source))
        self.specials += Instance(
            "systolith",
            i_clk=ClockSignal("sys"),
            i_rst=ResetSignal("sys"),
            o_interrupt=self.ev.run.trigger,
            i_s_axil_awaddr=self.registers.aw.addr[:ADDRESS_BITS],
            i_s_axil_araddr=self.registers.ar.addr[:ADDRESS_BITS],
            **_wired("s_axil", self.registers, _LITE, master=False),
            **_wired("m_axi", self.memory, _AXI, master=True),
        )


def add_systolith(soc, folder=HERE):
    """Add the accelerator to ``soc``, whose DRAM it shares with the processor, and return it.

    Raises SystolithError where there is no LiteDRAM, or none with a port as wide as the accelerator's bus.
    """
    if not hasattr(soc, "sdram") or "main_ram" not in soc.bus.regions:
        raise SystolithError("this SoC has no DRAM of LiteDRAM, which the accelerator needs; give its target one")
    port = soc.sdram.crossbar.get_port()
    module = Systolith(soc.platform, port, soc.bus.regions["main_ram"].origin, folder)
    soc.add_module(name=NAME, module=module)
    soc.bus.add_slave(name=NAME, slave=module.registers, region=SoCRegion(size=1 << ADDRESS_BITS, cached=False))
    if soc.irq.enabled:
        soc.irq.add(NAME, use_loc_if_exists=True)
    return module


def bus_bytes(folder):
    """Of the accelerator's memory bus, as its Verilog says."""
    found = re.search(r"^  input \[(\d+):0\] m_axi_rdata;$", (folder / "systolith.v").read_text(), re.MULTILINE)
    if not found:
        raise SystolithError(f"{folder / 'systolith.v'} has no port m_axi_rdata: it is not what `systolith` wrote")
    return (int(found[1]) + 1) // 8


def check_width(port_bits, bytes_of_bus):
    """Raises SystolithError unless a native port of ``port_bits`` is as wide as the accelerator's bus.

    A converter between both would be a second path that nobody checked, and splits or loses bursts.
    """
    if port_bits != 8 * bytes_of_bus:
        fits = port_bits % 8 == 0 and port_bits // 8 in BUSES
        what = (
            f"generate the accelerator with --bus-bytes {port_bits // 8}" if fits else "no accelerator has such a bus"
        )
        raise SystolithError(f"this DRAM's port has {port_bits} bits, the accelerator's bus {8 * bytes_of_bus}; {what}")


def _wired(prefix, bus, channels, master):
    """The ports ``prefix``_* of the instance, joined to ``bus``."""
    made = {}
    for channel, names in channels.items():
        endpoint = getattr(bus, channel)
        forward = "o" if master != (channel in _ANSWERS) else "i"
        for name in (*names, "valid"):
            made[f"{forward}_{prefix}_{channel}{name}"] = getattr(endpoint, name)
        made[f"{'i' if forward == 'o' else 'o'}_{prefix}_{channel}ready"] = endpoint.ready
    return made
