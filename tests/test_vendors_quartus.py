"""systolith_hw.tcl, run whole, with stubs for Platform Designer's commands, each on a list with its source."""

from __future__ import annotations

import pytest

from systolith.hw.isa.parameters import VERSION
from systolith.hw.vendors.words import CHECKED

from . import tcl
from .packages import BUILDS, black_box, hardware, package, ports
from .quartus_words import (
    COMMANDS,
    FILE_ATTRIBUTES,
    FILE_KINDS,
    FILESET,
    FILESETS,
    MODULE,
    PROPERTIES,
    ROLES,
)

pytestmark = pytest.mark.xdist_group("vendors")

ADDED = {"s_axil_awprot": ("in", 3), "s_axil_arprot": ("in", 3)}
"""Ports that Platform Designer wants of a slave, and the accelerator does without."""
KINDS = {
    "clk": "clock end",
    "rst": "reset end",
    "s_axil": "axi4lite end",
    "m_axi": "axi4 start",
    "interrupt": "interrupt end",
    "monitor": "conduit end",
}


def calls(script: bytes, folder) -> list[list[str]]:
    """What a component says, each command on the list and with as many arguments as it takes."""
    ran = tcl.run(script, "package provide qsys 23.1\n", folder)
    assert ran.error == ""
    for name, *words in ran.calls:
        assert name in COMMANDS, f"{name} is no command on the list"
        assert COMMANDS[name][1] in (None, len(words)), f"{name} {' '.join(words)}"
    return ran.calls


def check_files(said: list[list[str]], files: dict[str, bytes]) -> None:
    module = {key: value for name, key, value in (call for call in said if call[0] == "set_module_property")}
    assert set(module) == set(MODULE)
    assert (module["NAME"], module["VERSION"]) == ("systolith", f"{VERSION}.0")
    assert {call[2] for call in said if call[0] == "add_fileset"} == set(FILESETS)
    tops = [call[1:] for call in said if call[0] == "set_fileset_property"]
    assert [(key, top) for _, key, top in tops] == [(*FILESET, "systolith_quartus")] * 2
    added = [call[1:] for call in said if call[0] == "add_fileset_file"]
    assert [words[0] for words in added] == ["systolith_quartus.v", "systolith.v"] * 2
    for name, kind, path, source, *attributes in added:
        assert kind in FILE_KINDS
        assert (path, source) == ("PATH", name)
        assert name in files
        assert attributes == (list(FILE_ATTRIBUTES) if name == "systolith_quartus.v" else [])


def check(script: bytes, wrapper: bytes, name: str, folder) -> None:
    """Everything that the component says of the accelerator in build ``name`` is so."""
    for text in (script, wrapper):
        assert CHECKED in text.decode().splitlines()[1]
    files = package(name, "quartus")
    said = calls(script, folder)
    check_files(said, files)
    kinds = {call[1]: " ".join(call[2:]) for call in said if call[0] == "add_interface"}
    assert kinds == {n: kind for n, kind in KINDS.items() if n != "monitor" or name == "general"}
    properties: dict[str, dict[str, str]] = {name: {} for name in kinds}
    roles: dict[str, list[str]] = {name: [] for name in kinds}
    found = {}
    for command, interface, *words in said:
        if command == "set_interface_property":
            properties[interface][words[0]] = words[1]
        elif command == "add_interface_port":
            port, role, direction, width = words
            assert port not in found
            found[port] = ({"Input": "in", "Output": "out"}[direction], int(width))
            roles[interface].append(role)
            single = {"clk": "clk", "rst": "reset", "interrupt": "irq"}
            assert role == single.get(port, port.removeprefix(f"{interface}_")), port
    top = ports("systolith_quartus", wrapper, black_box("systolith", files["systolith.v"]))
    assert found == top == {**ports("systolith", files["systolith.v"]), **ADDED}
    for interface, kind in kinds.items():
        assert set(properties[interface]) == set(PROPERTIES[kind]), interface
        assert kind == "conduit end" or sorted(roles[interface]) == sorted(ROLES[kind][1]), interface
        assert properties[interface].get("associatedClock", "clk") == "clk"
        assert properties[interface].get("associatedReset", "rst") == "rst"
    assert properties["interrupt"]["associatedAddressablePoint"] == "s_axil"
    assert (properties["rst"]["synchronousEdges"], properties["clk"]["clockRate"]) == ("BOTH", "0")
    capabilities = {key: value for key, value in properties["m_axi"].items() if key.endswith("Capability")}
    assert [capabilities[f"{what}IssuingCapability"] for what in ("read", "write", "combined")] == ["16", "32", "48"]
    assert found["m_axi_wdata"] == ("out", 8 * hardware(name).parameters.bus_bytes)


