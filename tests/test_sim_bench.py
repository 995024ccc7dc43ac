"""Both benches and both simulators on a stand-in for the accelerator that only copies."""

import shutil

import numpy as np
import pytest

from systolith import sim
from systolith.quant import ConfigurationError, SimulationError
from systolith.sim import toolchain
from systolith.sim.benches.protocol_rules import broken_rule

from .builds import rebuild
from .copy_accelerator import copy_images, write_copy

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
SIMULATORS = ["verilator", pytest.param("icarus", marks=needs_icarus)]
BENCHES = ["bulk", "protocol"]


def run(folder, *, images=2, bench="bulk", simulator="verilator", seed=0, latency=30, **build):
    graph = write_copy(folder / "build", **build)
    return sim.simulate_tensors(
        sim.load(folder / "build"),
        graph,
        copy_images(graph, images),
        bench=bench,
        simulator=simulator,
        seed=seed,
        memory_latency=latency,
        folder=folder / "run",
    )


@pytest.mark.parametrize(
    ("bus_bytes", "bench", "simulator"),
    [
        (4, "bulk", "verilator"),
        (8, "bulk", "verilator"),
        (16, "bulk", "verilator"),
        (8, "protocol", "verilator"),
        *(
            pytest.param(bus_bytes, bench, "icarus", marks=needs_icarus)
            for bus_bytes in (4, 8, 16)
            for bench in ("bulk", "protocol")
        ),
    ],
)
def test_a_copy_is_exact(tmp_path, bus_bytes, bench, simulator):
    report = run(tmp_path, bus_bytes=bus_bytes, bench=bench, simulator=simulator)
    assert (report.bit_exact, report.mismatches, report.images) == (True, 0, 2)
    assert (report.bench, report.simulator, report.differences) == (bench, simulator, [])
    assert report.as_json()["cycles_per_image"] == report.cycles_per_image


def test_a_temporary_folder_stays_only_with_what_differs(tmp_path, monkeypatch):
    graph = write_copy(tmp_path / "build")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert sim.simulate_tensors(sim.load(tmp_path / "build"), graph, copy_images(graph, 1)).bit_exact
    assert not list((tmp_path / "temporary").iterdir())
    text = (tmp_path / "build" / "systolith.v").read_text().replace("monitor_data <= ", "monitor_data <= 1 ^ ")
    rebuild(tmp_path / "build", {"systolith.v": text.encode()})
    assert not sim.simulate_tensors(
        sim.load(tmp_path / "build"), graph, copy_images(graph, 1), waveform=False
    ).bit_exact
    (kept,) = (tmp_path / "temporary").iterdir()
    assert list(kept.glob("*.log"))


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_what_relies_on_zeros_in_its_memories_is_caught(tmp_path, simulator):
    """Nobody writes ``never``, which hides behind every byte: random bits, by the seed, and the same again."""
    graph = write_copy(tmp_path / "build")
    text = (tmp_path / "build" / "systolith.v").read_text()
    text = text.replace("\n);\n", "\n);\n  reg [63:0] never [3:0];\n", 1)
    text = text.replace("monitor_data <= ", "monitor_data <= never[sent % 4] ^ ")
    rebuild(tmp_path / "build", {"systolith.v": text.encode()})
    found = []
    for seed in (0, 0, 1):
        accelerator, tensors = sim.load(tmp_path / "build"), copy_images(graph, 1)
        report = sim.simulate_tensors(
            accelerator, graph, tensors, simulator=simulator, seed=seed, folder=tmp_path / "run", waveform=False
        )
        assert report.mismatches > 13 * 17 * 8 * 0.9
        found.append([difference.found for difference in report.differences])
    assert found[0] == found[1]
    assert simulator == "icarus" or found[0] != found[2]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_stalls_change_the_time_and_nothing_else(tmp_path, seed):
    calm = run(tmp_path / "calm")
    stalled = run(tmp_path / "stalled", bench="protocol", seed=seed, images=3)
    again = run(tmp_path / "again", bench="protocol", seed=seed, images=3)
    assert calm.bit_exact
    assert stalled.bit_exact
    assert stalled.cycles_per_image > calm.cycles_per_image
    assert again.cycles_per_image == stalled.cycles_per_image


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_memory_has_the_latency_that_it_was_given(tmp_path, simulator):
    # three round trips follow each other: the program, the first data, the last response
    fast, slow = (run(tmp_path / f"{n}", latency=n, images=1, simulator=simulator) for n in (10, 30))
    assert slow.cycles_per_image - fast.cycles_per_image == 3 * 20


def test_bursts_stream_without_gaps(tmp_path):
    sizes = [run(tmp_path / f"{rows}", rows=rows, columns=16, latency=16, images=1) for rows in (8, 12)]
    beats = (12 - 8) * 16
    assert sizes[1].cycles_per_image - sizes[0].cycles_per_image <= beats * 1.15


@pytest.mark.parametrize("bench", BENCHES)
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_a_wrong_byte_is_located_and_recorded(tmp_path, simulator, bench):
    report = run(tmp_path, fault="corrupt", beat=37, bench=bench, simulator=simulator)
    assert not report.bit_exact
    assert report.mismatches == 2
    for image, found in enumerate(report.differences):
        place = (found.image, found.layer, found.channel, found.row, found.column)
        assert place == (image, "copy", 2, 2, 3)
        assert found.found == found.expected ^ 1
    assert report.waveform.stat().st_size > 1000
    if simulator == "icarus":
        return  # FST, which is compressed
    wave = report.waveform.read_text()
    assert "monitor_data" in wave
    times = [int(line[1:]) for line in wave.splitlines() if line.startswith("#")]
    cycles = (times[-1] - times[0]) / 10
    assert 40 <= cycles <= 260
    assert times[0] / 10 <= report.differences[0].cycle + 10 <= times[-1] / 10 + 10


