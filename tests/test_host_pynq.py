"""The driver on pynq's own classes, in an environment of its own, over the simulated Verilog: `make check-boards`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith import golden, quant
from systolith.hw.build import generate, parameters_for
from systolith.sim.carrier import ADDRESS as SIMULATED
from systolith.sim.carrier import SimulatedAccelerator

from .host_device import OFFSETS, SMALL, Carried, behind_words
from .host_twin import SOURCE, Twin, compiled
from .hw_networks import network
from .test_host_carriers import shared

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.prefix) / "pynq" / "bin" / "python"
REGISTERS, SIZE = 0x3000, 0x8000

pytestmark = pytest.mark.boards


class Simulated:
    """The simulated accelerator as a device beside ``dram``: its memory is the same while it runs."""

    def __init__(self, folder, dram):
        self.carrier, self.dram = SimulatedAccelerator(folder, size=dram.size), dram
        self.runs = 0

    @property
    def values(self):
        return {name: self.carrier.registers.read(offset) for name, offset in OFFSETS.items()}

    def write(self, offset, value):
        self.carrier.memory.write(0, self.dram.tobytes())
        self.carrier.registers.write(offset, value)
        while self.carrier.registers.read(OFFSETS["STATUS"]) & 1:
            self.carrier.wait(0)
        if offset == OFFSETS["CONTROL"] and value & 1:
            self.runs += 1
            self.dram[:] = np.frombuffer(self.carrier.memory.read(0, self.dram.size), np.uint8)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(plan, folder of a whole build, images, golden's reals)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny")
    quant.save(graph, folder / "q.onnx")
    made = generate(graph, (folder / "q.onnx").read_bytes(), parameters_for(graph, **SMALL), folder / "build")
    images = np.random.default_rng(4).normal(size=(3, *graph.map_of(graph.input).shape)).astype(np.float32)
    return made, folder / "build", images, golden.output(graph, images)[0]


@pytest.fixture
def ran(tiny, tmp_path):
    """How a program on the board ends: (status, what it says, outputs or None, runs)"""
    if not PYTHON.is_file():
        pytest.skip(
            f"pynq is not installed: there is no {PYTHON}; `make check-boards` makes it on Python 3.11 and 3.12"
        )
    _, folder, images, _ = tiny
    np.save(tmp_path / "images.npy", images)

    def run(*how):
        space, dram = shared(tmp_path / "mem", REGISTERS + 4096), shared(tmp_path / "dram", SIZE)
        dram[:] = np.random.default_rng(2).integers(0, 256, SIZE, dtype=np.uint8)
        device = Simulated(folder, dram)
        files = (tmp_path / "mem", tmp_path / "dram", SIMULATED, REGISTERS, folder)
        command = [PYTHON, "-m", "tests.pynq_program", *files, tmp_path / "images.npy", tmp_path / "outputs.npy", *how]
        with behind_words(device, space[REGISTERS : REGISTERS + 256].view(np.uint32)):
            done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=300)
        device.carrier.close()
        assert done.stderr == "", done.stderr
        found = np.load(tmp_path / "outputs.npy") if done.returncode == 0 else None
        return done.returncode, done.stdout.strip(), found, device.runs

    return run


def test_pynq_answers_as_golden_and_the_c_twin(tiny, ran, tmp_path):
    """Registers by pynq.MMIO over /dev/mem, memory by pynq.allocate, in step only by flush and invalidate."""
    made, folder, images, reals = tiny
    status, said, found, runs = ran()
    assert (status, said, runs) == (0, "pynq 4.0.0, 1 buffer freed", len(images))
    np.testing.assert_array_equal(found, reals)
    twin = Twin.on(Carried(made, cached=True), compiled(SOURCE, folder, tmp_path / "host.so"))
    assert twin.open_folder(folder) == 0
    twins = np.full(found.shape, 7, np.float32)
    assert twin.infer([images], [twins]) == 0
    np.testing.assert_array_equal(found, twins)


def test_without_flush_the_load_is_refused(ran):
    status, said, _, runs = ran("without", "flush")
    assert (status, runs) == (1, 0)
    assert said.startswith("memory does not hold what was written: ")


def test_without_invalidate_outputs_are_stale(tiny, ran):
    status, _, found, runs = ran("without", "invalidate")
    assert (status, runs) == (0, len(tiny[2]))
    assert not np.array_equal(found, tiny[3])
