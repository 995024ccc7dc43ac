"""Estimates: the area's model against the syntheses that it was fitted to, the search for what fits, the command."""

import json
import re

import pytest

from systolith import estimate_build, quant
from systolith.cli import run
from systolith.hw.area import area, blocks, measured, sizes
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.devices import DEVICES, Device, device
from systolith.hw.estimate import area_line, estimate, largest
from systolith.hw.isa.parameters import Parameters
from systolith.hw.manifest import LATENCY
from systolith.hw.model.schedule import predict
from systolith.quant import ConfigurationError

from .hw_networks import network

FAMILIES = list(measured())
MISSED = {"ice40": 1}
"""Block RAMs that the model does not know of, 48 for 49: see docs/fpga.md."""


@pytest.mark.parametrize("target", FAMILIES)
def test_the_model_misses_what_was_measured_by_no_more_than_it_says(target):
    data = measured()[target]
    misses = []
    for record in data["measured"]:
        found = area(Parameters(**record["parameters"]))
        misses += [abs(getattr(found, kind) / record[kind] - 1) for kind in ("luts", "registers")]
        assert found.multipliers == record["multipliers"]
        assert found.block_rams == record["block_rams"] - MISSED.get(target, 0)
    assert max(misses, default=None) == (data["error"] and pytest.approx(data["error"], abs=1e-3))


@pytest.mark.parametrize("target", FAMILIES)
def test_more_of_anything_is_never_less_area(target):
    small = {"rows": 4, "columns": 4, "target": target, "lanes": 1}
    base = area(Parameters(**small))
    for more in (
        {"rows": 8},
        {"columns": 8},
        {"bus_bytes": 16},
        {"lanes": 2},
        {"sum_bits": 32},
        {"activation_kib": 256},
    ):
        found = area(Parameters(**{**small, "sum_bits": 24, **more}))
        for kind in ("luts", "registers", "multipliers", "block_rams"):
            assert getattr(found, kind) >= getattr(area(Parameters(**small, sum_bits=24)), kind), (more, kind)
    assert base.luts > 0


@pytest.mark.parametrize("target", FAMILIES)
def test_totals_that_slide_take_area_and_no_more_for_wider_windows(target):
    plain, narrow, wide = (
        area(Parameters(rows=4, columns=4, operands=True, target=target, sliding=sliding)) for sliding in (0, 3, 16)
    )
    assert plain.luts < narrow.luts == wide.luts
    assert plain.registers < narrow.registers == wide.registers
    assert plain.block_rams == narrow.block_rams


def test_coefficients_are_of_sizes_that_exist():
    p = Parameters(rows=4, columns=4, operands=True, tables=True, normalization=2)
    known = {part: set(named) for part, named in sizes(p).items()}
    known["lanes"].add("lanes without multiplier")
    for data in measured().values():
        for kind in ("luts", "registers"):
            assert {part: set(named) <= known[part] for part, named in data[kind].items()} == dict.fromkeys(known, True)


def test_a_memory_takes_the_fewest_block_rams_of_one_shape():
    assert [blocks("ecp5", *m) for m in ((36, 512), (23, 1024), (64, 4096), (65, 512), (1, 16384))] == [1, 2, 16, 2, 1]
    assert [blocks("ice40", *m) for m in ((16, 256), (23, 256), (8, 1024))] == [1, 2, 2]
    assert blocks("xilinx", 64, 4096) == 8
    assert blocks("gowin", 36, 1024) == 2


def test_a_memory_with_a_port_that_reads_and_writes_has_no_block_ram_of_the_widest_shape():
    """LeNet-5 on the OrangeCrab, whose two banks of 72 x 256 took eight."""
    assert [blocks(target, 72, 256, "activations") for target in ("ecp5", "gowin", "xilinx")] == [4, 4, 2]
    assert [blocks(target, 72, 256, "weights") for target in ("ecp5", "gowin", "xilinx")] == [2, 2, 1]
    assert blocks("ice40", 72, 256, "activations") == blocks("ice40", 72, 256)


def test_columns_that_share_take_a_fraction_of_the_multipliers():
    sizes = {"rows": 16, "columns": 16, "target": "ecp5", "multiplier": False}
    assert area(Parameters(**sizes)).multipliers == 256
    assert area(Parameters(**sizes, columns_per_multiplier=2)).multipliers == 128
    narrow = {"weight_bits": 4, "activation_bits": 4}
    assert area(Parameters(**sizes, **narrow, columns_per_multiplier=3)).multipliers == 96
    gowin = {**sizes, **narrow, "target": "gowin"}
    assert [area(Parameters(**gowin, columns_per_multiplier=n)).multipliers for n in (1, 3)] == [128, 96]


