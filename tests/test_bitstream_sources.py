"""A bitstream's sources: pins as the boards have them, the PLL inside its limits, the top parsed, and simulated."""

import os
import pty
import re
import subprocess
import tty
from fractions import Fraction
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from amaranth.vendor import LatticePlatform
from amaranth_boards.ecpix5 import ECPIX585Platform
from amaranth_boards.orangecrab_r0_2 import OrangeCrabR0_2_25FPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from systolith import board_commands as commands
from systolith.host import SerialLine
from systolith.hw.bitstream.boards import BAUD, BOARDS, board_named
from systolith.hw.bitstream.pll import Pll, pll
from systolith.hw.bitstream.top import INPUTS, TOP, constraints, divisor, rate_error, top_verilog
from systolith.hw.board.emit import emit_board
from systolith.options import BoardKind
from systolith.quant import ConfigurationError
from systolith.sim.executable import compile_executable
from systolith.sim.toolchain import VERILOG, verilator_root

from .packages import build

RTL = Path(__file__).parent / "rtl"
PLATFORMS = {
    "ulx3s_85f": ULX3S_85F_Platform,
    "ecpix5_85f": ECPIX585Platform,
    "orangecrab_25f": OrangeCrabR0_2_25FPlatform,
}
RESOURCES = {
    "ulx3s_85f": {
        "clock": ("clk25", 0),
        "button": ("button_fire", 0),
        "rx": ("uart", 0, "rx"),
        "tx": ("uart", 0, "tx"),
        "busy": ("led", 0),
        "interrupt": ("led", 1),
        "heartbeat": ("led", 7),
        "esp32_gpio0": ("esp32", 0, "gpio0"),
    },
    "ecpix5_85f": {
        "clock": ("clk100", 0),
        "button": ("rst", 0),
        "rx": ("uart", 0, "rx"),
        "tx": ("uart", 0, "tx"),
        "busy": ("rgb_led", 0, "g"),
        "interrupt": ("rgb_led", 1, "g"),
        "heartbeat": ("rgb_led", 3, "g"),
    },
    "orangecrab_25f": {
        "clock": ("clk", 0),
        "button": ("button", 0),
        "rx": ("io", 0, "0"),
        "tx": ("io", 0, "1"),
        "busy": ("rgb_led", 0, "g"),
        "interrupt": ("rgb_led", 0, "r"),
        "heartbeat": ("rgb_led", 0, "b"),
    },
}
"""Of amaranth-boards, by our ports: resources, or a connector's pins, which go either way and at any level."""

MEMORY_BYTES, DIVISOR = 8192, 4


def resource(name: str, port: str):
    """Its site, whether it is active at 0, its direction, its attributes."""
    kind, number, *part = RESOURCES[name][port]
    platform = PLATFORMS[name]()
    if (kind, number) not in platform.resources:
        (site,) = (pins[part[0]] for pins in (c.mapping for c in platform.connectors.values()) if part[0] in pins)
        return site, False, "io", {"IO_TYPE": "LVCMOS33"}
    found = platform.resources[kind, number]
    attributes = dict(found.attrs)
    if part:
        found = next(io for io in found.ios if io.name == part[0])
        attributes |= found.attrs
    (pins,) = found.ios
    (site,) = pins.names
    return site, pins.invert, pins.dir, attributes


def test_the_options_name_all_boards():
    assert [kind.value for kind in BoardKind] == list(BOARDS) == list(PLATFORMS)


def test_boards_and_drivers_have_one_baud_rate_by_default():
    defaults = [signature(call).parameters["baud"].default for call in (commands.board, commands.run, SerialLine)]
    assert defaults == [BAUD, BAUD, BAUD]
    with pytest.raises(
        ConfigurationError, match=r"^board 'x' is not known; known are ulx3s_85f, ecpix5_85f, orangecrab_25f$"
    ):
        board_named("x")