def test_a_byte_never_written_is_found(tmp_path):
    report = run(tmp_path, fault="unwritten", beat=40, images=1)
    assert report.mismatches == 7
    assert {(item.row, item.column) for item in report.differences} == {(2, 6)}
    assert all(item.note.startswith("never written to memory") for item in report.differences)
    assert sorted(item.channel for item in report.differences) == [0, 2, 3, 4, 5, 6, 7]


def test_a_lost_vector_is_found(tmp_path):
    report = run(tmp_path, fault="silent", beat=40, images=1)
    assert (report.differences[0].row, report.differences[0].column) == (2, 6)
    assert any("220 vectors written in all, 221 expected" in item.note for item in report.differences) or (
        report.mismatches > 100
    )


@pytest.mark.parametrize("bench", BENCHES)
def test_a_hang_names_the_unit_and_the_token(tmp_path, bench):
    with pytest.raises(SimulationError) as caught:
        run(tmp_path, fault="hang", bench=bench)
    assert "the accelerator hangs: nothing moved for" in str(caught.value)
    assert "writer waits for token 'room' from nobody" in str(caught.value)
    assert str(caught.value).startswith("image 0, cycle ")


@pytest.mark.parametrize("bench", BENCHES)
def test_an_error_status_gives_its_cause(tmp_path, bench):
    with pytest.raises(SimulationError, match=r"stopped with error 3: the program asks for an error$"):
        run(tmp_path, fault="error", bench=bench)


@pytest.mark.parametrize(
    ("fault", "bench", "rule"),
    [
        ("cross", "bulk", "a read burst crosses a 4 KiB boundary"),
        ("cross", "protocol", "a read burst crosses a 4 KiB boundary"),
        ("long", "bulk", "a read burst has more than 16 beats"),
        ("outside", "bulk", "a read burst leaves the accelerator's memory"),
        ("outside", "protocol", "a read burst leaves the accelerator's memory"),
        ("last", "bulk", "wlast does not mark the last beat of its write burst"),
        ("last", "protocol", "wlast does not mark the last beat of its write burst"),
        ("drop", "protocol", "awvalid dropped before awready"),
        ("change", "protocol", "write data changed while it waited for wready"),
    ],
)
def test_a_broken_rule_of_axi_is_named(tmp_path, fault, bench, rule):
    with pytest.raises(SimulationError, match="the AXI4 master broke a rule in cycle") as caught:
        run(tmp_path, fault=fault, bench=bench)
    assert str(caught.value).endswith(rule)


def test_every_code_of_the_checker_has_a_text():
    assert broken_rule(21, 7, 0x40) == (
        "the AXI4 master broke a rule in cycle 7 at address 0x40: a read burst crosses a 4 KiB boundary"
    )
    assert broken_rule(99, 7, 0).endswith(": code 99")


def test_verilog_that_does_not_compile_is_one_clear_line(tmp_path):
    graph = write_copy(tmp_path / "build")
    source = tmp_path / "build" / "systolith.v"
    rebuild(tmp_path / "build", {"systolith.v": source.read_bytes().replace(b"reg running;", b"reg running")})
    with pytest.raises(SimulationError, match=r"the simulator could not be built .*systolith\.v:\d+.*syntax error"):
        sim.simulate_tensors(sim.load(tmp_path / "build"), graph, copy_images(graph, 1), folder=tmp_path / "run")


def test_a_bench_that_breaks_is_not_a_pass(tmp_path):
    graph = write_copy(tmp_path / "build")
    rebuild(tmp_path / "build", change=lambda fields: fields["registers"].pop("CYCLES_HIGH"))
    with pytest.raises(ConfigurationError, match=r"manifest\.json: no register 'CYCLES_HIGH'$"):
        sim.simulate_tensors(sim.load(tmp_path / "build"), graph, copy_images(graph, 1), folder=tmp_path / "run")


def test_icarus_that_is_missing_is_explained(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SimulationError) as caught:
        toolchain.require("icarus")
    assert str(caught.value) == (
        "Icarus Verilog is not installed (no `iverilog` on PATH); get it with `apt install iverilog` or "
        "`brew install icarus-verilog`, or leave out `--simulator icarus`"
    )
    with pytest.raises(SimulationError, match=r"^no `g\+\+` on PATH"):
        toolchain.require("verilator")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"bench": "big"}, "bench must be bulk or protocol, not big"),
        ({"simulator": "vcs"}, "simulator must be verilator or icarus, not vcs"),
        ({"latency": 1}, "memory latency must be at least 2 cycles, not 1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, option, message):
    with pytest.raises(ConfigurationError) as caught:
        run(tmp_path, **option)
    assert str(caught.value) == message


def test_memory_that_nobody_wrote_is_random_but_repeatable(tmp_path):
    write_copy(tmp_path)
    accelerator = sim.load(tmp_path)
    first, again, other = (accelerator.memory(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first[0x40:0x50].tobytes() == accelerator.program
