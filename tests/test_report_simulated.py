"""What ``simulate`` measured reaches the report."""

import json
import os

import numpy as np
import pytest

from systolith import quant
from systolith.cli import run
from systolith.hw.build import generate, parameters_for

from .report_builds import cells, page_of, section, words
from .test_sim_faults import network


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A build folder after ``simulate --json``, and what that printed."""
    folder = tmp_path_factory.mktemp("simulated")
    graph = network()
    quant.save(graph, folder / "q.onnx")
    # the same Verilog as that of tests/test_sim_faults.py, so that it is compiled once
    parameters = parameters_for(graph, rows=4, columns=4, bus_bytes=8, activation_kib=2, multiplier=True)
    generate(graph, (folder / "q.onnx").read_bytes(), parameters, folder / "build")
    x = np.random.default_rng(0).integers(-30, 30, (2, 3, 10, 10)).astype(np.float32)
    np.savez(folder / "data.npz", x=x)
    assert run(["simulate", str(folder / "build"), "--inputs", str(folder / "data.npz"), "--json"]) == 0
    return folder / "build"


def test_the_saved_file_is_what_json_prints(simulated, capsys):
    assert run(["simulate", str(simulated), "--inputs", str(simulated.parent / "data.npz"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    saved = json.loads((simulated / "simulation.json").read_text())
    assert saved["report"] == printed


def test_the_report_shows_what_was_measured(simulated):
    saved = json.loads((simulated / "simulation.json").read_text())["report"]
    _, tree = page_of(simulated)
    summary = words(section(tree, "summary"))
    assert "bit-exact 2 images, every byte compared" in summary
    assert f"{saved['cycles_per_image']:,.0f}" in summary
    assert cells(section(tree, "summary"))[0][-1] == f"{saved['mac_utilization']:.1%}"
    waits = [row[2] for row in cells(section(tree, "time")) if len(row) == 4]
    assert waits == [f"{cycles:,.0f}" for cycles in saved["stalls"].values()]
    assert [row[2] for row in cells(section(tree, "compared"))] == ["equal"] * 3
    assert "verilator, bulk bench, seed 0" in words(section(tree, "made"))


def test_work_and_waiting_fit_into_the_measured_cycles(simulated):
    """The counters are the hardware's, the work is the program's: together they cannot exceed the run."""
    saved = json.loads((simulated / "simulation.json").read_text())["report"]
    manifest = json.loads((simulated / "manifest.json").read_text())
    for unit in ("array", "vector"):
        work = sum(worked for *_, worked in manifest["timeline"][unit])
        waited = sum(cycles for name, cycles in saved["stalls"].items() if name.startswith(unit))
        assert 0.6 * saved["cycles_per_image"] < work + waited <= saved["cycles_per_image"], unit
    _, tree = page_of(simulated)
    parts = [float(row[1].replace(",", "")) for row in cells(section(tree, "time")) if len(row) == 3]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(saved["cycles_per_image"], abs=len(parts))


def test_a_folder_that_cannot_take_the_file_is_refused_before_simulating(simulated, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode, **_: mode != os.W_OK)
    monkeypatch.setattr("systolith.sim.simulate", None)
    status = run(["simulate", str(simulated), "--inputs", str(simulated.parent / "data.npz")])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (1, 1)
    assert "simulation.json': its folder is not writable" in error
