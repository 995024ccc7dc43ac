"""The emitted Verilog: the same bytes from the same parameters, in any process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
from systolith.sim.toolchain import environment

SCRIPT = """
import hashlib
from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
text = emit_verilog(Parameters(rows=3, columns=2, activation_kib=1, accumulator_kib=1, weight_fifo_kib=1))
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_same_parameters_give_the_same_bytes_in_another_process():
    digests = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        digests.add(result.stdout)
    assert len(digests) == 1


SMALL = {"rows": 2, "columns": 4, "activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
FEATURES = {
    "plain": {},
    "operands": {"operands": True},
    "tables": {"operands": True, "tables": True},
    "normalization": {"operands": True, "tables": True, "normalization": 3},
}


PORTS = """
input clk rst
input s_axil_awvalid s_axil_wvalid s_axil_bready s_axil_arvalid s_axil_rready
input[8] s_axil_awaddr s_axil_araddr
input[32] s_axil_wdata
input[4] s_axil_wstrb
output s_axil_awready s_axil_wready s_axil_bvalid s_axil_arready s_axil_rvalid
output[2] s_axil_bresp s_axil_rresp
output[32] s_axil_rdata
output m_axi_arid m_axi_arvalid m_axi_rready m_axi_awid m_axi_awvalid m_axi_wlast m_axi_wvalid m_axi_bready
output m_axi_arlock m_axi_awlock
output[40] m_axi_araddr m_axi_awaddr
output[8] m_axi_arlen m_axi_awlen
output[3] m_axi_arsize m_axi_awsize m_axi_arprot m_axi_awprot
output[4] m_axi_arcache m_axi_awcache m_axi_arqos m_axi_awqos
output[2] m_axi_arburst m_axi_awburst
output[128] m_axi_wdata
output[16] m_axi_wstrb
input m_axi_arready m_axi_rid m_axi_rlast m_axi_rvalid m_axi_awready m_axi_wready m_axi_bid m_axi_bvalid
input[128] m_axi_rdata
input[2] m_axi_rresp m_axi_bresp
output interrupt
"""
"""Of the top module: direction, width in bits, names.  Whoever instantiates it relies on them."""

MONITOR = """
output monitor_valid
output[32] monitor_address
output[16] monitor_count
output[64] monitor_data
"""
"""Those that only `--monitor` adds."""


def top_module(monitor):
    """The top module, with attributes of AXI that are not the usual ones."""
    attributes = {"axi_protection": 0b010, "axi_cache": 0b1111, "axi_quality": 5}
    text = emit_verilog(Parameters(**{**SMALL, "columns": 5}, bus_bytes=16, **attributes), monitor=monitor)
    return re.search(r"^module systolith\(.*?^endmodule", text, re.MULTILINE | re.DOTALL).group()


@pytest.fixture(scope="module")
def top():
    return top_module(False)


def test_every_access_has_the_attributes_that_were_asked_for(top):
    constants = dict(re.findall(r"^  assign (m_axi_a[rw]\w+) = (\d+'h\w+);", top, re.MULTILINE))
    expected = {"prot": "3'h2", "cache": "4'hf", "qos": "4'h5", "lock": "1'h0"}
    expected |= {"id": "1'h0", "size": "3'h4", "burst": "2'h1"}
    wanted = {f"m_axi_{channel}{name}": value for channel in ("ar", "aw") for name, value in expected.items()}
    assert {name: value for name, value in constants.items() if not name.endswith("len")} == wanted


def test_ports_say_to_packagers_what_they_are(top):
    """Clock, reset, interrupt and each signal of both buses, once; each interface's parameters once."""
    info = r'^  \(\* X_INTERFACE_INFO = "xilinx.com:(\S+) (\w+) (\w+)" \*\)\n(.*?);'
    said = re.findall(info, top, re.MULTILINE | re.DOTALL)
    ports = {port.split()[-1]: (kind, interface, signal) for kind, interface, signal, port in said}
    every = re.findall(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);", top, re.MULTILINE)
    assert {*ports} == {name for name in every if not name.startswith("monitor_")}
    assert len(said) == len(ports)
    assert ports.pop("clk") == ("signal:clock:1.0", "clk", "CLK")
    assert ports.pop("rst") == ("signal:reset:1.0", "rst", "RST")
    assert ports.pop("interrupt") == ("signal:interrupt:1.0", "interrupt", "INTERRUPT")
    for name, found in ports.items():
        bus, signal = re.fullmatch(r"(s_axil|m_axi)_(\w+)", name).groups()
        assert found == ("interface:aximm:1.0", bus, signal.upper())
    assert sorted(re.findall(r'X_INTERFACE_PARAMETER = "XIL_INTERFACENAME (.*?)"', top)) == [
        "clk, ASSOCIATED_BUSIF s_axil:m_axi, ASSOCIATED_RESET rst",
        "interrupt, SENSITIVITY LEVEL_HIGH",
        "m_axi, PROTOCOL AXI4, SUPPORTS_NARROW_BURST 0, HAS_REGION 0",
        "rst, POLARITY ACTIVE_HIGH",
        "s_axil, PROTOCOL AXI4LITE",
    ]


@pytest.mark.parametrize("monitor", [False, True])
def test_ports_keep_their_names(monitor):
    top = top_module(monitor)
    found = {
        (name, direction, int(high or 0) + 1)
        for direction, high, name in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", top, re.MULTILINE)
    }
    expected = set()
    for line in (PORTS + MONITOR * monitor).split("\n"):
        if not line:
            continue
        direction, width, names = re.match(r"(\w+)(?:\[(\d+)\])? (.*)", line).groups()
        expected |= {(name, direction, int(width or 1)) for name in names.split()}
    assert found == expected


@pytest.fixture(scope="module", params=FEATURES.values(), ids=[*FEATURES])
def text(request):
    return emit_verilog(Parameters(**SMALL, **request.param))


def test_the_file_is_plain_verilog(text):
    assert "module systolith(" in text
    assert text.isascii()
    for word in ("(* src", "/home", "/work", "always_comb", "$print", "SB_", "MULT18"):
        assert word not in text


def test_nothing_is_there_that_a_synthesizer_would_have_to_undo(text):
    for pattern in (
        r"\binitial\b(?! )",
        r"\binitial begin",
        r"\[-1:0\]",
        r"\breg \\\$auto\$",
        r"^  reg .*\];\n  integer",
    ):
        assert not re.search(pattern, text, re.MULTILINE), pattern


EXPLAINED = {"DECLFILENAME", "PROCASSINIT", "SYMRSVDWORD", "UNSIGNED", "UNUSEDSIGNAL", "WIDTHEXPAND"}
"""What a linter may find: docs/verification.md says why each is meant."""


def test_a_linter_finds_only_what_is_explained(text, tmp_path):
    (tmp_path / "systolith.v").write_text(text)
    options = ["--lint-only", "-Wall", "-Wno-fatal", "--top-module", "systolith", "systolith.v"]
    with environment("verilator", tmp_path):
        said = subprocess.run(["verilator", *options], cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    found = set(re.findall(r"^%\w+-(\w+)", said, re.MULTILINE))
    assert {"UNUSEDSIGNAL", "WIDTHEXPAND"} <= found <= EXPLAINED
    explanations = (Path(__file__).parent.parent / "docs" / "verification.md").read_text()
    assert all(f"`{kind}`" in explanations for kind in EXPLAINED)


def test_what_a_network_does_not_need_takes_no_memory():
    """Table memories are there with tables alone; so accelerators without branches stay as small as they were."""
    memories = {}
    for name, features in FEATURES.items():
        text = emit_verilog(Parameters(**SMALL, **features))
        memories[name] = len(re.findall(r"^  reg \[\d+:0\] .*\[\d+:0\];$", text, re.MULTILINE))
    assert memories["plain"] == memories["operands"]
    assert memories["tables"] == memories["normalization"] == memories["plain"] + 2
