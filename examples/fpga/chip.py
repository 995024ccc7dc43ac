"""A chip around the engine, for measurements: its 460 port bits behind shift registers, five pins in all."""

from __future__ import annotations

import re

TOP = "chip"
MODULE = re.compile(r"^module systolith\((.*?)^endmodule", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", re.MULTILINE)


def around(verilog: str) -> str:
    """Verilog of module ``chip``: inputs of the engine come from the registers of one chain, outputs go to another's.

    So what is timed is the engine, from register to register.  Outputs called monitor are left open, as on a board.
    """
    found = MODULE.search(verilog)
    if found is None:
        raise ValueError("no module 'systolith' in the Verilog")
    ports = [(way, int(high or 0) + 1, name) for way, high, name in PORT.findall(found.group(1))]
    taken = [(width, name) for way, width, name in ports if way == "input" and name not in ("clk", "rst")]
    given = [(width, name) for way, width, name in ports if way == "output" and not name.startswith("monitor")]
    inputs, outputs = sum(width for width, _ in taken), sum(width for width, _ in given)
    lines = [
        f"module {TOP}(input clk, input rst, input shift_in, input load, output shift_out);",
        f"  reg [{inputs - 1}:0] taken;",
        f"  reg [{outputs - 1}:0] given;",
        f"  wire [{outputs - 1}:0] engine;",
        "  reg reset;",
        "  always @(posedge clk) begin",
        "    reset <= rst;",
        "    taken <= {taken, shift_in};",
        "    given <= load ? engine : {given, 1'b0};",
        "  end",
        f"  assign shift_out = given[{outputs - 1}];",
        "  systolith dut(.clk(clk), .rst(reset)",
    ]
    for chain, members in (("taken", taken), ("engine", given)):
        at = 0
        for width, name in members:
            lines.append(f"    , .{name}({chain}[{at + width - 1}:{at}])")
            at += width
    return "\n".join([*lines, "  );", "endmodule", ""])
