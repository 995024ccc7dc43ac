"""LeNet-5's bitstreams by the real tools, and their very sources simulated to the pins: `make check-boards`."""

from __future__ import annotations

import os
import pty
import subprocess
import tty
from pathlib import Path

import numpy as np
import pytest

import systolith
from systolith.cli import run
from systolith.host import Accelerator, SerialLine
from systolith.hw.bitstream.boards import BOARDS
from systolith.hw.bitstream.fit import taken
from systolith.hw.bitstream.record import BITSTREAM, SOURCES, read_bitstream
from systolith.hw.bitstream.top import TOP
from systolith.hw.engine.cell import FOLDER as ENGINE
from systolith.hw.folder import read_manifest
from systolith.sim.executable import compile_executable
from systolith.sim.toolchain import VERILOG

from . import npz

RTL = Path(__file__).parent / "rtl"
LENET = Path(__file__).parent.parent / "examples" / "lenet5"
PARTS = {"ulx3s_85f": b"LFE5U-85F-6CABGA381", "ecpix5_85f": b"LFE5UM5G-85F-8CABGA554"}

pytestmark = [pytest.mark.boards, pytest.mark.xdist_group("boards")]


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """(model, folder of its build at 4x4)"""
    model = systolith.quantize_model(LENET / "lenet5.onnx", LENET / "calibration.npz")
    folder = tmp_path_factory.mktemp("lenet") / "build"
    systolith.generate_build(model, folder, rows=4, columns=4, target="ecp5")
    return model, folder


@pytest.fixture(scope="module", params=BOARDS)
def made(lenet, request, tmp_path_factory):
    """(board, folder of its bitstream), at the clock that the command finds"""
    folder = tmp_path_factory.mktemp(request.param) / "out"
    assert run(["board", str(lenet[1]), "--board", request.param, "-o", str(folder)]) == 0
    return BOARDS[request.param], folder


def test_the_timing_is_met_and_the_bitstream_is_the_boards(lenet, made):
    board, folder = made
    record = read_bitstream(folder)
    assert record.slack_ns >= 0
    assert record.reached_mhz >= record.clock_mhz
    assert PARTS[board.name] in (folder / BITSTREAM).read_bytes()[:80]
    assert board.device.multipliers == record.there["MULT18X18D"]
    assert board.device.block_rams == record.there["DP16KD"]
    multipliers, *rams = taken(board, read_manifest(lenet[1])[0].parameters, record.memory_bytes)
    assert (record.used["MULT18X18D"], record.used["DP16KD"]) == (multipliers, sum(rams))


def test_the_sources_answer_a_digit_over_the_serial_pins(lenet, made):
    """With a model of the PLL: golden's answer, in the cycles of the record, within 1%."""
    model, build = lenet
    board, folder = made
    record = read_bitstream(folder)
    digits = npz.read(LENET / "test.npz")["x"][:1]
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
        with Accelerator(port, build, timeout=600) as accelerator:
            ran = accelerator.execute(digits)
    finally:
        process.terminate()
        process.wait()
        os.close(user)
        os.close(line)
    np.testing.assert_array_equal(next(iter(ran.reals.values())), systolith.run_golden(model, digits).y)
    assert ran.cycles_per_image == pytest.approx(record.cycles, rel=0.01)
    assert f"module {TOP}(" in (folder / SOURCES[0]).read_text()