def test_what_was_not_measured_has_no_area():
    message = "no synthesis for the target generic was measured; the area is known of ecp5, ice40, xilinx, gowin"
    with pytest.raises(ConfigurationError, match=f"^{message}"):
        area(Parameters(rows=4, columns=4))
    assert estimate(network("tiny"), Parameters(rows=4, columns=4)).area is None


def test_cycles_and_bandwidth_are_those_of_the_plan():
    graph = network("tiny")
    parameters = parameters_for(graph, rows=4, columns=3, target="gowin")
    found = estimate(graph, parameters, clock_mhz=50)
    planned = plan(graph, parameters)
    assert found.cycles == predict(planned, LATENCY).cycles
    assert found.images_per_second == 50e6 / found.cycles
    assert found.bus_bytes_per_second == 400e6
    assert found.used_bytes_per_second == found.bytes * found.images_per_second <= found.bus_bytes_per_second
    assert found.bytes >= sum(layer.weights.size for layer in planned.layers)


@pytest.mark.parametrize("name", ["lfe5u-25f", "lfe5u-45f", "lfe5u-85f"])
def test_the_largest_that_fits_does_fit_and_runs_the_network(name):
    graph = network("tiny")
    found = largest(graph, device(name))
    assert found.area.fits(device(name))
    assert found.parameters.target == device(name).target
    assert found.area == area(found.parameters)
    plan(graph, found.parameters)


def test_a_larger_device_takes_an_accelerator_that_is_no_smaller():
    graph = network("tiny")
    cells = [
        (p := largest(graph, device(name)).parameters).rows * p.columns
        for name in ("lfe5u-25f", "lfe5u-45f", "lfe5u-85f")
    ]
    assert cells == sorted(cells)
    assert cells[0] < cells[-1]


def test_where_nothing_fits_it_says_what_is_missing():
    message = r"no accelerator for this network fits tiny: 1x1 with .* takes [\d,]+ [a-z ]+ of [\d,]+"
    with pytest.raises(ConfigurationError, match=f"^{message}$"):
        largest(network("tiny"), Device("tiny", "ecp5", 1_000, 1_000, 4, 4))
    message = "no accelerator that fits lfe5u-25f runs this network: batch must be 1 to 256 images, not 300"
    with pytest.raises(ConfigurationError, match=f"^{message}$"):
        largest(network("tiny"), device("lfe5u-25f"), batch=300)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "lfe5u-99f"}, f"device 'lfe5u-99f' is not known; known are {', '.join(DEVICES)}"),
        ({"device": "xc7z020", "target": "ecp5"}, "xc7z020 is of the target xilinx, not ecp5"),
        ({"rows": 4}, "give both rows and columns, or neither and a device"),
        ({}, "give rows and columns, or a device to fill"),
        ({"rows": 4, "columns": 4, "clock_mhz": 0}, "the clock must be above 0 and below 100000 MHz, not 0"),
    ],
)
def test_what_cannot_be_estimated_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        estimate_build(network("tiny"), **arguments)


def test_the_command_prints_lines_or_one_object(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quant.save(network("tiny"), "q.onnx")
    assert run(["estimate", "q.onnx", "--device", "lfe5u-45f", "--clock", "60"]) == 0
    said = capsys.readouterr().out
    found = estimate_build("q.onnx", device="lfe5u-45f", clock_mhz=60)
    assert said.splitlines() == found.lines()
    assert "lfe5u-45f: " in said
    assert "images a second at 60 MHz" in said
    assert run(["estimate", "q.onnx", "--rows", "4", "--columns", "4", "--target", "ecp5", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["parameters"]["target"] == "ecp5"
    assert (
        record["area"]["multipliers"]
        == area(parameters_for(network("tiny"), rows=4, columns=4, target="ecp5")).multipliers
    )


def test_generate_prints_the_same_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    quant.save(network("tiny"), "q.onnx")
    arguments = ["generate", "q.onnx", "--rows", "2", "--columns", "2", "--target", "ecp5", "-o", "build"]
    assert run(arguments) == 0
    expected = area_line(area(parameters_for(network("tiny"), rows=2, columns=2, target="ecp5")))
    assert f"{expected}, on ecp5" in capsys.readouterr().out.replace("\n", " ")
