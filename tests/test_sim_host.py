"""The emitted accelerator as its host sees it: errors and their causes, and ``systolith_run`` in compiled C."""

import ctypes
import dataclasses
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.planner import plan
from systolith.sim import session, toolchain

from .graphs import integers
from .hw_networks import memory_of, network
from .test_system import HARDWARE

NAME = "4x4, 4-byte bus, small memories"
pytestmark = pytest.mark.xdist_group(f"bulk {NAME}")

SHORT = {"flips": 10, "erased": 8, "order": 12, "foreign": 10, "images": 6, "resets": 15, "nonsense": 6}
LONG = {"flips": 1000, "erased": 500, "order": 500, "foreign": 500, "images": 250, "resets": 200, "nonsense": 500}
"""How many of each kind of damage in tests/cocotb_field.py."""
LANGUAGES = {"C99": ["-x", "c", "-std=c99"], "C++11": ["-x", "c++", "-std=c++11"]}
FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-shared", "-fPIC"]
BUSY, DONE, ERROR = 1, 2, 0x304
OTHER_BUILD, TIMEOUT = 0xFFFF_FFFF, 0xFFFF_FFFE
START, CLEAR = 1, 2


@dataclass(frozen=True)
class Simulated:
    """A build folder, and the folder of a run of it that passed, with its job."""

    build: Path
    folder: Path
    compiled: toolchain.Compiled
    outputs: np.ndarray
    """uint8, (images, bytes): golden's output maps as memory holds them."""

    def failures(self, tests: str) -> dict[str, str]:
        """The cocotb tests of the module ``tests`` that fail, and with what."""
        done = session.run_tests(dataclasses.replace(self.compiled, tests=tests), self.folder)
        return {name: said for name, said in done.items() if said}