@pytest.mark.parametrize("name", BUILDS)
def test_the_component_says_what_is_so(tmp_path, name):
    files = package(name, "quartus")
    check(files["systolith_hw.tcl"], files["systolith_quartus.v"], name, tmp_path)


def test_the_lists_name_what_is_used_and_no_more(tmp_path):
    said = calls(package("general", "quartus")["systolith_hw.tcl"], tmp_path)
    assert {call[0] for call in said} == set(COMMANDS)
    assert {" ".join(call[2:]) for call in said if call[0] == "add_interface"} == set(PROPERTIES)
    sources = [*MODULE.values(), *FILESETS.values(), *FILESET.values(), *FILE_KINDS.values(), *FILE_ATTRIBUTES.values()]
    sources += [source for table in PROPERTIES.values() for source in table.values()]
    sources += [source for table in (COMMANDS, ROLES) for source, _ in table.values()]
    assert all(source.startswith(("UG-20130, ", "MNL-AVABUSREF, ", "IHI 0022, ")) for source in sources)


BROKEN = {
    "no such command": ("add_interface clk clock end", "new_interface clk clock end"),
    "no such interface": ("m_axi axi4 start", "m_axi axi5 start"),
    "no such property": ("readIssuingCapability", "readCapability"),
    "no such role": ("m_axi_awaddr awaddr", "m_axi_awaddr address"),
    "a brace that is missing": ("SIM_VERILOG} {", "SIM_VERILOG} "),
    "a port of another width": ("m_axi_awaddr awaddr Output 40", "m_axi_awaddr awaddr Output 32"),
    "a port of another direction": ("s_axil_awaddr awaddr Input", "s_axil_awaddr awaddr Output"),
    "a port that is missing": ("add_interface_port m_axi m_axi_wlast wlast Output 1\n", ""),
    "a port that is twice there": (
        "add_interface_port clk clk clk Input 1\n",
        "add_interface_port clk clk clk Input 1\nadd_interface_port clk clk clk Input 1\n",
    ),
    "a reset that is low": ("rst rst reset Input", "rst rst reset_n Input"),
    "another clock": (
        "set_interface_property m_axi associatedClock clk",
        "set_interface_property m_axi associatedClock c",
    ),
    "an interrupt of nothing": ("associatedAddressablePoint s_axil", "associatedAddressablePoint m_axi"),
    "more in flight": ("readIssuingCapability 16", "readIssuingCapability 17"),
    "another top module": ("TOP_LEVEL systolith_quartus", "TOP_LEVEL systolith"),
    "a file that is not there": ("systolith.v VERILOG PATH systolith.v", "systolith.v VERILOG PATH ../systolith.v"),
    "no word of what was checked": (CHECKED, ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_component_is_seen(tmp_path, how):
    files, (old, new) = package("tiny", "quartus"), BROKEN[how]
    script = files["systolith_hw.tcl"].decode()
    assert old in script
    with pytest.raises(AssertionError):
        check(script.replace(old, new).encode(), files["systolith_quartus.v"], "tiny", tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    .m_axi_wlast(m_axi_wlast),\n", ""),
        ("  input rst,\n", "  input [1:0] rst,\n"),
        (".rst(rst)", ".reset(rst)"),
        ("endmodule", ""),
        ("  input [2:0] s_axil_awprot,\n", ""),
    ],
)
def test_a_broken_top_module_is_seen(tmp_path, old, new):
    files = package("tiny", "quartus")
    wrapper = files["systolith_quartus.v"].decode()
    assert old in wrapper
    with pytest.raises(AssertionError):
        check(files["systolith_hw.tcl"], wrapper.replace(old, new).encode(), "tiny", tmp_path)
