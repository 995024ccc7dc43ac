"""The scripts for Vivado, run whole, with stubs for its commands, each of which is on a list with its source."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import pytest

from systolith.hw.vendors.boards import BOARDS, ZYNQ_7000, Board
from systolith.hw.vendors.component import SPIRIT
from systolith.hw.vendors.vivado import OVERLAYS, SCRIPTS
from systolith.hw.vendors.words import CHECKED, VLNV

from . import tcl, vivado_words
from .packages import package
from .vivado_words import BUSES, COMMANDS, PARTS, PINS, PROPERTIES, RULES

pytestmark = pytest.mark.xdist_group("vendors")

BY_NAME = {board.name: board for board in BOARDS}
STUBS = (Path(__file__).parent / "data" / "vivado.tcl").read_text()
GOOD = {
    "PROGRESS": "100%",
    "STATUS": "write_bitstream Complete!",
    "STATS.WNS": "0.113",
    "STATS.WHS": "0.010",
    "STATS.TPWS": "0.000",
    "STATS.FAILED_NETS": "0",
    "CONFIG.FREQ_HZ": "124998749",
    "get_bd_addr_segs": "segment",
    "missing": "",
    "boards": "1",
    "described": "gen",
}
"""What Vivado says where all is well, at the 125 MHz of these packages; see data/vivado.tcl."""


def own(kind: str) -> set[str]:
    """Names of the component's interfaces that are ``buses``, or of the ports of its others, which are ``pins``."""
    component, names = ElementTree.fromstring(package("tiny", "vivado")["component.xml"]), {"spirit": SPIRIT}
    found: dict[str, set[str]] = {"pins": set(), "buses": set()}
    for bus in component.iterfind(".//spirit:busInterface", names):
        ports = [port.text or "" for port in bus.iterfind(".//spirit:physicalPort/spirit:name", names)]
        if len(ports) == 1:
            found["pins"].add(ports[0])
        else:
            found["buses"].add(bus.findtext("spirit:name", "", names))
    return found[kind]


def run(script: bytes, folder: Path, changes: Mapping[str, str] = MappingProxyType({})) -> tcl.Ran:
    """Run a script where Vivado says what GOOD says, but for ``changes``."""
    folder.mkdir(parents=True, exist_ok=True)
    answers = "namespace eval ::stub {}\n" + tcl.array("::stub::is", {**GOOD, **changes})
    for kind, table in (("pins", PINS), ("buses", BUSES)):
        named = {ip: " ".join(sorted(names)) for ip, (_, names) in table.items()}
        answers += tcl.array(f"::stub::{kind}", {**named, "systolith": " ".join(sorted(own(kind)))})
    return tcl.run(script, answers + STUBS, folder)


def settings(call: list[str]) -> dict[str, str]:
    """What a call of set_property sets."""
    if call[1] == "-dict":
        words = call[2].split()
        return dict(zip(words[::2], words[1::2], strict=True))
    return {call[1]: call[2]}


def check_words(calls: list[list[str]]) -> None:
    """Each command, option and property of ``calls`` is on the list."""
    for name, *words in calls:
        assert name in COMMANDS, f"{name} is no command on the list"
        options = {word for word in words if re.match(r"-[a-z]", word)}
        assert options <= COMMANDS[name][1], f"{name} {' '.join(words)}"
        named = settings([name, *words]) if name == "set_property" else [words[0]] if name == "get_property" else []
        assert set(named) <= set(PROPERTIES), f"{name} {' '.join(words)}"
        if name == "create_project":
            assert words[words.index("-part") + 1] in PARTS
        if name == "apply_bd_automation":
            assert words[words.index("-rule") + 1] in RULES


def check_design(calls: list[list[str]], board: Board) -> None:
    """The block design is whole: clock, reset, interrupt, both buses, and the registers where the overlay has them."""
    cells, driven, joined = {}, {}, set()
    for name, *words in calls:
        if name == "create_bd_cell":
            cells[words[-1]] = words[words.index("-vlnv") + 1]
        elif name == "connect_bd_net":
            assert words[1] not in driven, f"{words[1]} is driven twice"
            driven[words[1]] = words[0]
        elif name == "connect_bd_intf_net":
            joined.add(tuple(words))
    ps = board.processor
    assert cells["systolith"] == VLNV
    assert cells["ps"] == f"{ps.ip}:10.0", "the newest version is 10.0, not 2.0"
    clocks = [f"ps/{ps.control_clock}", f"ps/{ps.data_clock}", "reset/slowest_sync_clk", "control/aclk", "data/aclk"]
    wanted = {f"/{pin}": f"/ps/{ps.clock}" for pin in [*clocks, "systolith/clk"]}
    wanted |= {f"/{pin}": "/reset/peripheral_aresetn" for pin in ("control/aresetn", "data/aresetn")}
    wanted |= {"/systolith/rst": "/reset/peripheral_reset", "/reset/ext_reset_in": f"/ps/{ps.reset}"}
    assert driven == {**wanted, f"/ps/{ps.interrupt}": "/systolith/interrupt"}
    assert joined == {
        (f"/ps/{ps.control}", "/control/S00_AXI"),
        ("/control/M00_AXI", "/systolith/s_axil"),
        ("/systolith/m_axi", "/data/S00_AXI"),
        ("/data/M00_AXI", f"/ps/{ps.data}"),
    }
    told, *rest = [words for name, *words in calls if name == "assign_bd_address"]
    overlay = package("tiny", "vivado")[OVERLAYS[board.name]].decode()
    (address,) = re.findall(r"systolith@([0-9a-f]+) \{", overlay)
    assert int(told[told.index("-offset") + 1], 16) == int(address, 16)
    assert rest == [[]], "what is left is assigned too"
    set_up = [settings([name, *words]) for name, *words in calls if name == "set_property"]
    clock = [value for found in set_up for key, value in found.items() if key == f"CONFIG.{ps.clock_setting}"]
    (rate,) = re.findall(r"assigned-clock-rates = <(\d+)>", overlay)
    assert clock == ["125"]
    assert int(rate) == 125_000_000
    assert {"ip_repo_paths", "board_part", "top"} <= {key for found in set_up for key in found}


