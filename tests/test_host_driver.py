"""The driver on an interpreted accelerator: outputs in the model's shapes, what it checks, how it fails."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith import golden, quant, quantize_model
from systolith.commands.golden import load_images
from systolith.host import Accelerator, Build
from systolith.host.arrays import Port, unfolded
from systolith.hw.compiler.unfold import unfold
from systolith.hw.compiler.unfold import unfolded as plan_unfolded
from systolith.quant import ConfigurationError, DataError, Settings
from systolith.quant.graph.errors import HostError
from systolith.quant.graph.host import ArgMax, Reshape, Softmax, Transpose, onnx_operator, step_of
from systolith.quant.graph.ports import real_name

from . import builds, models
from .host_device import ADDRESS, Carried, build_folder
from .hw_networks import network
from .test_host_steps import CASES, channels_last, picture_to_class
from .test_ports import arrays, flat_input, heads, two_inputs

ROOT = Path(__file__).resolve().parent.parent
STEPS = [Reshape((2, 40)), Reshape(()), Transpose((0, 2, 3, 1)), Softmax(1), Softmax(3, log=True), ArgMax(2)]
STEPS += [ArgMax(1, keep_axis=False), ArgMax(3, keep_axis=False, last=True)]

# a model, and how it is built
MODELS = {
    "softmax": (CASES["softmax"][0], {}),
    "log softmax of columns": (CASES["log softmax of columns"][0], {"batch": 2}),
    "channels last": (channels_last, {}),
    "arg max": (picture_to_class, {"batch": 3}),
    "several": (CASES["several"][0], {}),
    "two inputs": (two_inputs, {"batch": 2, "activation_kib": 8}),
    "heads": (heads, {}),
    "flat input": (flat_input, {"batch": 4}),
    "unfolded": (lambda: models.Builder((3, 9, 8)).conv(3, 4, 3, pads=[1] * 4, strides=[2, 1]), {"unfold_input": True}),
    "two-byte elements": (CASES["softmax"][0], {"activation_bits": 12}),
}


def calibrated(name):
    """(the graph of ``MODELS[name]``, five images by input, the images as `run` takes them, the build's sizes)"""
    make, how = MODELS[name]
    made = make()
    model = made.model() if isinstance(made, models.Builder) else made
    images = arrays(model, 5)
    given = images if len(images) > 1 else next(iter(images.values()))
    return quantize_model(model, given, range_method="minmax").graph, images, given, how


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_goldens_in_the_models_shapes(name, tmp_path):
    graph, images, given, how = calibrated(name)
    carrier = Carried(build_folder(graph, tmp_path / "build", **how))
    with Accelerator(carrier, tmp_path / "build") as accelerator:
        ran = accelerator.execute(images)
        again = accelerator.run(given)
    assert carrier.closed
    _, maps = load_images(graph, given)
    expected = {real_name(name): found for name, found in golden.outputs(graph, maps).items()}
    assert ran.reals.keys() == expected.keys()
    for name, (reals, integers) in expected.items():
        np.testing.assert_array_equal(ran.integers[name].reshape(integers.shape), integers)
        np.testing.assert_array_equal(ran.reals[name], reals)
        assert (ran.reals[name].dtype, ran.reals[name].shape) == (reals.dtype, reals.shape)
        np.testing.assert_array_equal(again[name] if len(expected) > 1 else again, reals)
    batch = how.get("batch", 1)
    assert len(ran.counters) == -(-5 // batch)
    assert carrier.device.runs == 2 * len(ran.counters)
    assert ran.mean()["cycles"] == pytest.approx(1000 + (1 + len(ran.counters)) / 2)
    assert f"{len(ran.counters)} runs of {batch}" in ran.lines()[0]
    assert "stall_array_weights 7" in ran.lines()[1]


def test_a_step_is_read_back_as_it_was_written():
    for step in STEPS:
        operator, attributes = json.loads(json.dumps(onnx_operator(step)))
        assert step_of(operator, attributes) == step
    with pytest.raises(quant.ModelError, match=r"^the host has no step Softmax with \{'axis': 'x'\}$"):
        step_of("Softmax", {"axis": "x"})


@pytest.mark.parametrize("stride", [1, 2])
def test_rows_are_unfolded_as_the_planner_wants_them(stride):
    graph = quant.quantize(
        quant.load_float(models.Builder((3, 11, 8)).conv(3, 4, 5, pads=[2] * 4, strides=[stride] * 2).model()),
        np.random.default_rng(1).normal(size=(4, 3, 11, 8)).astype(np.float32),
        Settings(ranges="minmax"),
    )
    _, how = plan_unfolded(graph)
    images = np.random.default_rng(2).integers(0, 256, (3, 3, 11, 8))
    np.testing.assert_array_equal(unfolded(images, how), unfold(images, how))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(plan, folder, images, golden's reals)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny") / "build"
    made = build_folder(graph, folder)
    images = np.random.default_rng(3).normal(size=(3, *graph.map_of(graph.input).shape)).astype(np.float32)
    return made, folder, images, golden.output(graph, images)[0]


def refused(tiny, carrier, message, **how):
    with pytest.raises(HostError, match=f"^{message}$"):
        Accelerator(carrier, tiny[1], **how)


def test_what_does_not_fit_is_refused_before_anything_is_written(tiny):
    made, folder, _, _ = tiny
    name = re.escape(str(folder))
    whole = -(-made.memory_bytes // 4096) * 4096
    wrong_id, wrong_print = Carried(made), Carried(made)
    wrong_id.device.values["ID"] = 0xFFFFFFFF
    wrong_print.device.values["FINGERPRINT"] ^= 1
    small, odd, high = Carried(made, size=8192), Carried(made, address=0x800), Carried(made, address=(1 << 40) - 4096)
    needs = f"{name} needs {made.memory_bytes:,} bytes"
    for carrier, message in (
        (wrong_id, r"there is no accelerator at these registers: ID reads 0xffffffff, not 0x53595354; .*"),
        (wrong_print, rf"the accelerator has fingerprint 0x\w+, {name} is for 0x\w+; `systolith compile --for` .*"),
        (small, f"{needs}, the region has 8,192"),
        (odd, r"the region lies at 0x800; it must begin at a multiple of 4,096 bytes and end below 2\^40"),
        (high, r"the region lies at 0xfffffff000; .*"),
    ):
        before = carrier.memory.dram.copy()
        refused(tiny, carrier, message)
        assert carrier.closed
        np.testing.assert_array_equal(carrier.memory.dram, before)
        assert carrier.device.written == []
    if made.memory_bytes % 4096:
        refused(
            tiny, Carried(made, size=whole - 1), rf"{needs} \({whole:,} in whole pages\), the region has {whole - 1:,}"
        )


def test_a_damaged_build_is_refused(tiny, tmp_path):
    folder = tiny[1]
    names = ("manifest.json", "program.bin", "memory.bin")
    for name in names:
        for other in folder.iterdir():
            (tmp_path / other.name).write_bytes(other.read_bytes())
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / name))):
            Build.load(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(ConfigurationError, match=f"^cannot read '{re.escape(str(tmp_path / name))}'"):
            Build.load(tmp_path)
    other = bytearray((folder / "memory.bin").read_bytes())
    other[1] ^= 1  # the stamp of another build, in a folder that is sealed again
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    builds.rebuild(tmp_path, {"memory.bin": bytes(other)})
    with pytest.raises(ConfigurationError, match=r"program\.bin was not made with memory\.bin"):
        Build.load(tmp_path)


def test_a_hang_names_who_waits_for_what_and_the_next_run_works(tiny):
    made, folder, images, reals = tiny
    carrier = Carried(made)
    accelerator = Accelerator(carrier, folder, timeout=0.05)
    carrier.device.hangs = 0b0010010
    waits = "array waits for weights, vector unit waits for complete sums"
    with pytest.raises(HostError, match=f"^the accelerator has not ended after 0.05 s; {waits}$"):
        accelerator.run(images)
    carrier.device.hangs = 0
    np.testing.assert_array_equal(accelerator.run(images), reals)


def test_memory_that_does_not_answer_any_more_is_told(tiny):
    made, folder, images, _ = tiny
    carrier = Carried(made)
    accelerator = Accelerator(carrier, folder, timeout=0.05)
    carrier.device.hangs, carrier.device.dead = 0b0100000, True
    with pytest.raises(
        HostError, match=r"loader waits for a token .*; memory does not answer its last accesses, so only"
    ):
        accelerator.run(images)
    with pytest.raises(HostError, match=r"^the accelerator is busy after a reset after 0.05 s"):
        accelerator.reset()


def test_an_error_has_its_cause_and_the_next_run_works(tiny):
    made, folder, images, reals = tiny
    carrier = Carried(made)
    accelerator = Accelerator(carrier, folder)
    for cause, text in ((6, "an instruction is damaged"), (9, "nothing moved for as many cycles"), (77, "unknown, 77")):
        carrier.device.fails = cause
        with pytest.raises(HostError, match=f"^the run failed: {text}.*; array waits for weights$"):
            accelerator.run(images)
    carrier.device.fails = 0
    np.testing.assert_array_equal(accelerator.run(images), reals)


def test_images_that_do_not_fit_are_refused(tiny):
    made, folder, images, _ = tiny
    carrier = Carried(made)
    accelerator = Accelerator(carrier, folder)
    nan = images.copy()
    nan[1, 0, 0, 0] = np.nan
    for wrong, message in (
        (images[:, :, 1:], "has shape"),
        (images[0], "has shape"),
        (images[:0], "one image at least"),
        (nan, "not a finite float32"),
        (images.astype(complex), "it must be real numbers"),
        ({"y": images}, "the network reads"),
    ):
        with pytest.raises(DataError, match=message):
            accelerator.run(wrong)
    assert carrier.device.runs == 0


def test_a_stale_cache_is_kept_in_step(tiny):
    made, folder, images, reals = tiny
    np.testing.assert_array_equal(Accelerator(Carried(made, cached=True), folder).run(images), reals)


def test_a_driver_that_forgets_to_flush_or_invalidate_would_be_seen(tiny):
    """The cache of the test above is one: without either call the outputs are wrong, or the load says so."""
    made, folder, images, reals = tiny
    carrier = Carried(made, cached=True)
    carrier.memory.flush = lambda offset, count: None
    refused(tiny, carrier, r"memory does not hold what was written: .* bytes of memory\.bin differ, the first at 0x\w+")
    carrier = Carried(made, cached=True)
    carrier.memory.invalidate = lambda offset, count: None
    assert not np.array_equal(Accelerator(carrier, folder).run(images), reals)
    carrier = Carried(made, cached=True)
    accelerator = Accelerator(carrier, folder)
    carrier.memory.flush = lambda offset, count: None
    assert not np.array_equal(accelerator.run(images), reals)


def test_a_region_anywhere_and_a_limit_in_whole_pages(tiny):
    made, folder, images, reals = tiny
    for address in (0, 0x1000, ADDRESS):
        carrier = Carried(made, size=1 << 20, address=address)
        accelerator = Accelerator(carrier, folder, watchdog=12345)
        np.testing.assert_array_equal(accelerator.run(images), reals)
        assert carrier.device.values["WATCHDOG"] == 12345
        assert carrier.device.values["LIMIT"] == -(-made.memory_bytes // 4096) * 4096
    with pytest.raises(HostError, match=r"^timeout and watchdog must be above 0"):
        Accelerator(carrier, folder, timeout=0)


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("systolith", "numpy"):
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Blocked())
import numpy as np
from systolith.host import Accelerator, Build, HostError, SerialLine
build = Build.load(sys.argv[1])
class Nothing:
    address, size, checked = 0, 1 << 30, False
    registers = memory = property(lambda self: self)
    interrupts = False
    def read(self, offset, count=0):
        return 0x53595354 if offset == 0 else build.fingerprint if offset == build.registers["FINGERPRINT"] else 0
    def write(self, offset, value): raise RuntimeError("written")
    def close(self): pass
try:
    Accelerator(Nothing(), build)
except RuntimeError as error:
    print(error)
port = build.inputs[0]
print(len(port.encoded(port.quantized(port.checked(np.zeros((1, *port.array_shape)), False), False))) == port.size)
try:
    SerialLine("/dev/nowhere")
except HostError as error:
    print(error)
"""


def test_it_needs_nothing_but_python_and_numpy(tiny):
    run = [sys.executable, "-c", ALONE, str(tiny[1])]
    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT)
    said = "pyserial is not installed; get it with `pip install pyserial`"
    assert (done.stderr, done.stdout.splitlines()) == ("", ["written", "True", said])


def test_sums_of_channels_are_real_numbers_again():
    port = Port("y", (2,), (), 0, 8, (2, 1, 1), 4, 0, (0.5, 0.25), (1.0, -1.0), 0, -(2**31), 2**31 - 1, None)
    data = np.array([[4, 8], [-4, 0]], "<i4").tobytes()
    np.testing.assert_array_equal(port.reals(port.decoded(data)), np.array([[3, 1], [-1, -1]], np.float32))
