"""The program as a process: its status, its streams, and what it does when these are closed or cannot show a name."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import systolith
from systolith import golden, quant
from systolith.cli import run

from . import models

SYSTOLITH = [sys.executable, "-m", "systolith"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose name has a space, with a float model, its data, and its quantized form; the current one."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    monkeypatch.chdir(folder)
    model = models.tiny()
    onnx.save(model, "the model.onnx")
    images = models.images(model, 12)
    np.savez("the data.npz", x=images)
    quant.save(quant.quantize(model, images), "q.onnx")
    return folder


def systolith_process(*arguments: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*SYSTOLITH, *arguments], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_version():
    assert systolith_process("--version") == (0, f"systolith {systolith.__version__}\n", "")


def test_names_may_have_spaces(folder):
    out = "the result.npz"
    status, printed, errors = systolith_process("golden", "q.onnx", "--inputs", "the data.npz", "-o", out)
    assert (status, printed, errors) == (0, f"{out}: y and y_q, 12x5\n", "")
    status, printed, errors = systolith_process("golden", "no model.onnx", "--inputs", "the data.npz", "-o", out)
    message = "systolith: error: cannot read the model 'no model.onnx': No such file or directory\n"
    assert (status, printed, errors) == (1, "", message)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["golden", "--help"]])
def test_a_reader_that_went_away_is_met_with_silence(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*SYSTOLITH, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("name", ["größer.npz", os.fsdecode(b"\xff.npz")])
def test_a_name_that_the_terminal_cannot_show_is_escaped(folder, name):
    arguments = ("golden", "q.onnx", "--inputs", "the data.npz", "-o", name)
    status, printed, errors = systolith_process(*arguments, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    shown = name.encode("ascii", "backslashreplace").decode()
    assert (status, printed, errors) == (0, f"{shown}: y and y_q, 12x5\n", "")
    assert Path(name).exists()


def test_an_interrupt_is_one_line_and_leaves_nothing(folder, capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = sorted(path.name for path in folder.iterdir())
    monkeypatch.setattr(golden, "outputs", interrupted)
    status = run(["golden", "q.onnx", "--inputs", "the data.npz", "-o", "out.npz"])
    printed, errors = capsys.readouterr()
    assert (status, printed, errors.strip()) == (130, "", "systolith: error: interrupted")
    assert sorted(path.name for path in folder.iterdir()) == before
