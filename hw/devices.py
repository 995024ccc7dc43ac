"""FPGAs by name, and what is in them."""

from dataclasses import dataclass

from ..quant.graph.errors import ConfigurationError
from .isa.target import Target


@dataclass(frozen=True)
class Device:
    """What a part has, in its family's own units.

    luts, registers : LUT4 and flip-flops, on Xilinx LUT6
    multipliers : MULT18X18D, SB_MAC16, 18 x 18 bits of Gowin, DSP48
    block_rams : DP16KD of 18 Kbit, SB_RAM40_4K, BSRAM of 18 Kbit, RAMB36
    """

    name: str
    target: Target
    luts: int
    registers: int
    multipliers: int
    block_rams: int


_PARTS = (
    # Lattice FPGA-DS-02012, ECP5 and ECP5-5G family data sheet, table 1.1
    Device("lfe5u-12f", "ecp5", 12_000, 12_000, 28, 32),
    Device("lfe5u-25f", "ecp5", 24_288, 24_288, 28, 56),
    Device("lfe5u-45f", "ecp5", 43_848, 43_848, 72, 108),
    Device("lfe5um-45f", "ecp5", 43_848, 43_848, 72, 108),
    Device("lfe5um5g-45f", "ecp5", 43_848, 43_848, 72, 108),
    Device("lfe5u-85f", "ecp5", 83_640, 83_640, 156, 208),
    Device("lfe5um5g-85f", "ecp5", 83_640, 83_640, 156, 208),
    # Lattice FPGA-DS-02008, iCE40 UltraPlus family data sheet, table 1.1
    Device("ice40up3k", "ice40", 2_800, 2_800, 4, 20),
    Device("ice40up5k", "ice40", 5_280, 5_280, 8, 30),
    # Gowin DS100, DS117, DS821 (GW1N, GW1NR, GW1NSR) and DS102 (GW2A) data sheets, product resources
    Device("gw1n-1", "gowin", 1_152, 864, 0, 4),
    Device("gw1nz-1", "gowin", 1_152, 864, 0, 4),
    Device("gw1nsr-4", "gowin", 4_608, 3_456, 16, 10),
    Device("gw1nr-9", "gowin", 8_640, 6_480, 20, 26),
    Device("gw2a-18", "gowin", 20_736, 15_552, 48, 46),
    # AMD DS180 (7 series), DS190 (Zynq-7000) and DS891 (Zynq UltraScale+) overviews
    Device("xc7a35t", "xilinx", 20_800, 41_600, 90, 50),
    Device("xc7a100t", "xilinx", 63_400, 126_800, 240, 135),
    Device("xc7z020", "xilinx", 53_200, 106_400, 220, 140),
    Device("zu3eg", "xilinx", 70_560, 141_120, 360, 216),
    Device("zu5ev", "xilinx", 117_120, 234_240, 1_248, 144),
)
"""Parts of the ECP5, iCE40 UltraPlus and Gowin boards of amaranth-boards; of Arty, Zybo Z7-20, Ultra96 and Kria K26."""

DEVICES = {part.name: part for part in _PARTS}

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
