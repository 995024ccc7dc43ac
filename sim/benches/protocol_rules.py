"""The rules that axi_checker.sv watches, by the code that it latches."""

BURST = {
    2: "is not an INCR burst",
    3: "is not of full bus width",
    4: "has more than 16 beats",
    5: "crosses a 4 KiB boundary",
    6: "is not aligned to the bus",
    7: "leaves the accelerator's memory",
}
RULES = {
    8: "wlast does not mark the last beat of its write burst",
    9: "more than 16 beats of write data without wlast",
    10: "arvalid dropped before arready",
    11: "a read address changed while it waited for arready",
    12: "awvalid dropped before awready",
    13: "a write address changed while it waited for awready",
    14: "wvalid dropped before wready",
    15: "write data changed while it waited for wready",
    **{code + 16: f"a read burst {text}" for code, text in BURST.items()},
    **{code + 32: f"a write burst {text}" for code, text in BURST.items()},
}


def broken_rule(code: int, cycle: int, address: int) -> str:
    """One line for the latched violation."""
    where = f" at address {address:#x}" if address else ""
    return f"the AXI4 master broke a rule in cycle {cycle}{where}: {RULES.get(code, f'code {code}')}"
