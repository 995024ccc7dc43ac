"""LeNet-5 in LiteX SoCs, simulated: VexRiscv, LiteDRAM, firmware.  `make check-boards` runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import systolith
from systolith import quant
from systolith.cli import run
from systolith.host import Build
from systolith.hw.compiler.planner import plan
from systolith.hw.folder import read_manifest
from systolith.hw.model.schedule import predict
from systolith.sim.executable import compile_executable

from . import npz

TESTS = Path(__file__).resolve().parent
LENET = TESTS.parent / "examples" / "lenet5"
IMAGES = 6
MOST_CYCLES = 20_000_000
RUN = re.compile(r"run (\d+): (\d+) cycles, output ([0-9a-f]+), (\d+) bytes differ from the answer")
DATES = re.compile(r"^//.*\d{4}-\d\d-\d\d.*$", re.MULTILINE)
"""All of LiteX's Verilog that differs each time: contents of memories are files that the simulation reads."""
IDLE = re.compile(
    r"memory: (\d+) bursts found it idle, their first beat came after (\d+) to (\d+) cycles, (\d+) in all"
)

pytestmark = [pytest.mark.boards, pytest.mark.xdist_group("boards")]


@dataclass(frozen=True)
class Chips:
    """What the DRAM is made of, and the accelerator's array and bus.

    kind : a module of LiteDRAM;  pins : of its data;  cache : bytes of LiteX's second cache
    """

    kind: str
    pins: int
    cache: int
    bus_bytes: int
    target: str = "generic"


SYSTEMS = {
    "sdr": Chips("MT48LC16M16", 32, 8192, 4),
    "ddr3": Chips("MT41K128M16", 16, 0, 16, target="ecp5"),
}
"""SDR with the second cache as boards have it; DDR3 of four phases without, its multipliers an FPGA's blocks."""


class System:
    """A LiteX SoC with the accelerator, in ``folder``, and the package that it was made of."""

    def __init__(self, chips: Chips, folder: Path) -> None:
        self.chips, self.folder = chips, folder
        self.model, self.build, self.package = folder / "q.onnx", folder / "build", folder / "package"
        systolith.quantize_model(LENET / "lenet5.onnx", LENET / "calibration.npz", self.model)
        systolith.generate_build(
            self.model, self.build, rows=8, columns=8, bus_bytes=chips.bus_bytes, target=chips.target
        )
        told = ["--for", "litex", "--inputs", str(LENET / "test.npz"), "--images", str(IMAGES)]
        assert run(["package", str(self.build), *told, "-o", str(self.package)]) == 0
        self.target()

    def target(self, content: Path | None = None) -> None:
        """Write the SoC, whose DRAM begins with ``content``, by the package's own script."""
        chips = self.chips
        told = ["--chip", chips.kind, "--width", str(chips.pins), "--cache", str(chips.cache), "--output", "soc"]
        told += ["--content", str(content)] if content else []
        script, own = self.package / "systolith_target.py", TESTS / "litex_sim_target.py"
        self.call(sys.executable, str(script), str(own), *told)

    def firmware(self, stale: bool) -> Path:
        """firmware.bin, compiled by the package's own Makefile."""
        folder = self.folder / ("stale" if stale else "firmware")
        folder.mkdir(exist_ok=True)
        makefile, soc = self.package / "Makefile", self.folder / "soc"
        self.call("make", "-C", str(folder), "-f", str(makefile), f"SOC={soc}", f"EXTRA={'-DSTALE' if stale else ''}")
        return folder / "firmware.bin"

    def call(self, *command: str) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]

    def simulate(self, stale: bool) -> str:
        """What the UART says, and the memory's figures."""
        self.target(self.firmware(stale))
        gateware = self.folder / "soc" / "gateware"
        sources = [Path(name) for name in json.loads((gateware / "sources.json").read_text())]
        undated = {s.name: DATES.sub("", s.read_text()) for s in sources if s.parent == gateware}
        others = [source for source in sources if source.name not in undated]
        program = compile_executable([TESTS / "rtl" / "litex_host.cpp", *others], "sim", {}, undated)
        done = subprocess.run(
            [program, str(MOST_CYCLES)], cwd=gateware, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request, tmp_path_factory):
    """A SoC, its firmware not compiled yet."""
    return System(SYSTEMS[request.param], tmp_path_factory.mktemp(request.param))