@pytest.mark.parametrize("name", BOARDS)
def test_pins_are_where_amaranth_boards_has_them(name):
    board = BOARDS[name]
    assert {*board.pins, *board.high} == set(RESOURCES[name])
    found = constraints(board)
    sites = dict(re.findall(r'^LOCATE COMP "(\w+)" SITE "(\w+)";$', found, re.MULTILINE))
    levels = dict(re.findall(r'^IOBUF PORT "(\w+)" (.*);$', found, re.MULTILINE))
    assert set(sites) == set(levels) == set(RESOURCES[name])
    for port, pin in {**board.pins, **board.high}.items():
        site, low, direction, attributes = resource(name, port)
        assert (sites[port], pin.low) == (site, low), port
        assert direction in {"i" if port in INPUTS else "o", "io"}, port
        assert levels[port].split()[0] == f"IO_TYPE={attributes['IO_TYPE']}", port
        if port == "button":
            assert levels[port].split()[1:] == [f"PULLMODE={attributes[k]}" for k in attributes if k == "PULLMODE"]


@pytest.mark.parametrize("name", BOARDS)
def test_part_and_clock_are_amaranth_boards(name):
    board, platform = BOARDS[name], PLATFORMS[name]()
    part, _, package, _, speed = board.options
    assert part == LatticePlatform._nextpnr_device_options[platform.device]
    assert package.lower() == LatticePlatform._nextpnr_package_options[platform.package].lower()
    assert speed == platform.speed
    assert board.device.name == platform.device.lower()
    assert platform.resources[platform.default_clk, 0].clock.frequency == 1e6 * board.crystal
    assert f'FREQUENCY PORT "clock" {board.crystal:g} MHZ;' in constraints(board)


@pytest.mark.parametrize("crystal", [10, 12, 25, 27, 48, 100, 133.3, 400])
def test_dividers_are_within_the_limits_and_none_is_nearer(crystal):
    """By NumPy over all dividers, in floating point: the highest clock that is not above what is wanted."""
    i, f, o = np.ogrid[1:129, 1:81, 1:129]
    compared = crystal / i + 0.0 * f * o
    fed_back = compared * f
    vco = fed_back * o
    legal = (compared >= 10 - 1e-9) & (fed_back >= 10 - 1e-9) & (fed_back <= 400 + 1e-9)
    legal &= (compared <= 400) & (vco >= 400 - 1e-9) & (vco <= 800 + 1e-9)
    vcos = np.unique(np.round(vco[legal], 9))
    for clock in (10.5, 33.3, 47.1, 60, 66.67, 84.375, 99.9, 100, 133, 250.5, 400):
        made = pll(crystal, clock)
        assert made.crystal == Fraction(str(crystal))
        assert 10 <= made.compared <= 400
        assert 10 <= made.compared * made.feedback <= 400
        assert 400 <= made.vco <= 800
        assert made.vco == made.compared * made.feedback * made.fed
        assert 10 <= made.clock == made.vco / made.output <= Fraction(str(clock))
        assert all(1 <= n <= 128 for n in (made.input, made.fed, made.output))
        assert 1 <= made.feedback <= 80
        outputs = np.ceil(vcos / clock - 1e-9)
        nearest = (vcos / outputs)[outputs <= 128].max()
        assert float(made.clock) == pytest.approx(nearest, rel=1e-9), clock


def test_of_dividers_for_one_clock_those_with_least_jitter_are_taken():
    assert pll(25, 100) == Pll(Fraction(25), input=1, feedback=1, fed=32, output=8)
    assert pll(100, 62.5) == Pll(Fraction(100), input=1, feedback=1, fed=5, output=8)
    assert pll(25, 96.9) == Pll(Fraction(25), input=1, feedback=1, fed=31, output=8)