FAILURES = {
    "setup": ({"STATS.WNS": "-0.001"}, r"negative slack: setup, -0\.001 ns at 125 MHz"),
    "hold": ({"STATS.WHS": "-0.200"}, r"negative slack: hold, -0\.2 ns"),
    "pulse width": ({"STATS.TPWS": "-1.5"}, r"negative slack: pulse width, -1\.5 ns"),
    "no slack": ({"STATS.WNS": ""}, r"Vivado does not say what STATS\.WNS is"),
    "unrouted": ({"STATS.FAILED_NETS": "3"}, r"3 nets could not be routed"),
    "synthesis": ({"PROGRESS,synth_1": "12%", "STATUS": "synth_design ERROR"}, r"synth_1 failed: synth_design ERROR"),
    "implementation": (
        {"PROGRESS,impl_1": "50%", "STATUS": "place_design ERROR"},
        r"impl_1 failed: place_design ERROR",
    ),
    "clock": ({"CONFIG.FREQ_HZ": "115384613"}, r"the processor makes 115384613 Hz of 125 MHz"),
    "no clock": ({"CONFIG.FREQ_HZ": ""}, r"the processor makes  Hz of 125 MHz"),
    "no memory": ({"get_bd_addr_segs": ""}, r"the accelerator reaches no memory"),
    "no board": ({"boards": "0"}, r"Vivado has no files of the board"),
    "no component": ({"missing": "accelerator"}, r"Vivado did not take .*/component\.xml"),
    "no IP": ({"missing": "smartconnect"}, r"Vivado's catalogue has no xilinx\.com:ip:smartconnect"),
    "nothing described": ({"described": ""}, r"Vivado left no system\.hwh under"),
}
"""What may go wrong, as Vivado says it, and the error that the script ends with."""


def check(script: bytes, board: Board, folder: Path) -> None:
    """The script does what it should where all is well, and stops where anything is not."""
    assert CHECKED in script.decode().splitlines()[1]
    made = {f"systolith_{board.name}{suffix}" for suffix in (".bit", ".hwh", ".xsa")}
    for number, described in enumerate(("gen", "srcs")):
        good = run(script, folder / f"good{number}", {"described": described})
        assert good.error == ""
        assert re.search(r"systolith_\w+\.bit, \.hwh and \.xsa at 125 MHz, with 0\.113 ns to spare\n$", good.said)
        assert {path.name for path in (folder / f"good{number}").glob("systolith_*.*")} == made
        check_words(good.calls)
        check_design(good.calls, board)
        order = [" ".join(call) for call in good.calls if call[0] in ("launch_runs", "get_property", "wait_on_run")]
        bitstream = order.index("launch_runs impl_1 -jobs 4 -to_step write_bitstream")
        assert {f"get_property {name} get_runs:impl_1" for name in GOOD if name.startswith("STATS.")} <= {
            *order[:bitstream]
        }
    again = run(script, folder / "good0")
    assert re.search(r"systolith_\w+ is there already; move it away", again.error)
    for name, (changes, message) in FAILURES.items():
        bad = run(script, folder / name, changes)
        assert re.search(message, bad.error), f"{name}: {bad.error}"
        check_words(bad.calls)
        launched = [call for call in bad.calls if "write_bitstream" in call]
        assert bool(launched) == (name == "nothing described"), name
        assert not list((folder / name).glob("systolith_*.*")), name


@pytest.mark.parametrize("name", BY_NAME)
def test_a_script_builds_the_board_and_stops_where_anything_fails(tmp_path, name):
    for kind in ("tiny", "general"):
        check(package(kind, "vivado")[SCRIPTS[name]], BY_NAME[name], tmp_path / kind)