def test_six_digits_equal_golden_in_the_predicted_cycles(system):
    said = system.simulate(stale=False)
    runs = RUN.findall(said)
    assert [int(number) for number, *_ in runs] == list(range(IMAGES)), said
    digits = npz.read(LENET / "test.npz")["x"][:IMAGES]
    (port,) = Build.load(system.build).outputs
    outputs = np.concatenate([port.decoded(bytes.fromhex(output)) for _, _, output, _ in runs])
    golden = systolith.run_golden(system.model, digits)
    np.testing.assert_array_equal(outputs.reshape(golden.y_q.shape), golden.y_q)
    assert f"systolith: {IMAGES} of {IMAGES} runs equal, {IMAGES} interrupts" in said
    idle, least, most, cycles = map(int, IDLE.search(said).groups())
    latency = round(cycles / idle)
    predicted = predict(plan(quant.load(system.model), read_manifest(system.build)[0].parameters), latency).cycles
    measured = [int(cycles) for _, cycles, *_ in runs]
    print(f"{system.chips}: {measured} cycles, predicted {predicted} for a latency of {latency} ({least} to {most})")
    assert [cycles / predicted for cycles in measured] == [pytest.approx(1, abs=0.05)] * IMAGES


def test_outputs_are_stale_without_a_flush(system):
    said = system.simulate(stale=True)
    differ = [int(count) > 0 for *_, count in RUN.findall(said)]
    print(f"{system.chips}: {sum(differ)} of {IMAGES} outputs stale")
    assert len(differ) == IMAGES, said
    assert any(differ)
    assert f"systolith: {IMAGES - sum(differ)} of {IMAGES} runs equal, {IMAGES} interrupts" in said


def test_a_port_of_another_width_is_refused_in_one_line(system):
    """The chips of the other system."""
    (other,) = (chips for chips in SYSTEMS.values() if chips.bus_bytes != system.chips.bus_bytes)
    told = ["--chip", other.kind, "--width", str(other.pins), "--output", "refused"]
    command = [sys.executable, system.package / "systolith_target.py", TESTS / "litex_sim_target.py", *told]
    done = subprocess.run(command, cwd=system.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"systolith: error: this DRAM's port has {8 * other.bus_bytes} bits, the accelerator's bus "
        f"{8 * system.chips.bus_bytes}; generate the accelerator with --bus-bytes {other.bus_bytes}"
    )
    assert not (system.folder / "refused").exists()


BOARDS = {
    "lambdaconcept_ecpix5": 16,
    "digilent_arty": 16,
    "sipeed_tang_primer_20k": 16,
    "radiona_ulx3s --device LFE5U-85F --sdram-rate 1:2": 4,
}
"""Bytes of each one's native port."""


@pytest.mark.parametrize("board", BOARDS)
def test_boards_take_the_accelerator(system, board, tmp_path):
    """Up to the Verilog of the whole SoC, or they refuse it."""
    name, *options = board.split()
    command = [sys.executable, system.package / "systolith_target.py", name, *options, "--build", "--no-compile"]
    done = subprocess.run([*command, "--output-dir", "soc"], cwd=tmp_path, capture_output=True, text=True, check=False)
    if BOARDS[board] == system.chips.bus_bytes:
        assert done.returncode == 0, done.stderr[-4000:]
        (verilog,) = (tmp_path / "soc" / "gateware").glob(f"{name}.v")
        assert "systolith systolith" in verilog.read_text()
    else:
        assert done.returncode == 1
        assert f"generate the accelerator with --bus-bytes {BOARDS[board]}" in done.stderr