def reals(source, values):
    """Real values, float32, that are nearest to ``values``, ties among them and what lies far outside the range."""
    rng = np.random.default_rng(6)
    steps = (values - source.zero_point).astype(np.float32)
    steps += rng.choice([-0.5, 0.5, 0.25, -0.49], values.shape).astype(np.float32)
    made = steps * source.scale
    made.reshape(-1)[:4] = [3e38, -3e38, np.inf, -np.inf]
    return made


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The accelerator of ``models.tiny`` after a run of two images."""
    folder = tmp_path_factory.mktemp("tiny")
    graph = network("tiny")
    quant.save(graph, folder / "q.onnx")
    p = parameters_for(graph, **HARDWARE[NAME])
    generate(graph, (folder / "q.onnx").read_bytes(), p, folder / "build")
    accelerator = sim.load(folder / "build")
    images = reals(graph.map_of(graph.input), integers(graph, 2, seed=4))
    tensors = golden.run(graph, golden.quantize_input(graph, images))
    assert sim.simulate_tensors(accelerator, graph, tensors, folder=folder / "run").bit_exact
    output = graph.tensors[graph.output]
    np.save(folder / "run" / "images.npy", images.transpose(0, 2, 3, 1).reshape(2, -1))
    scores = golden.dequantize(tensors[graph.output], output)
    np.save(folder / "run" / "reals.npy", scores.transpose(0, 2, 3, 1).reshape(2, -1))
    return Simulated(
        build=folder / "build",
        folder=folder / "run",
        compiled=toolchain.compile_simulation(accelerator, "bulk", "verilator"),
        outputs=np.stack([memory_of(image, output, p.activation_bits) for image in tensors[graph.output]]),
    )


def test_errors_have_their_causes_and_the_next_run_is_exact(tiny):
    assert tiny.failures("tests.cocotb_errors") == {}


def library(source: Path, header: Path, target: Path, language: str = "C99") -> Path:
    """``source`` compiled without a warning."""
    command = ["g++", *LANGUAGES[language], *FLAGS, "-I", str(header), str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return target


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_on_plain_registers(tiny, tmp_path, language):
    """Registers that keep what is written: STATUS never changes."""
    (tmp_path / "host.c").write_text(
        "#define SYSTOLITH_POLLS 1000u\n"
        '#include "systolith.h"\n'
        "#ifdef __cplusplus\n"
        'extern "C"\n'
        "#endif\n"
        "uint32_t run(volatile uint32_t *registers);\n"
        "uint32_t run(volatile uint32_t *registers) { return systolith_run(registers, 0x1200007000u); }\n"
    )
    run = ctypes.CDLL(str(library(tmp_path / "host.c", tiny.build, tmp_path / "host.so", language))).run
    run.restype = ctypes.c_uint32
    manifest = json.loads((tiny.build / "manifest.json").read_text())
    at = {name: entry["offset"] // 4 for name, entry in manifest["registers"].items()}
    fingerprint = int(re.search(r"SYSTOLITH_BUILD 0x(\w+)u", (tiny.build / "systolith.h").read_text()).group(1), 16)
    program = manifest["memory"]["regions"]["program"]["address"]
    limit = -(-manifest["memory"]["bytes"] // 4096) * 4096
    started = {"BASE": 0x7000, "BASE_HIGH": 0x12, "LIMIT": limit, "PROGRAM": program, "WATCHDOG": 1_000_000}
    for changed, returned, written in (
        ({"STATUS": DONE}, 0, {**started, "CONTROL": CLEAR}),
        ({"STATUS": ERROR}, ERROR, {**started, "CONTROL": CLEAR}),
        ({"STATUS": 0}, TIMEOUT, {**started, "CONTROL": START}),
        ({"STATUS": BUSY}, TIMEOUT, {}),
        ({"STATUS": BUSY | DONE}, TIMEOUT, {}),
        ({"STATUS": BUSY | ERROR}, TIMEOUT, {}),
        ({"STATUS": DONE, "ID": 0x53595355}, OTHER_BUILD, {}),
        ({"STATUS": DONE, "FINGERPRINT": fingerprint ^ 1 << 31}, OTHER_BUILD, {}),
    ):
        registers = np.zeros(64, np.uint32)
        for name, value in ({"ID": 0x53595354, "FINGERPRINT": fingerprint} | changed).items():
            registers[at[name]] = value
        wanted = registers.copy()
        for name, value in written.items():
            wanted[at[name]] = value
        assert run(registers.ctypes.data_as(ctypes.c_void_p)) == returned, changed
        np.testing.assert_array_equal(registers, wanted, str(changed))


def test_the_compiled_host_runs_the_simulated_accelerator(tiny, tmp_path):
    np.save(tiny.folder / "outputs.npy", tiny.outputs)
    header = (tiny.build / "systolith.h").read_text()
    for name, other in (("host", "none"), ("other_identity", "IDENTITY"), ("other_fingerprint", "BUILD")):
        changed = re.sub(rf"(#define SYSTOLITH_{other}) (0x\w+)", r"\1 (\2 ^ 1u)", header)
        assert (changed == header) == (name == "host")
        (tmp_path / name).mkdir()
        (tmp_path / name / "systolith.h").write_text(changed)
        library(Path(__file__).parent / "host.c", tmp_path / name, tiny.folder / f"{name}.so")
    assert tiny.failures("tests.cocotb_host") == {}


def foreign(folder):
    """What belongs to other networks on the accelerator of ``tiny``: foreign.npz."""
    graph = network("tiny")
    p = parameters_for(graph, **HARDWARE[NAME])
    first, *rest = graph.layers
    weights = first.weights.copy()
    weights.reshape(-1)[0] ^= 1
    changed = dataclasses.replace(graph, layers=(dataclasses.replace(first, weights=weights), *rest))
    other, heavier = plan(graph, p, batch=2), plan(changed, p)
    np.savez(
        folder / "foreign.npz",
        program=np.frombuffer(other.program_bytes(), np.uint8),
        image=np.frombuffer(other.dram.constants, np.uint8),
        weights=np.frombuffer(heavier.dram.constants, np.uint8),
    )


def survive(tiny, counts):
    foreign(tiny.folder)
    (tiny.folder / "campaign.json").write_text(json.dumps(counts))
    assert tiny.failures("tests.cocotb_field") == {}
    return {name: json.loads((tiny.folder / f"{name}.json").read_text()) for name in ("found", "resets")}


def test_a_short_campaign_ends_with_causes(tiny):
    found = survive(tiny, SHORT)["found"]
    assert sum(found["1 flipped bits"].values()) == SHORT["flips"]


@pytest.mark.matrix
def test_a_long_campaign_ends_with_causes(tiny, capsys):
    found = survive(tiny, LONG)
    with capsys.disabled():
        print(json.dumps(found, indent=1))