def test_a_clock_or_crystal_that_no_pll_takes_is_refused():
    for crystal, clock, message in (
        (25, 9.99, r"^the clock must be 10 to 400 MHz, not 9.99$"),
        (25, 401, r"^the clock must be 10 to 400 MHz, not 401$"),
        (25, float("nan"), r"^the clock must be 10 to 400 MHz, not nan$"),
        (133.3, 10, r"^no PLL makes 10 MHz, or a little less, of 133.3 MHz$"),
        (7, 100, r"^the crystal must have 10 to 400 MHz, not 7$"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            pll(crystal, clock)


def test_the_lines_rate_is_hit_or_refused():
    board = BOARDS["ulx3s_85f"]
    for megahertz in np.arange(34, 400, 0.7):
        cycles = divisor(megahertz, BAUD, board)
        assert abs(megahertz * 1e6 / cycles - BAUD) <= 0.015 * BAUD
        assert rate_error(megahertz, BAUD, cycles) == pytest.approx(megahertz / cycles - 1)
    for megahertz, baud, message in (
        (10.0, 3_000_000, r"^3,000,000 baud are 3 cycles a bit at 10 MHz, not 4 to 65,536$"),
        (
            14.4,
            1_000_000,
            r"^at 14.4 MHz the line is \+2.9% off 1,000,000 baud, more than 1.5%; a clock of 14 MHz would hit it$",
        ),
        (100.0, 4_000_000, r"^the serial line of ulx3s_85f does 1 to 3,000,000 baud, not 4,000,000$"),
        (100.0, 0, r"^the serial line of ulx3s_85f does 1 to 3,000,000 baud, not 0$"),
        (100.0, 300, r"^300 baud are 333,333 cycles a bit at 100 MHz, not 4 to 65,536$"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            divisor(megahertz, baud, board)


@pytest.mark.parametrize("name", BOARDS)
def test_every_port_of_the_top_and_below_is_joined(name, tmp_path):
    """Verilator finds every module and port, and no net that nobody drives."""
    board = BOARDS[name]
    files = {
        "top.v": top_verilog(board, pll(board.crystal, 100)),
        "board.v": emit_board(bus_bytes=8, memory_bytes=MEMORY_BYTES, divisor=100),
        "systolith.v": (build("tiny") / "systolith.v" if name == "ulx3s_85f" else RTL / "stand_in.v").read_text(),
    }
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    command = [verilator_root() / "bin" / "verilator_bin", "--lint-only", "-Wall", "-Wno-fatal", "--top-module", TOP]

    def warned() -> tuple[int, set[str]]:
        done = subprocess.run(
            [*command, *files, RTL / "EHXPLLL.v"],
            cwd=tmp_path,
            env={**os.environ, "VERILATOR_ROOT": str(verilator_root())},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, set(re.findall(r"^%(?:Warning|Error)-(\w+)", done.stderr, re.MULTILINE))

    status, found = warned()
    assert status == 0
    assert found & {"PINMISSING", "UNDRIVEN", "IMPLICIT", "MULTIDRIVEN", "WIDTH", "LATCH", "COMBDLY"} == set()
    (tmp_path / "systolith.v").write_text((RTL / "stand_in.v").read_text())
    (tmp_path / "top.v").write_text(files["top.v"].replace(".rx(rx), ", ""))
    assert "PINMISSING" in warned()[1]
    (tmp_path / "top.v").write_text(files["top.v"].replace(".rx(rx)", ".rr(rx)"))
    assert warned()[0] != 0


@pytest.mark.parametrize("name", BOARDS)
def test_the_top_answers_the_driver_over_its_serial_pins(name):
    """With a PLL that locks late, buttons and LEDs as the board has them; the bench ends if a pin is not right."""
    board = BOARDS[name]
    program = compile_executable(
        [VERILOG / "board_host.cpp", *(RTL / file for file in ("top_bench.v", "EHXPLLL.v", "stand_in.v"))],
        "top_bench",
        {"LOW": int(board.pins["button"].low)},
        {
            "top.v": top_verilog(board, pll(board.crystal, 100)),
            "board.v": emit_board(bus_bytes=8, memory_bytes=MEMORY_BYTES, divisor=DIVISOR),
        },
        ["HELD"] if board.high else [],
    )
    line, user = pty.openpty()
    tty.setraw(user)
    process = subprocess.Popen([program, str(line), str(DIVISOR)], pass_fds=[line], stderr=subprocess.PIPE)
    random = np.random.default_rng(11)
    try:
        port = SerialLine(os.ttyname(user), patience=0.2)
        assert port.memory.size == MEMORY_BYTES
        data = random.bytes(1000)
        port.memory.write(100, data)
        assert port.memory.read(100, 1000) == data
        for value in (1, 0, 0xFFFFFFFF):  # the interrupt's LED follows
            port.registers.write(0, value)
            port.registers.write(12, value ^ 5)
            assert (port.registers.read(0), port.registers.read(12)) == (value, value ^ 5)
        port.close()
        assert process.poll() is None
    finally:
        process.terminate()
        process.communicate()
        os.close(user)
        os.close(line)
