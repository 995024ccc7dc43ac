"""What of Vivado's our scripts may name, with its source: commands, options, properties, parts, pins, interfaces.

UG835: Vivado Design Suite Tcl Command Reference Guide.  UG912: Vivado Properties Reference Guide.  UG994: Designing IP
Subsystems Using IP Integrator.  PG082: Processing System 7.  PG164: Processor System Reset Module.  PG201: Zynq
UltraScale+ MPSoC Processing System.  PG247: SmartConnect.  A guide's page of a command has the command's name.
"""

COMMANDS = {
    "add_files": ("UG835", {"-norecurse"}),
    "apply_bd_automation": ("UG835", {"-rule", "-config"}),
    "assign_bd_address": ("UG835", {"-offset", "-range", "-target_address_space"}),
    "connect_bd_intf_net": ("UG835", set()),
    "connect_bd_net": ("UG835", set()),
    "create_bd_cell": ("UG835", {"-type", "-vlnv"}),
    "create_bd_design": ("UG835", set()),
    "create_project": ("UG835", {"-part"}),
    "current_fileset": ("UG835", set()),
    "current_project": ("UG835", set()),
    "generate_target": ("UG835", set()),
    "get_bd_addr_segs": ("UG835", {"-of_objects"}),
    "get_bd_addr_spaces": ("UG835", {"-of_objects"}),
    "get_bd_cells": ("UG835", set()),
    "get_bd_intf_pins": ("UG835", {"-quiet"}),
    "get_bd_pins": ("UG835", {"-quiet"}),
    "get_board_parts": ("UG835", {"-quiet"}),
    "get_files": ("UG835", set()),
    "get_ipdefs": ("UG835", set()),
    "get_property": ("UG835", set()),
    "get_runs": ("UG835", set()),
    "launch_runs": ("UG835", {"-jobs", "-to_step"}),
    "make_wrapper": ("UG835", {"-files", "-top"}),
    "save_bd_design": ("UG835", set()),
    "set_property": ("UG835", {"-dict"}),
    "update_compile_order": ("UG835", {"-fileset"}),
    "update_ip_catalog": ("UG835", set()),
    "validate_bd_design": ("UG835", set()),
    "wait_on_run": ("UG835", set()),
    "write_hw_platform": ("UG835", {"-fixed", "-include_bit", "-file"}),
}
"""Source, and the options that we use."""

PROPERTIES = {
    "board_part": "UG912, project",
    "ip_repo_paths": "UG912, project",
    "top": "UG912, fileset",
    "PROGRESS": "UG912, run",
    "STATUS": "UG912, run",
    "DIRECTORY": "UG912, run",
    "STATS.WNS": "UG912, run",
    "STATS.WHS": "UG912, run",
    "STATS.TPWS": "UG912, run",
    "STATS.FAILED_NETS": "UG912, run",
    "CONFIG.FREQ_HZ": "UG994, clocks of a block design",
    "CONFIG.NUM_SI": "PG247, user parameters",
    "CONFIG.NUM_MI": "PG247, user parameters",
    "CONFIG.PCW_USE_M_AXI_GP0": "PG082, user parameters",
    "CONFIG.PCW_USE_S_AXI_HP0": "PG082, user parameters",
    "CONFIG.PCW_S_AXI_HP0_DATA_WIDTH": "PG082, user parameters",
    "CONFIG.PCW_USE_FABRIC_INTERRUPT": "PG082, user parameters",
    "CONFIG.PCW_IRQ_F2P_INTR": "PG082, user parameters",
    "CONFIG.PCW_EN_CLK0_PORT": "PG082, user parameters",
    "CONFIG.PCW_EN_RST0_PORT": "PG082, user parameters",
    "CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ": "PG082, user parameters",
    "CONFIG.PSU__USE__M_AXI_GP0": "PG201, user parameters",
    "CONFIG.PSU__USE__M_AXI_GP1": "PG201, user parameters",
    "CONFIG.PSU__USE__M_AXI_GP2": "PG201, user parameters",
    "CONFIG.PSU__USE__S_AXI_GP2": "PG201, user parameters",
    "CONFIG.PSU__SAXIGP2__DATA_WIDTH": "PG201, user parameters",
    "CONFIG.PSU__USE__IRQ0": "PG201, user parameters",
    "CONFIG.PSU__FPGA_PL0_ENABLE": "PG201, user parameters",
    "CONFIG.PSU__USE__FABRIC__RST": "PG201, user parameters",
    "CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ": "PG201, user parameters",
}
PARTS = {
    "xc7z020clg400-1": "TUL PYNQ-Z2 board files, board.xml",
    "xck26-sfvc784-2LV-c": "UG1089, Kria KV260 Starter Kit User Guide; its board files",
    "xczu7ev-ffvc1156-2-e": "UG1267, ZCU104 Evaluation Board User Guide; its board files",
}
BOARDS = {
    "tul.com.tw:pynq-z2:part0": "TUL PYNQ-Z2 board files, board.xml",
    "xilinx.com:kv260_som:part0": "AMD's board store, boards/Xilinx/kv260_som",
    "xilinx.com:zcu104:part0": "AMD's board store, boards/Xilinx/zcu104",
}
RULES = {
    "xilinx.com:bd_rule:processing_system7": "UG994, block automation",
    "xilinx.com:bd_rule:zynq_ultra_ps_e": "UG994, block automation",
}
PINS = {
    "processing_system7": ("PG082, port descriptions", {
        "FCLK_CLK0", "FCLK_RESET0_N", "M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK", "IRQ_F2P",
    }),
    "zynq_ultra_ps_e": ("PG201, port descriptions", {
        "pl_clk0", "pl_resetn0", "maxihpm0_fpd_aclk", "saxihp0_fpd_aclk", "pl_ps_irq0",
    }),
    "proc_sys_reset": ("PG164, port descriptions", {
        "slowest_sync_clk", "ext_reset_in", "aux_reset_in", "mb_debug_sys_rst", "dcm_locked", "mb_reset",
        "bus_struct_reset", "peripheral_reset", "interconnect_aresetn", "peripheral_aresetn",
    }),
    "smartconnect": ("PG247, port descriptions", {"aclk", "aresetn"}),
}  # fmt: skip
BUSES = {
    "processing_system7": ("PG082, port descriptions", {"M_AXI_GP0", "S_AXI_HP0", "DDR", "FIXED_IO"}),
    "zynq_ultra_ps_e": ("PG201, port descriptions", {"M_AXI_HPM0_FPD", "S_AXI_HP0_FPD"}),
    "proc_sys_reset": ("PG164, port descriptions", set()),
    "smartconnect": ("PG247, port descriptions", {"S00_AXI", "M00_AXI"}),
}
"""Source, and what the IP has of them with our settings."""
