"""A bitstream's folder and report, the tools being stand-ins that leave what the real ones once left."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import systolith
from systolith.cli import run
from systolith.hw.bitstream import make, tools
from systolith.hw.bitstream.boards import BOARDS
from systolith.hw.bitstream.fit import check_counts, check_fit
from systolith.hw.bitstream.make import ROUNDS, make_bitstream
from systolith.hw.bitstream.pll import pll
from systolith.hw.bitstream.record import BITSTREAM, FILES, RECORD, read_bitstream
from systolith.hw.bitstream.timing import read_timing
from systolith.hw.board.board import Board
from systolith.hw.isa.parameters import Parameters
from systolith.hw.sealed import sha256
from systolith.quant import ConfigurationError
from systolith.quant.graph.errors import ToolError
from systolith.sim import accelerator as accelerators
from systolith.sim.simulation import predicted_cycles

from . import models
from .packages import SMALL, build

KEPT = Path(__file__).parent / "data" / "bitstream"
"""Of a top around tests/rtl/stand_in.v: yosys' counts, nextpnr's report without its paths."""
REACHED = 99.19650268554688
BITS = b"\xff\x00Part: LFE5U-85F-6CABGA381\x00"


class Tools:
    """Stand-ins.  The slowest path allows ``reached`` MHz; ``asked`` : MHz of each netlist that was routed."""

    def __init__(self, reached: float = REACHED) -> None:
        self.reached = reached
        self.asked: list[float] = []
        self.folders: set[Path] = set()

    def run(self, tool: str, arguments: list[str], folder: Path) -> None:
        self.folders.add(folder)
        match tool:
            case "yosys":
                (folder / tools.CELLS).write_bytes((KEPT / "cells.json").read_bytes())
                (folder / tools.NETLIST).write_text("{}")
            case "nextpnr":
                top = (folder / "systolith_top.v").read_text()
                self.asked.append(float(top.split("\n")[0].split(": ")[1].split(" MHz")[0]))
                report = json.loads((KEPT / "timing.json").read_text())
                report["fmax"] = {"$glbnet$clk": {"achieved": self.reached, "constraint": self.asked[-1] * 1.00005}}
                (folder / tools.TIMING).write_text(json.dumps(report))
                (folder / tools.CONFIGURATION).write_text("")
            case "ecppack":
                (folder / tools.BITSTREAM).write_bytes(BITS)


@pytest.fixture
def stubbed(monkeypatch):
    stand_ins = Tools()
    monkeypatch.setattr(tools, "run", stand_ins.run)
    monkeypatch.setattr(make, "emit_board", lambda **sizes: str(sizes))  # tests/test_bitstream_sources.py has it whole
    monkeypatch.setattr(tools, "require", lambda: {"pyosys": "0.70"})
    return stand_ins


def test_a_report_of_nextpnr_is_read():
    report = json.loads((KEPT / "timing.json").read_text())
    timing = read_timing(report, 70)
    assert (timing.asked, timing.reached) == (70, REACHED)
    assert timing.slack == pytest.approx(1000 / 70 - 1000 / REACHED)
    assert (timing.used["DP16KD"], timing.there["DP16KD"]) == (5, 208)
    assert "ALU54B" not in timing.used
    (name,) = report["fmax"]
    for broken, message in (
        ({"fmax": {}}, r"^nextpnr's report has 0 clocks, not one: none$"),
        ({"fmax": {name: report["fmax"][name], "b": report["fmax"][name]}}, r"has 2 clocks, not one: .*, b$"),
        ({"fmax": {name: {"achieved": 99}}}, r"^nextpnr's report is not understood: KeyError 'constraint'$"),
        ({"utilization": None}, r"^nextpnr's report is not understood: AttributeError"),
        ({"fmax": {name: {"achieved": 0, "constraint": 70}}}, r"^nextpnr was to reach 70 MHz, but reached 0 aiming at"),
        ({"fmax": {name: {"achieved": 99, "constraint": 12}}}, r"but reached 99 aiming at 12$"),
        ({"fmax": {name: {"achieved": 99, "constraint": float("nan")}}}, r"but reached 99 aiming at nan$"),
    ):
        with pytest.raises(ToolError, match=message):
            read_timing({**report, **broken}, 70)


def test_a_bitstream_is_whole_and_sealed(stubbed, tmp_path):
    record = make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0, clock=70)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, RECORD])
    assert (tmp_path / "out" / BITSTREAM).read_bytes() == BITS
    assert (tmp_path / "out" / "systolith.v").read_bytes() == (build("tiny") / "systolith.v").read_bytes()
    assert read_bitstream(tmp_path / "out").model_copy(update={"seal": ""}) == record
    sizes = {"bus_bytes": 8, "memory_bytes": record.memory_bytes, "divisor": 70}
    assert (tmp_path / "out" / "systolith_board.v").read_text() == str(sizes)
    assert record.build == sha256((build("tiny") / "manifest.json").read_bytes())
    assert (record.asked_mhz, record.clock_mhz, record.divisor, record.baud_error) == (70, 70, 70, 0)
    assert (record.reached_mhz, record.routes) == (REACHED, 1)
    assert record.slack_ns == pytest.approx(1000 / 70 - 1000 / REACHED)
    assert record.frames_per_second == pytest.approx(70e6 / 2000)
    manifest = json.loads((build("tiny") / "manifest.json").read_text())
    moved = sum(tensor["bytes"] for tensor in manifest["inputs"] + manifest["outputs"])
    assert record.line_seconds == pytest.approx(moved * 10 / 1e6)
    assert record.memory_bytes % 4096 == 0
    assert 0 <= record.memory_bytes - manifest["memory"]["bytes"] < 4096
    assert set(record.seconds) == {"yosys", "nextpnr", "ecppack"}
    assert record.used["DP16KD"] == 5
    assert (tmp_path / "out" / "report.txt").read_text().splitlines() == record.lines()
    assert not any(folder.exists() for folder in stubbed.folders)
    for name in FILES:
        kept = (tmp_path / "out" / name).read_bytes()
        (tmp_path / "out" / name).write_bytes(kept + b" ")
        with pytest.raises(ConfigurationError, match=rf"{name} was changed or removed since it was written$"):
            read_bitstream(tmp_path / "out")
        with pytest.raises(ConfigurationError, match=r"since it was written; move it away, or give another folder$"):
            make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0, clock=70)
        assert (tmp_path / "out" / name).read_bytes() == kept + b" "
        (tmp_path / "out" / name).write_bytes(kept)


def test_negative_slack_writes_nothing(stubbed, tmp_path):
    message = (
        r"^negative slack on ulx3s_85f: -0.08 ns at 100 MHz, of which 99.2 MHz are reached; "
        r"try --clock 96.875, or leave --clock out$"
    )
    with pytest.raises(ToolError, match=message):
        make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0, clock=100)
    assert list(tmp_path.iterdir()) == []
    assert stubbed.asked == [100]
    make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0, clock=99)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ToolError, match=r"^negative slack"):
        make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0, clock=100)
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_without_a_clock_the_highest_that_holds_is_taken(stubbed, tmp_path):
    board, stubbed.reached = BOARDS["ulx3s_85f"], 60.0
    record = make_bitstream(build("tiny"), board.name, tmp_path / "out", 2000.0)
    first = pll(board.crystal, board.goal).clock
    assert stubbed.asked == [pytest.approx(float(first), rel=1e-5), pytest.approx(record.clock_mhz, rel=1e-5)]
    assert (record.asked_mhz, record.routes) == (None, 2)
    assert 0.97 * 60 < record.clock_mhz <= 0.98 * 60
    assert record.divisor == round(record.clock_mhz)
    assert f"after {record.routes} clocks were tried" in record.lines()[-1]


def test_a_clock_that_never_holds_is_given_up(stubbed, monkeypatch, tmp_path):
    monkeypatch.setattr(
        make, "read_timing", lambda report, asked: replace(read_timing(report, asked), reached=asked - 1)
    )
    with pytest.raises(ToolError, match=rf"^negative slack .*, after {ROUNDS} clocks were tried; give a --clock well"):
        make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0)
    assert len(stubbed.asked) == ROUNDS
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_refused_by_name():
    board = BOARDS["ulx3s_85f"]
    at_most = r"; try an array of fewer rows or columns, or less memory on the accelerator \(--activation-kib, "
    for parameters, memory, message in (
        (
            Parameters(rows=16, columns=16, bus_bytes=16),
            4096,
            r"has 156 multipliers, and the engine takes \d\d\d" + at_most,
        ),
        (Parameters(rows=4, columns=4), 1 << 20, r"has 208 block RAMs; the engine takes \d\d and 1,048,576 bytes of "),
        (Parameters(rows=4, columns=4, activation_kib=512), 4096, r"has 208 block RAMs; the engine takes 2\d\d and"),
        (
            Parameters(rows=4, columns=4, target="xilinx"),
            4096,
            r"^the build is for the target xilinx, ulx3s_85f has an ecp5; generate it with --target ecp5$",
        ),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_fit(board, parameters, memory)
    check_fit(board, Parameters(rows=4, columns=4, target="ecp5"), 81920)
    check_counts(board, {"MULT18X18D": 156, "DP16KD": 208})
    for cells, message in (
        ({"MULT18X18D": 157}, r"^ulx3s_85f has 156 multipliers, and 157 are taken; try an array"),
        ({"DP16KD": 200, "PDPW16KD": 9}, r"^ulx3s_85f has 208 block RAMs, and 209 are taken; try an array"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_counts(board, cells)


def test_a_strangers_folder_is_refused_first(stubbed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"holds 'notes.txt', which is no part of a bitstream;"):
        make_bitstream(build("tiny"), "ulx3s_85f", tmp_path, 2000.0, clock=70)
    assert stubbed.asked == []


def test_missing_tools_are_one_line(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyosys" else found(name))
    message = (
        r"^the tools for bitstreams are not installed \(no pyosys.*\); "
        r"get them with `pip install 'systolith\[boards\]'`$"
    )
    with pytest.raises(ToolError, match=message):
        make_bitstream(build("tiny"), "ulx3s_85f", tmp_path / "out", 2000.0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            "print('Info: 1'); print('ERROR: no room'); print('ERROR: 2'); sys.exit(1)",
            "^nextpnr failed: ERROR: no room$",
        ),
        ("print('the last line'); sys.exit(3)", "^nextpnr failed: the last line$"),
        ("sys.exit(1)", "^nextpnr failed: it said nothing$"),
        ("import os; os.kill(os.getpid(), 9)", "^nextpnr was ended by signal 9; memory may have run out$"),
        ("import time; time.sleep(60)", "^nextpnr took more than 0.2 s$"),
    ],
)
def test_a_tool_that_fails_is_told(monkeypatch, tmp_path, program, message):
    monkeypatch.setitem(tools.CALLS, "nextpnr", program)
    monkeypatch.setattr(tools, "SECONDS", 0.2 if "sleep" in program else 60)
    with pytest.raises(ToolError, match=message):
        tools.run("nextpnr", [], tmp_path)


def test_synthesis_is_tried_again_with_other_names(monkeypatch, tmp_path):
    scripts = []

    def fails_once(tool, arguments, folder):
        scripts.append((folder / "script.ys").read_text())
        if len(scripts) == 1:
            raise ToolError("yosys failed: two wires of one name")
        (folder / tools.CELLS).write_bytes((KEPT / "cells.json").read_bytes())

    monkeypatch.setattr(tools, "run", fails_once)
    assert tools.synthesize(tmp_path, ["a.v"], "a")["DP16KD"] == 5
    assert len(scripts) == 2
    assert scripts[0] != scripts[1]
    for script in scripts:  # a netlist with two drivers of one net is none
        lines = script.splitlines()
        assert (
            lines.index("synth_ecp5 -top a")
            < lines.index("check -noinit -assert")
            < lines.index("write_json netlist.json")
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A build of the public API's, with its model."""
    model = models.tiny()
    made = tmp_path_factory.mktemp("build") / "build"
    systolith.generate_build(systolith.quantize_model(model, models.images(model, 4)), made, **SMALL)
    return made


