"""Boards whose processor and memory the vendor's tool knows, and how the accelerator is wired to them.

Sources: AMD UG585 and UG1085 (addresses and interrupts of Zynq-7000 and Zynq UltraScale+), PG082 and PG201 (the
properties and pins of their processing systems), Linux's zynq-7000.dtsi and zynqmp.dtsi (labels, numbers of clocks).
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Processor:
    """The processing system of a family of parts.

    ip, rule, preset : its IP, the rule that sets it up, and what that is told
    settings : properties of the IP;  clock_setting : the one that holds the clock's MHz
    clock, reset, interrupt : its pins;  control, data : its AXI interfaces, each with its clock's pin
    data_bits : of the port to memory.  It is the width after reset, so that nobody needs to set it before a run
    registers : byte address at which the processor sees the accelerator
    cells : 32-bit cells of an address in its device tree
    interrupt_controller, interrupt_number, clock_controller : labels, and the shared peripheral interrupt's number
    clock_number : of the clock, at its controller
    """

    ip: str
    rule: str
    preset: str
    settings: Mapping[str, int]
    clock_setting: str
    clock: str
    reset: str
    interrupt: str
    control: str
    control_clock: str
    data: str
    data_clock: str
    data_bits: int
    registers: int
    cells: int
    interrupt_controller: str
    interrupt_number: int
    clock_controller: str
    clock_number: int


ZYNQ_7000 = Processor(
    ip="xilinx.com:ip:processing_system7",
    rule="xilinx.com:bd_rule:processing_system7",
    preset='make_external "FIXED_IO, DDR" apply_board_preset "1" Master "Disable" Slave "Disable"',
    settings={
        "PCW_USE_M_AXI_GP0": 1,
        "PCW_USE_S_AXI_HP0": 1,
        "PCW_S_AXI_HP0_DATA_WIDTH": 64,
        "PCW_USE_FABRIC_INTERRUPT": 1,
        "PCW_IRQ_F2P_INTR": 1,
        "PCW_EN_CLK0_PORT": 1,
        "PCW_EN_RST0_PORT": 1,
    },
    clock_setting="PCW_FPGA0_PERIPHERAL_FREQMHZ",
    clock="FCLK_CLK0",
    reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    control="M_AXI_GP0",
    control_clock="M_AXI_GP0_ACLK",
    data="S_AXI_HP0",
    data_clock="S_AXI_HP0_ACLK",
    data_bits=64,
    registers=0x4000_0000,
    cells=1,
    interrupt_controller="intc",
    interrupt_number=29,  # IRQ_F2P[0] is ID 61
    clock_controller="clkc",
    clock_number=15,
)
ZYNQ_ULTRASCALE = Processor(
    ip="xilinx.com:ip:zynq_ultra_ps_e",
    rule="xilinx.com:bd_rule:zynq_ultra_ps_e",
    preset='apply_board_preset "1"',
    settings={
        "PSU__USE__M_AXI_GP0": 1,
        "PSU__USE__M_AXI_GP1": 0,
        "PSU__USE__M_AXI_GP2": 0,
        "PSU__USE__S_AXI_GP2": 1,
        "PSU__SAXIGP2__DATA_WIDTH": 128,
        "PSU__USE__IRQ0": 1,
        "PSU__FPGA_PL0_ENABLE": 1,
        "PSU__USE__FABRIC__RST": 1,
    },
    clock_setting="PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
    clock="pl_clk0",
    reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    control="M_AXI_HPM0_FPD",
    control_clock="maxihpm0_fpd_aclk",
    data="S_AXI_HP0_FPD",
    data_clock="saxihp0_fpd_aclk",
    data_bits=128,
    registers=0xA000_0000,
    cells=2,
    interrupt_controller="gic",
    interrupt_number=89,  # pl_ps_irq0[0] is ID 121
    clock_controller="zynqmp_clk",
    clock_number=71,
)


@dataclass(frozen=True)
class Board:
    """A board.

    name : of its files;  part, board_part : as Vivado calls the chip, and the board without a version
    """

    name: str
    title: str
    part: str
    board_part: str
    processor: Processor


BOARDS = (
    Board("pynq_z2", "TUL PYNQ-Z2", "xc7z020clg400-1", "tul.com.tw:pynq-z2:part0", ZYNQ_7000),
    Board("kv260", "AMD Kria KV260", "xck26-sfvc784-2LV-c", "xilinx.com:kv260_som:part0", ZYNQ_ULTRASCALE),
    Board("zcu104", "AMD ZCU104", "xczu7ev-ffvc1156-2-e", "xilinx.com:zcu104:part0", ZYNQ_ULTRASCALE),
)
