"""The command line's ``simulate``: what it prints, its exit status, and one clear line for what a user got wrong."""

import json
import shutil

import numpy as np
import pytest

from systolith import quant
from systolith.cli import run
from systolith.hw.build import generate, parameters_for
from systolith.hw.isa.parameters import INSTRUCTION_BYTES

from .builds import rebuild
from .test_sim_faults import network

REQUIRED = {
    "images", "bit_exact", "mismatches", "cycles_per_image", "predicted_cycles", "limit_cycles", "mac_utilization",
    "simulated_cycles_per_second", "simulator", "seed", "bench", "stalls",
}  # fmt: skip


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder, and the data of three images with labels."""
    folder = tmp_path_factory.mktemp("command")
    graph = network()
    quant.save(graph, folder / "q.onnx")
    # the same Verilog as that of tests/test_sim_faults.py, so that it is compiled once
    parameters = parameters_for(graph, rows=4, columns=4, bus_bytes=8, activation_kib=2, multiplier=True)
    generate(graph, (folder / "q.onnx").read_bytes(), parameters, folder / "build")
    x = np.random.default_rng(0).integers(-30, 30, (3, 3, 10, 10)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=np.array([0, 1, 2]))
    return folder / "build", folder / "data.npz"


def simulate(capsys, *arguments):
    status = run(["simulate", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.mark.parametrize("bench", ["bulk", "protocol"])
def test_json_is_one_object_with_all_that_is_promised(build, capsys, bench):
    folder, data = build
    status, out, err = simulate(capsys, folder, "--inputs", data, "--json", "--seed", 7, "--bench", bench)
    report = json.loads(out)
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert report.keys() >= REQUIRED
    assert (report["images"], report["bit_exact"], report["mismatches"]) == (3, True, 0)
    assert (report["bench"], report["simulator"], report["seed"]) == (bench, "verilator", 7)
    assert 0 < report["mac_utilization"] < 1
    assert 0 <= report["accuracy"] <= 1
    assert report["cycles_per_image"] >= report["limit_cycles"]


def test_the_cycles_of_the_layers_add_up_and_follow_the_prediction(build, capsys):
    folder, data = build
    _, out, _ = simulate(capsys, folder, "--inputs", data, "--json")
    report, manifest = json.loads(out), json.loads((folder / "manifest.json").read_text())
    assert list(report["layer_cycles"]) == [layer["name"] for layer in manifest["layers"]]
    assert sum(report["layer_cycles"].values()) == report["cycles_per_image"]
    for layer in manifest["layers"]:
        assert report["layer_cycles"][layer["name"]] == pytest.approx(layer["predicted_cycles"], rel=0.1, abs=20)


def test_the_table_is_for_people(build, capsys):
    folder, data = build
    status, out, _ = simulate(capsys, folder, "--inputs", data, "--images", 1)
    assert status == 0
    assert "bit-exact, 1 image" in out
    assert "predicted" in out


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
def test_icarus_returns_the_same_bytes_in_the_same_cycles(build, capsys):
    folder, data = build
    options = (folder, "--inputs", data, "--json", "--images", 1)
    _, fast, _ = simulate(capsys, *options)
    status, slow, _ = simulate(capsys, *options, "--simulator", "icarus")
    assert status == 0
    assert json.loads(slow)["bit_exact"]
    assert json.loads(slow)["cycles_per_image"] == json.loads(fast)["cycles_per_image"]


def test_a_wrong_byte_gives_status_1_a_place_and_a_waveform(build, capsys, tmp_path):
    folder, data = build
    shutil.copytree(folder, tmp_path / "build")
    memory = bytearray((folder / "memory.bin").read_bytes())
    memory[INSTRUCTION_BYTES] ^= 1  # behind the stamp
    rebuild(tmp_path / "build", {"memory.bin": memory})
    status, out, _ = simulate(capsys, tmp_path / "build", "--inputs", data, "--images", 1)
    assert status == 1
    assert "image 0, layer 'conv1', channel 0, row 0" in out
    assert "waveform around the first: " in out
    wave = out.split("waveform around the first: ")[1].split()[0]
    with open(wave) as file:
        assert "systolith" in file.read(20_000) or wave.endswith(".vcd")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "no such folder; make one with `systolith generate MODEL.onnx -o "),
        (lambda folder: (folder / "program.bin").unlink(), "program.bin is missing; make the folder again with"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "manifest.json: Invalid JSON: "),
        (lambda folder: (folder / "memory.bin").write_bytes(b"x"), "memory.bin is not the file that manifest.json was"),
        (lambda folder: rebuild(folder, {"systolith.v": b"module top(a); endmodule"}), "no module 'systolith' in"),
        (lambda folder: rebuild(folder, {"systolith.v": b"\xff"}), "systolith.v is no text: "),
        (lambda folder: rebuild(folder, {"model.onnx": b"x"}), "is not an ONNX model"),
        (lambda folder: rebuild(folder, {"memory.bin": bytes(10**6)}), "its file 1000000"),
    ],
    ids=["no folder", "no program", "broken manifest", "other memory", "no module", "no text", "no model", "too large"],
)
def test_a_broken_build_folder_is_one_clear_line(build, capsys, tmp_path, change, message):
    folder, data = build
    shutil.copytree(folder, tmp_path / "build")
    change(tmp_path / "build")
    status, out, err = simulate(capsys, tmp_path / "build", "--inputs", data)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert message in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--images", "0"], 1, "images must be 1 to 3, as many as the data holds, not 0"),
        (["--images", "4"], 1, "images must be 1 to 3, as many as the data holds, not 4"),
        (["--memory-latency", "1"], 1, "memory latency must be at least 2 cycles, not 1"),
        (["--bench", "huge"], 2, "'huge' is not one of"),
        (["--simulator", "vcs"], 2, "'vcs' is not one of"),
    ],
)
def test_wrong_options_are_one_clear_line(build, capsys, arguments, status, message):
    folder, data = build
    found, out, err = simulate(capsys, folder, "--inputs", data, *arguments)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert message in err


def test_images_of_another_shape_are_refused(build, capsys, tmp_path):
    folder, _ = build
    np.savez(tmp_path / "data.npz", x=np.zeros((1, 3, 9, 10), np.float32))
    status, _, err = simulate(capsys, folder, "--inputs", tmp_path / "data.npz")
    assert status == 1
    assert "9" in err
    assert err.count("\n") == 1
