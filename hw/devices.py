"""FPGAs by name, and what is in them."""

from dataclasses import dataclass

from ..quant.graph.errors import ConfigurationError
from .isa.parameters import Target


@dataclass(frozen=True)
class Device:
    """What a part has, in its family's own units.

    luts, registers : LUT4 and flip-flops, on Xilinx LUT6
    multipliers : MULT18X18D, SB_MAC16, 18 x 18 bits of Gowin, DSP48
    block_rams : DP16KD of 18 Kbit, SB_RAM40_4K, BSRAM of 18 Kbit, RAMB36
    """

    target: Target
    luts: int
    registers: int
    multipliers: int
    block_rams: int


DEVICES = {
    # Lattice FPGA-DS-02012, ECP5 and ECP5-5G family data sheet, table 1.1
    "lfe5u-12f": Device("ecp5", 12_000, 12_000, 28, 32),
    "lfe5u-25f": Device("ecp5", 24_288, 24_288, 28, 56),
    "lfe5u-45f": Device("ecp5", 43_848, 43_848, 72, 108),
    "lfe5um-45f": Device("ecp5", 43_848, 43_848, 72, 108),
    "lfe5um5g-45f": Device("ecp5", 43_848, 43_848, 72, 108),
    "lfe5u-85f": Device("ecp5", 83_640, 83_640, 156, 208),
    "lfe5um5g-85f": Device("ecp5", 83_640, 83_640, 156, 208),
    # Lattice FPGA-DS-02008, iCE40 UltraPlus family data sheet, table 1.1
    "ice40up3k": Device("ice40", 2_800, 2_800, 4, 20),
    "ice40up5k": Device("ice40", 5_280, 5_280, 8, 30),
    # Gowin DS100, DS117, DS821 (GW1N, GW1NR, GW1NSR) and DS102 (GW2A) data sheets, product resources
    "gw1n-1": Device("gowin", 1_152, 864, 0, 4),
    "gw1nz-1": Device("gowin", 1_152, 864, 0, 4),
    "gw1nsr-4": Device("gowin", 4_608, 3_456, 16, 10),
    "gw1nr-9": Device("gowin", 8_640, 6_480, 20, 26),
    "gw2a-18": Device("gowin", 20_736, 15_552, 48, 46),
    # AMD DS180 (7 series), DS190 (Zynq-7000) and DS891 (Zynq UltraScale+) overviews
    "xc7a35t": Device("xilinx", 20_800, 41_600, 90, 50),
    "xc7a100t": Device("xilinx", 63_400, 126_800, 240, 135),
    "xc7z020": Device("xilinx", 53_200, 106_400, 220, 140),
    "zu3eg": Device("xilinx", 70_560, 141_120, 360, 216),
    "zu5ev": Device("xilinx", 117_120, 234_240, 1_248, 144),
}
"""Parts of the ECP5, iCE40 UltraPlus and Gowin boards of amaranth-boards; of Arty, Zybo Z7-20, Ultra96 and Kria K26."""

MULTIPLIERS = {
    target: max(device.multipliers for device in DEVICES.values() if device.target == target)
    for target in ("ecp5", "ice40", "gowin", "xilinx")
}
"""Of the largest part of a family."""


def device(name: str) -> Device:
    """The part called ``name``.  Raises ConfigurationError listing those that are known."""
    if name not in DEVICES:
        raise ConfigurationError(f"device '{name}' is not known; known are {', '.join(DEVICES)}")
    return DEVICES[name]
