"""The emitted accelerator as its host sees it: errors and their causes, and the C header's driver."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.planner import plan
from systolith.sim import session, toolchain

from .graphs import integers
from .host_twin import SOURCE, compiled
from .hw_networks import memory_of, network
from .test_system import HARDWARE

NAME = "4x4, 4-byte bus, small memories"
pytestmark = pytest.mark.xdist_group(f"bulk {NAME}")

SHORT = {"flips": 10, "erased": 8, "order": 12, "foreign": 10, "images": 6, "resets": 15, "nonsense": 6}
LONG = {"flips": 1000, "erased": 500, "order": 500, "foreign": 500, "images": 250, "resets": 200, "nonsense": 500}
"""How many of each kind of damage in tests/cocotb_field.py."""


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
    made.reshape(-1)[:4] = [3e38, -3e38, 1e30, -1e30]
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
    np.save(folder / "run" / "images.npy", images)
    np.save(folder / "run" / "reals.npy", golden.dequantize(tensors[graph.output], output))
    return Simulated(
        build=folder / "build",
        folder=folder / "run",
        compiled=toolchain.compile_simulation(accelerator, "bulk", "verilator"),
        outputs=np.stack([memory_of(image, output, p.activation_bits) for image in tensors[graph.output]]),
    )


def test_errors_have_their_causes_and_the_next_run_is_exact(tiny):
    assert tiny.failures("tests.cocotb_errors") == {}


def test_the_compiled_host_runs_the_simulated_accelerator(tiny, tmp_path):
    np.save(tiny.folder / "outputs.npy", tiny.outputs)
    header = (tiny.build / "systolith.h").read_text()
    for name, other in (("host", "none"), ("other_identity", "IDENTITY"), ("other_fingerprint", "BUILD")):
        changed = re.sub(rf"(#define SYSTOLITH_{other}) (0x\w+)", r"\1 (\2 ^ 1u)", header)
        assert (changed == header) == (name == "host")
        (tmp_path / name).mkdir()
        (tmp_path / name / "systolith.h").write_text(changed)
        compiled(SOURCE, tmp_path / name, tiny.folder / f"{name}.so")
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