def test_the_lists_name_what_is_used_and_no_more(tmp_path):
    used: dict[str, set[str]] = {}
    named, parts, boards, rules = set(), set(), set(), set()
    for board in BOARDS:
        for name, *words in run(package("tiny", "vivado")[SCRIPTS[board.name]], tmp_path / board.name).calls:
            used.setdefault(name, set()).update(word for word in words if re.match(r"-[a-z]", word))
            named |= set(settings([name, *words])) if name == "set_property" else set()
            named |= {words[0]} if name == "get_property" else set()
            rules |= {words[words.index("-rule") + 1]} if "-rule" in words else set()
        parts.add(board.part)
        boards.add(board.board_part)
    assert used == {name: options for name, (_, options) in COMMANDS.items()}
    assert named | {"STATUS"} == set(PROPERTIES), "STATUS is asked for where a run fails"
    assert (parts, boards, rules) == (set(PARTS), set(vivado_words.BOARDS), set(RULES))
    sources = [*PROPERTIES.values(), *PARTS.values(), *vivado_words.BOARDS.values(), *RULES.values()]
    sources += [source for table in (COMMANDS, PINS, BUSES) for source, _ in table.values()]
    assert all(re.search(r"UG\d+|PG\d+|board files|board store", source) for source in sources)


BROKEN = {
    "no such command": ("create_bd_design system", "create_design system"),
    "no such option": ("-vlnv [newest_ip", "-ip [newest_ip"),
    "no such property": ("CONFIG.NUM_SI", "CONFIG.NUM_SLAVES"),
    "no such setting": ("PCW_USE_S_AXI_HP0 1", "PCW_USE_HP0 1"),
    "a brace that is missing": ("if {[llength $boards] == 0} {", "if {[llength $boards] == 0} "),
    "a bracket that is missing": ("[current_project]", "[current_project"),
    "a variable that is not set": ("-part xc7z020clg400-1", "-part $chip"),
    "another part": ("xc7z020clg400-1", "xc7z020clg484-1"),
    "another component": (VLNV, f"{VLNV}1"),
    "no setup": ("STATS.WNS setup ", ""),
    "any slack": ("[result_of $property] < 0", "[result_of $property] < -99"),
    "a slack that nobody waits for": ("finish_run impl_1\n\n", "\n"),
    "slack looked at too late": ("finish_run impl_1\n\n", "finish_run impl_1 -to_step write_bitstream\n\n"),
    "any end of a run": ('ne "100%"', 'eq "0%"'),
    "unrouted nets": ("[result_of STATS.FAILED_NETS] > 0", "[result_of STATS.FAILED_NETS] > 9"),
    "the wrong reset": ("[one_pin reset/peripheral_reset]", "[one_pin reset/peripheral_aresetn]"),
    "no such pin": ("reset/slowest_sync_clk", "reset/clk"),
    "no clock": (" systolith/clk\n", "\n"),
    "no interrupt": ("connect_bd_net [one_pin systolith/interrupt] [one_pin ps/IRQ_F2P]\n", ""),
    "buses crossed": (
        "[one_bus control/M00_AXI] [one_bus systolith/s_axil]",
        "[one_bus data/M00_AXI] [one_bus systolith/s_axil]",
    ),
    "another address": ("0x40000000", "0x43C00000"),
    "memory left out": ("assign_bd_address\n", "\n"),
    "another clock": ("set megahertz 125", "set megahertz 100"),
    "any clock": ("$megahertz * 1e3}", "$megahertz * 1e6}"),
    "written over": ('{"" .bit', "{.bit"),
    "no bitstream": ("system_wrapper.bit] $project.bit", "system_wrapper.bit] $project.bin"),
    "no word of what was checked": (CHECKED, ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_script_is_seen(tmp_path, how):
    script, (old, new) = package("tiny", "vivado")["pynq_z2.tcl"].decode(), BROKEN[how]
    assert old in script
    with pytest.raises(AssertionError):
        check(script.replace(old, new).encode(), BY_NAME["pynq_z2"], tmp_path)


def test_both_interpreters_of_tcl_do_the_same(tmp_path):
    """Where there is one alone it is compared with itself."""
    calls = []
    for command in (tcl.interpreter(), tcl.PYTHON if importlib.util.find_spec("_tkinter") else tcl.interpreter()):
        folder = tmp_path / str(len(calls))
        folder.mkdir()
        ran = tcl.run(
            b"make it [what {one two}]; error {and stop}", "proc ::answer::what {x} {return $x!}", folder, command
        )
        assert ran.error == "and stop"
        calls.append(ran.calls)
    assert calls == [[["what", "one two"], ["make", "it", "one two!"]]] * 2


def test_zynq_7000_has_addresses_of_32_bits_and_the_others_of_64():
    assert {board.name: board.processor.cells for board in BOARDS if board.processor is ZYNQ_7000} == {"pynq_z2": 1}
    assert {board.processor.cells for board in BOARDS if board.processor is not ZYNQ_7000} == {2}
