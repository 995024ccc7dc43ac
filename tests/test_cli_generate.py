"""The command generate, from the outside: a folder, a table, one line for each mistake."""

from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

from systolith import quant
from systolith.cli import run

from . import models


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a float model and its quantized form, which is also the current one."""
    monkeypatch.chdir(tmp_path)
    model = models.tiny()
    onnx.save(model, "model.onnx")
    quant.save(quant.quantize(model, models.images(model, 12)), "q.onnx")
    return tmp_path


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_generate_prints_each_layer_and_where_the_files_are(folder, capsys):
    status, out, err = command(capsys, "generate", "q.onnx", "--rows", 4, "--columns", 3, "-o", "build")
    assert (status, err) == (0, "")
    assert "4x3 multipliers of 8x8 bits" in out
    assert "written to build" in out
    assert (folder / "build" / "systolith.v").stat().st_size > 10_000


def test_generate_unfolds_the_input_when_asked(folder, capsys):
    for option in ("--no-unfold-input", "--unfold-input"):
        given = ["--rows", 4, "--columns", 3, "--lanes", 2, option]
        status, out, err = command(capsys, "generate", "q.onnx", "-o", "build", *given)
        assert (status, err) == (0, "")
        manifest = json.loads((folder / "build" / "manifest.json").read_text())
        asked = option == "--unfold-input"
        assert (manifest["parameters"]["lanes"], bool(manifest["inputs"][0]["unfolding"])) == (2, asked)
        assert ("systolith_unfold" in (folder / "build" / "systolith.h").read_text()) == asked
        assert manifest["chosen"] == []
        assert "lanes: " not in out


def test_generate_says_what_it_chose_and_why(folder, capsys):
    status, out, _ = command(capsys, "generate", "q.onnx", "--rows", 4, "--columns", 3, "-o", "build")
    assert status == 0
    manifest = json.loads((folder / "build" / "manifest.json").read_text())
    lanes, how = manifest["chosen"]
    assert lanes.startswith(f"lanes: {manifest['parameters']['lanes']}")
    assert how.startswith("input: unfolded by the host, about ")
    assert manifest["inputs"][0]["unfolding"] is not None
    assert lanes in out.splitlines()
    assert how in out.splitlines()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["q.onnx", "--rows", 0, "--columns", 4], "rows must be 1 to 128, not 0"),
        (["q.onnx", "--rows", 4, "--columns", 129], "columns must be 1 to 128, not 129"),
        (["q.onnx", "--rows", 4, "--columns", 4, "--bus-bytes", 5], "bus bytes must be 4, 8, 16, 32 or 64, not 5"),
        (["q.onnx", "--rows", 4, "--columns", 4, "--lanes", 5], "lanes must be 1 to 4, not 5"),
        (
            ["q.onnx", "--rows", 4, "--columns", 4, "--bus-bytes", 64, "--weight-fifo-kib", 1],
            "weight FIFO KiB must be at least 2 for a bus of 64 bytes, not 1",
        ),
        (["missing.onnx", "--rows", 4, "--columns", 4], "cannot read the model 'missing.onnx'"),
        (["model.onnx", "--rows", 4, "--columns", 4], "quantize the model first"),
        (["q.onnx", "--rows", "four", "--columns", 4], "Invalid value for '--rows'"),
        (["q.onnx", "--columns", 4], "Missing option '--rows'"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing_behind(folder, capsys, options, message):
    before = sorted(p.name for p in folder.iterdir())
    status, out, err = command(capsys, "generate", *options, "-o", "build")
    assert status != 0
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("systolith: error: ")
    assert message in err
    assert sorted(p.name for p in folder.iterdir()) == before


GENERAL = ("generate", "--general", "--rows", 4, "--columns", 4, "-o")


def test_a_general_accelerator_gets_programs_by_compile(folder, capsys):
    status, out, err = command(capsys, *GENERAL, "general", "--sum-bits", 24, "--normalization", 2)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "4x4 multipliers of 8x8 bits, 24-bit sums, 1 requantizer lanes, 8-byte bus",
        "written to general",
    ]
    assert sorted(path.name for path in Path("general").iterdir()) == ["manifest.json", "systolith.v"]
    parameters = json.loads(Path("general/manifest.json").read_text())["parameters"]
    features = ("sum_bits", "multiplier", "operands", "tables", "normalization")
    assert [parameters[name] for name in features] == [24, True, True, True, 2]

    compiled = ("compile", "q.onnx", "--for", "general", "-o", "build", "--batch", 2, "--unfold-input")
    status, out, err = command(capsys, *compiled)
    assert (status, err) == (0, "")
    assert "4x4 multipliers of 8x8 bits, 24-bit sums" in out
    assert "written to build" in out
    assert Path("build/systolith.v").read_bytes() == Path("general/systolith.v").read_bytes()
    manifest = json.loads(Path("build/manifest.json").read_text())
    assert (manifest["batch"], manifest["parameters"], bool(manifest["inputs"][0]["unfolding"])) == (
        2,
        parameters,
        True,
    )


def test_only_the_monitor_adds_ports(folder, capsys):
    for options, ports in ((), 0), (("--monitor",), 4):
        assert command(capsys, *GENERAL, "general", *options)[0] == 0
        text = Path("general/systolith.v").read_text()
        assert len(re.findall(r"^  output .*\bmonitor_\w+;$", text, re.MULTILINE)) == ports


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((*GENERAL, "b", "q.onnx"), 2, "--general takes no model, --batch or --unfold-input; `systolith compile` does"),
        ((*GENERAL, "b", "--batch", 2), 2, "--general takes no model, --batch or --unfold-input; `systolith compile`"),
        (("generate", "--rows", 4, "--columns", 4, "-o", "b"), 2, "Missing argument 'Q.onnx'; only --general takes"),
        ((*GENERAL, "b", "--normalization", 5), 1, "normalization over 5 channels needs tables, the multiplier and at"),
        ((*GENERAL, "b", "--sum-bits", 33), 1, "sum bits must be 8 to 32, not 33"),
        (("compile", "q.onnx", "--for", "nowhere", "-o", "b"), 1, "nowhere: no such folder; make one with"),
        (("compile", "missing.onnx", "--for", "q.onnx", "-o", "b"), 1, "cannot read the model 'missing.onnx'"),
        (("compile", "q.onnx", "-o", "b"), 2, "Missing option '--for'"),
    ],
)
def test_mistakes_about_general_accelerators_get_one_line(folder, capsys, arguments, status, message):
    before = sorted(p.name for p in folder.iterdir())
    found, out, err = command(capsys, *arguments)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert message in err
    assert sorted(p.name for p in folder.iterdir()) == before


def test_a_build_never_replaces_a_file_or_a_folder_of_something_else(folder, capsys):
    Path("build").write_text("keep me")
    status, _, err = command(capsys, "generate", "q.onnx", "--rows", 4, "--columns", 4, "-o", "build")
    assert (status != 0, err) == (True, "systolith: error: build is a file; give a folder for the build\n")
    assert Path("build").read_text() == "keep me"
    status, _, err = command(capsys, "generate", "q.onnx", "--rows", 4, "--columns", 4, "-o", ".")
    assert status != 0
    assert "which is no part of a build; give an empty or new folder" in err


def test_help_has_an_example(capsys):
    status, out, _ = command(capsys, "generate", "--help")
    assert status == 0
    assert "systolith generate lenet5-q.onnx --rows 8 --columns 8" in " ".join(out.split())