def loader(tmp_path, monkeypatch, status: int) -> Path:
    """An openFPGALoader that notes its arguments."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / tools.LOADER
    program.write_text(
        f"#!/bin/sh\necho \"$@\" >> {tmp_path}/loaded\necho 'unable to open ftdi device' >&2\nexit {status}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "loaded"


def test_the_command(stubbed, folder, tmp_path, monkeypatch, capsys):
    loaded = loader(tmp_path, monkeypatch, 0)
    out = tmp_path / "out"
    assert run(["board", str(folder), "--board", "ulx3s_85f", "-o", str(out), "--clock", "60", "--program"]) == 0
    captured = capsys.readouterr()
    source = accelerators.load(folder)
    cycles = predicted_cycles(source, source.graph, Board.LATENCY)
    assert captured.err == ""
    assert (
        f"\n{cycles:,} cycles an image: {60e6 / cycles:,.1f} frames a second, the serial line apart\n" in captured.out
    )
    assert captured.out.endswith(f"written to {out}/systolith.bit\nloaded into the ulx3s_85f\n")
    assert loaded.read_text() == f"-b ulx3s {out}/systolith.bit\n"
    assert run(["board", str(folder), "--board", "ulx3s_85f", "-o", str(out), "--clock", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        n: v for n, v in json.loads((out / RECORD).read_text()).items() if n != "seal"
    }
    assert run(["board", str(folder), "--board", "ulx3s_85f", "-o", str(out), "--clock", "60"]) == 0
    assert capsys.readouterr().out.endswith(f"\nnext: openFPGALoader -b ulx3s {out}/systolith.bit\n")
    for options, message in (
        (["--clock", "100"], "negative slack on ulx3s_85f"),
        (["--clock", "1"], "the clock must be 10 to 400 MHz, not 1"),
        (["--baud", "9600", "--clock", "nan"], "the clock must be 10 to 400 MHz, not nan"),
    ):
        assert run(["board", str(folder), "--board", "ulx3s_85f", "-o", str(tmp_path / "no"), *options]) == 1
        assert capsys.readouterr().err.startswith(f"systolith: error: {message}")
        assert not (tmp_path / "no").exists()


def test_a_loader_that_fails_or_is_missing_is_one_line(stubbed, folder, tmp_path, monkeypatch, capsys):
    loader(tmp_path, monkeypatch, 1)
    command = ["board", str(folder), "--board", "ulx3s_85f", "-o", str(tmp_path / "out"), "--clock", "60", "--program"]
    assert run(command) == 1
    said = "systolith: error: openFPGALoader failed: unable to open ftdi device; is the board plugged in?\n"
    assert capsys.readouterr().err == said
    read_bitstream(tmp_path / "out")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    stubbed.asked.clear()
    assert run(command) == 1
    said = "openFPGALoader is not on PATH; install it (apt install openfpgaloader), or leave --program out"
    assert capsys.readouterr().err == f"systolith: error: {said}\n"
    assert stubbed.asked == []
