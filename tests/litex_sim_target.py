"""A target as litex-boards has them, of LiteX's simulation platform: VexRiscv, LiteDRAM on a model of chips, a UART.

``main()`` writes Verilog, its memories' contents and sources.json, a list of all Verilog files.  The SoC boots from its
DRAM's first bytes, which --content gives.
"""

import argparse
import json
from pathlib import Path

from litedram import modules
from litedram.phy.model import SDRAMPHYModel, sdram_module_nphases
from litex.build.generic_platform import Pins, Subsignal
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.build.sim.config import SimConfig
from litex.soc.integration.builder import Builder
from litex.soc.integration.common import get_mem_data
from litex.soc.integration.soc_core import SoCCore

CLOCK = 100_000_000
"""Hz: what the DRAM's times are counted in."""
STREAM = (("valid", 1), ("ready", 1), ("data", 8))
IO = [
    ("sys_clk", 0, Pins(1)),
    ("serial", 0, *(Subsignal(f"{way}_{name}", Pins(bits)) for way in ("source", "sink") for name, bits in STREAM)),
    ("memory", 0, *(Subsignal(name, Pins(1)) for name in ("asked", "came", "last"))),
]


class BaseSoC(SoCCore):
    """VexRiscv with DRAM of ``chip`` at ``width`` data pins behind LiteX's second cache, of ``cache`` bytes.

    content : a file that the DRAM begins with
    """

    def __init__(self, chip, width, cache, content):
        platform = SimPlatform("SIM", IO)
        self.crg = CRG(platform.request("sys_clk"))
        rom = {"integrated_rom_size": 0x10000, "uart_name": "sim", "cpu_type": "vexriscv"}
        SoCCore.__init__(self, platform, clk_freq=CLOCK, ident="Systolith in LiteX's simulator", **rom)
        kind = getattr(modules, chip)
        module = kind(CLOCK, f"1:{sdram_module_nphases[kind.memtype]}")
        init = get_mem_data(content, data_width=32, endianness="little") if content else []
        self.sdrphy = SDRAMPHYModel(module, data_width=width, clk_freq=CLOCK, init=init)
        self.add_sdram("sdram", phy=self.sdrphy, module=module, l2_cache_size=cache)
        for name, value in {"SDRAM_TEST_DISABLE": None, "ROM_BOOT_ADDRESS": self.mem_map["main_ram"]}.items():
            self.add_constant(name, value)
        for name in ("BIOS_NO_PROMPT", "BIOS_NO_DELAYS", "BIOS_NO_CRC"):
            self.add_config(name)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chip", default="MT48LC16M16")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--cache", type=int, default=8192)
    parser.add_argument("--content", default="")
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    soc = BaseSoC(options.chip, options.width, options.cache, options.content)
    probe, bus = soc.platform.request("memory"), soc.accelerator.memory
    soc.comb += probe.asked.eq(bus.ar.valid & bus.ar.ready)
    soc.comb += [probe.came.eq(bus.r.valid & bus.r.ready), probe.last.eq(bus.r.last)]
    config = SimConfig()
    config.add_clocker("sys_clk", freq_hz=CLOCK)
    config.add_module("serial2console", "serial")
    Builder(soc, output_dir=options.output).build(sim_config=config, run=False, interactive=False)
    gateware = Path(options.output, "gateware").resolve()
    sources = [str((gateware / name).resolve()) for name, *_ in soc.platform.sources if Path(name).suffix == ".v"]
    (gateware / "sources.json").write_text(json.dumps(sources))


if __name__ == "__main__":
    main()
