"""Bitstreams by the real tools, and their very sources simulated to the pins: `make check-boards`."""

from __future__ import annotations

import os
import pty
import subprocess
import tty
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import systolith
from systolith.cli import run
from systolith.host import Accelerator, SerialLine
from systolith.hw.bitstream.boards import BOARDS, Board
from systolith.hw.bitstream.fit import taken
from systolith.hw.bitstream.record import BITSTREAM, SOURCES, read_bitstream
from systolith.hw.bitstream.top import TOP
from systolith.hw.engine.cell import FOLDER as ENGINE
from systolith.hw.folder import read_manifest
from systolith.sim.executable import compile_executable
from systolith.sim.toolchain import VERILOG

from . import npz

RTL = Path(__file__).parent / "rtl"
EXAMPLES = Path(__file__).parent.parent / "examples"
PARTS = {
    "ulx3s_85f": b"LFE5U-85F-6CABGA381",
    "ecpix5_85f": b"LFE5UM5G-85F-8CABGA554",
    "orangecrab_25f": b"LFE5U-25F-8CSFBGA285",
}
SMALL = {"rows": 6, "columns": 4, "activation_kib": 4, "accumulator_kib": 1, "weight_fifo_kib": 1}
SIZES = {
    ("lenet5", "ulx3s_85f"): {"rows": 4, "columns": 4},
    ("lenet5", "ecpix5_85f"): {"rows": 4, "columns": 4},
    ("lenet5", "orangecrab_25f"): SMALL,
    ("resnet8", "ulx3s_85f"): {"rows": 8, "columns": 8},
    ("resnet8", "ecpix5_85f"): {"rows": 8, "columns": 8},
}
"""Of the networks' accelerators on boards."""

pytestmark = [pytest.mark.boards, pytest.mark.xdist_group("boards")]


@dataclass(frozen=True)
class Made:
    """A network's build and its bitstream, at the clock that the command finds."""

    example: Path
    model: object
    build: Path
    board: Board
    folder: Path


@pytest.fixture(scope="module", params=SIZES, ids="-".join)
def made(request, tmp_path_factory):
    network, name = request.param
    example, folder = EXAMPLES / network, tmp_path_factory.mktemp(f"{network}-{name}")
    model = systolith.quantize_model(example / f"{network}.onnx", example / "calibration.npz")
    build, out = folder / "build", folder / "out"
    systolith.generate_build(model, build, target="ecp5", **SIZES[request.param])
    assert run(["board", str(build), "--board", name, "-o", str(out)]) == 0
    return Made(example, model, build, BOARDS[name], out)


def test_each_board_has_a_network():
    assert {name for _, name in SIZES} == set(BOARDS)


def test_the_timing_is_met_and_the_bitstream_is_the_boards(made):
    board, folder = made.board, made.folder
    record = read_bitstream(folder)
    assert record.slack_ns >= 0
    assert record.reached_mhz >= record.clock_mhz
    assert PARTS[board.name] in (folder / BITSTREAM).read_bytes()[:80]
    assert board.device.multipliers == record.there["MULT18X18D"]
    assert board.device.block_rams == record.there["DP16KD"]
    multipliers, *rams = taken(board, read_manifest(made.build)[0].parameters, record.memory_bytes)
    assert (record.used["MULT18X18D"], record.used["DP16KD"]) == (multipliers, sum(rams))


def test_the_sources_answer_an_image_over_the_serial_pins(made):
    """With a model of the PLL: golden's answer, in the cycles of the record, within 1%."""
    board, folder = made.board, made.folder
    record = read_bitstream(folder)
    images = npz.read(made.example / "test.npz")["x"][:1]
    program = compile_executable(
        [VERILOG / "board_host.cpp", RTL / "top_bench.v", RTL / "EHXPLLL.v", ENGINE / "MULT18X18D.v"],
        "top_bench",
        {"LOW": int(board.pins["button"].low)},
        {name: (folder / name).read_text() for name in SOURCES},
        ["HELD"] if board.high else [],
    )
    line, user = pty.openpty()
    tty.setraw(user)
    process = subprocess.Popen([program, str(line), str(record.divisor)], pass_fds=[line])
    try:
        port = SerialLine(os.ttyname(user), patience=30)
        with Accelerator(port, made.build, timeout=3600) as accelerator:
            ran = accelerator.execute(images)
    finally:
        process.terminate()
        process.wait()
        os.close(user)
        os.close(line)
    np.testing.assert_array_equal(next(iter(ran.reals.values())), systolith.run_golden(made.model, images).y)
    assert ran.cycles_per_image == pytest.approx(record.cycles, rel=0.01)
    assert f"module {TOP}(" in (folder / SOURCES[0]).read_text()
