"""The commands quantize and golden, from the outside: files in, files out, one line for each mistake."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from systolith import golden, quant
from systolith.bit_choice import read_notes
from systolith.cli import run
from systolith.commands.quantize import quantize_model

from . import models, npz, oracle

LENET = Path(__file__).parent.parent / "examples" / "lenet5"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a float model, its data, and its quantized form, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    model = models.tiny()
    onnx.save(model, "model.onnx")
    images = models.images(model, 12)
    np.savez("data.npz", x=images)
    np.savez("labelled.npz", x=images, y=np.arange(12) % 5)
    quant.save(quant.quantize(model, images), "q.onnx")
    return tmp_path


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


QUANTIZE = ("quantize", "model.onnx", "--calibration", "data.npz", "-o", "out.onnx")
GOLDEN = ("golden", "q.onnx", "--inputs", "data.npz", "-o", "out.npz")


@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_lenet5_from_float_to_answers(tmp_path, capsys, scales):
    quantized, out = tmp_path / "q.onnx", tmp_path / "out.npz"
    calibration = ("--calibration", LENET / "calibration.npz")
    status, printed, errors = command(
        capsys, "quantize", LENET / "lenet5.onnx", *calibration, "-o", quantized, "--scales", scales
    )
    assert (status, errors) == (0, "")
    assert "7 layers, 5 of them with weights, 416,520 MACs an image; calibrated on 400 images" in printed
    status, printed, errors = command(capsys, "golden", quantized, "--inputs", LENET / "test.npz", "-o", out)
    assert (status, errors) == (0, "")
    found, test = npz.read(out), npz.read(LENET / "test.npz")
    assert (found["y"].dtype, found["y"].shape) == (np.float32, (1000, 10))
    assert (found["y_q"].dtype, found["y_q"].shape) == (np.int32, (1000, 10))
    model = onnx.load(quantized)
    np.testing.assert_array_equal(found["y"], oracle.run(model, test["x"]))
    right = np.mean(found["y"].argmax(axis=1) == test["y"])
    assert f"accuracy: {right:.2%} of 1000 images" in printed
    float_right = np.mean(oracle.run(onnx.load(LENET / "lenet5.onnx"), test["x"]).argmax(axis=1) == test["y"])
    assert abs(right - float_right) <= 0.003
    assert float_right >= 0.97


def test_options_reach_the_quantizer(folder, capsys):
    options = ("--weight-bits", "5", "--activation-bits", "6", "--range", "percentile", "--scales", "pow2")
    assert command(capsys, *QUANTIZE, *options, "--effort", "fast")[0] == 0
    expected = quant.quantize("model.onnx", npz.read("data.npz")["x"], quant.Settings("pow2", 5, 6, "percentile"))
    quant.save(expected, "expected.onnx")
    assert Path("out.onnx").read_bytes() == Path("expected.onnx").read_bytes()
    assert command(capsys, *QUANTIZE)[0] == 0
    best = quantize_model("model.onnx", "data.npz").calibrated.tried
    settings = quant.Settings(ranges=max(best, key=best.get), effort="default")
    quant.save(quant.quantize("model.onnx", npz.read("data.npz")["x"], settings), "expected.onnx")
    assert Path("out.onnx").read_bytes() == Path("expected.onnx").read_bytes()


def test_bits_effort_and_seed_reach_the_quantizer(folder, capsys):
    names = [layer.name for layer in quant.load_float("model.onnx").layers if hasattr(layer, "weights")]
    options = ("--bits", "*=4:6", "--bits", f"{names[-1]}=8", "--effort", "best", "--seed", "3", "--range", "mse")
    status, printed, _ = command(capsys, *QUANTIZE, *options)
    assert status == 0
    bits = {"*": "4:6", names[-1]: "8"}
    expected = quantize_model("model.onnx", "data.npz", bits=bits, effort="best", seed=3, range_method="mse")
    assert Path("out.onnx").read_bytes() == expected.model.SerializeToString(deterministic=True)
    assert f"weights: {expected.mean_bits:.2f} bits on average" in printed
    other = quantize_model("model.onnx", "data.npz", bits=bits, effort="fast", range_method="mse")
    assert quant.to_onnx(other.graph) != quant.to_onnx(expected.graph)


def test_a_budget_is_told_and_what_is_no_layer_refused(folder, capsys):
    status, printed, _ = command(capsys, *QUANTIZE, "--budget", "4")
    assert status == 0
    assert "dB at 4" in printed
    assert "elements" not in printed
    status, printed, _ = command(capsys, *QUANTIZE, "--budget", "4:5")
    assert status == 0
    assert "map of" in printed
    assert "elements" in printed
    mean = read_notes(onnx.load("out.onnx")).maps.mean
    assert f"feature maps: {mean:.2f} bits on average" in printed
    status, _, _ = command(capsys, *QUANTIZE, "--loss", "40", "--narrow-maps")
    assert status == 0
    assert read_notes(onnx.load("out.onnx")).maps.together is not None
    Path("out.onnx").unlink()
    for options, said in (
        (("--budget", "4:"), "a budget must be W, W:M or :M"),
        (("--budget", "four"), "not 'four'"),
        (("--narrow-maps",), "give one of them"),
        (("--bits", "conv1"), "'conv1' is not LAYER=N or LAYER=N:M"),
        (("--bits", "nothing=4"), "no layer is called so"),
        (("--budget", "4", "--loss", "1"), "give one of them"),
    ):
        status, _, error = command(capsys, *QUANTIZE, *options)
        assert status != 0
        assert said in error
        assert not Path("out.onnx").exists()


def test_a_dropped_softmax_is_told(folder, capsys):
    net = models.Builder((2, 6, 6)).conv(2, 4, 3).flatten().gemm(64, 3).node("Softmax")
    onnx.save(net.model(), "model.onnx")
    status, printed, _ = command(capsys, *QUANTIZE)
    assert status == 0
    assert "left to the host: Softmax along axis 1, of 'softmax1_out'" in printed


def test_weight_bits_given_up_for_int32_are_told(folder, capsys):
    status, printed, _ = command(capsys, *QUANTIZE, "--weight-bits", "16", "--activation-bits", "16")
    assert status == 0
    layers = [layer for layer in quant.load("out.onnx").layers if isinstance(layer, quant.Conv)]
    for layer in layers:
        assert f"layer '{layer.name}': {layer.weight_bits} of 16 weight bits, so that its sums fit int32" in printed
    assert "weight bits" not in command(capsys, *QUANTIZE)[1]


def test_maps_keep_their_shape(folder, capsys):
    model = models.single("relu6")
    images = models.images(model, 3)
    graph = quant.quantize(model, images)
    quant.save(graph, "q.onnx")
    np.savez("data.npz", x=images)
    assert command(capsys, *GOLDEN)[0] == 0
    found = npz.read("out.npz")
    np.testing.assert_array_equal(found["y"], oracle.run(onnx.load("q.onnx"), images))
    assert found["y_q"].dtype == np.uint8
    np.testing.assert_array_equal(golden.dequantize(found["y_q"], graph.tensors[graph.output]), found["y"])


def save(x):
    return lambda: np.savez("data.npz", x=x)


GOOD = np.zeros((3, 2, 6, 6), np.float32)
X = "x in 'data.npz'"

# What to do before, the file, and the whole message; tests/test_data.py has what a file alone can do wrong.
MISTAKES = {
    "no data": (lambda: None, "missing.npz", "cannot read the data 'missing.npz': No such file or directory"),
    "rank 2": (
        save(GOOD[:, 0, 0]),
        "data.npz",
        "x in 'data.npz', read as NxK, has shape 3x6x1x1; the model takes Nx2x6x6",
    ),
    "one image": (save(GOOD[0]), "data.npz", f"{X}, read as NxCxL, has shape 2x6x1x6; the model takes Nx2x6x6"),
    "channels": (save(GOOD[:, :1]), "data.npz", f"{X} has shape 3x1x6x6; the model takes Nx2x6x6"),
    "no images": (save(GOOD[:0]), "data.npz", f"{X} holds no images; at least one is needed"),
    "nan": (
        save(np.where(np.arange(3)[:, None, None, None] == 1, np.nan, GOOD)),
        "data.npz",
        f"{X} contains NaN or infinity in image 1",
    ),
    "infinity": (
        save(np.where(np.arange(3)[:, None, None, None] == 2, np.inf, GOOD)),
        "data.npz",
        f"{X} contains NaN or infinity in image 2",
    ),
}


@pytest.mark.parametrize("which", ["quantize", "golden"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_data(folder, capsys, mistake, which):
    prepare, name, message = MISTAKES[mistake]
    prepare()
    arguments = QUANTIZE if which == "quantize" else GOLDEN
    arguments = tuple(name if argument == "data.npz" else argument for argument in arguments)
    status, printed, errors = command(capsys, *arguments)
    assert (status, printed, errors) == (1, "", f"systolith: error: {message}\n")
    assert_nothing_written()


def assert_nothing_written():
    left = {path.name for path in Path().iterdir()}
    assert not {name for name in left if name.startswith(("out", ".out"))}, left


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((*QUANTIZE, "--weight-bits", "1"), 1, "weight bits must be 2 to 16, not 1"),
        ((*QUANTIZE, "--activation-bits", "17"), 1, "activation bits must be 2 to 16, not 17"),
        ((*QUANTIZE[:-1], "no/out.onnx"), 1, "cannot write 'no/out.onnx': there is no folder '{}/no'; make it first"),
        ((*GOLDEN[:-1], "no/out.npz"), 1, "cannot write 'no/out.npz': there is no folder '{}/no'; make it first"),
        ((*GOLDEN[:-1], "."), 1, "cannot write '.': it is a folder; name a file in it"),
        (("golden", "missing.onnx", *GOLDEN[2:]), 1, "cannot read the model 'missing.onnx': No such file or directory"),
        (
            ("golden", "model.onnx", *GOLDEN[2:]),
            1,
            "node 'conv1' (Conv): reads the input 'image' before a QuantizeLinear; leave what is before the first one"
            " to the host (onnx.utils.extract_model), or quantize the model first",
        ),
        (("quantize", "data.npz", *QUANTIZE[2:]), 1, "'data.npz' is not an ONNX model, or it is truncated"),
        (
            ("quantize", "q.onnx", *QUANTIZE[2:]),
            1,
            "node 'image_quantized_QuantizeLinear' (QuantizeLinear): the model is quantized already; "
            "quantize the float model that it was made from",
        ),
        (QUANTIZE[:4], 2, "Missing option '--output' / '-o'."),
        (("golden",), 2, "Missing argument 'Q.onnx'."),
        (("frobnicate",), 2, "No such command 'frobnicate'."),
    ],
)
def test_other_mistakes(folder, capsys, arguments, status, message):
    message = message.replace("{}", os.path.realpath(folder))
    assert command(capsys, *arguments) == (status, "", f"systolith: error: {message}\n")
    assert_nothing_written()


@pytest.mark.parametrize("option", [("--scales", "pow3"), ("--range", "max"), ("--weight-bits", "eight")])
def test_values_that_an_option_does_not_take(folder, capsys, option):
    status, printed, errors = command(capsys, *QUANTIZE, *option)
    assert (status, printed) == (2, "")
    assert errors.startswith(f"systolith: error: Invalid value for '{option[0]}'")
    assert errors.count("\n") == 1
    assert_nothing_written()


def test_a_failure_leaves_the_old_file_alone(folder, capsys, monkeypatch):
    Path("out.npz").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    status, _, errors = command(capsys, *GOLDEN)
    assert (status, errors) == (1, "systolith: error: cannot write 'out.npz': No space left on device\n")
    assert Path("out.npz").read_bytes() == b"old"
    assert [path.name for path in Path().iterdir() if path.name.startswith(".out")] == []


def test_written_files_have_ordinary_permissions(folder, capsys):
    assert command(capsys, *GOLDEN)[0] == 0
    Path("ordinary").touch()
    assert Path("out.npz").stat().st_mode == Path("ordinary").stat().st_mode


@pytest.mark.parametrize("name", ["quantize", "golden"])
def test_help_has_an_example_that_parses(capsys, name):
    status, printed, _ = command(capsys, name, "--help")
    assert status == 0
    assert f"Example: systolith {name}" in " ".join(printed.split())
