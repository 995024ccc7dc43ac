"""axi_checker.sv alone: each of its rules broken, and what the rules just allow."""

import json
from uuid import uuid4

import pytest

from systolith.sim import session, toolchain
from systolith.sim.benches.protocol_rules import RULES

from .axi_sequences import BUS_BYTES, LAWFUL, SEQUENCES

pytestmark = pytest.mark.xdist_group("axi_checker")


def compiled(bus_bytes, levels=("-O0",)):
    """The checker as the top of a simulation."""
    source = toolchain.VERILOG / "axi_checker.sv"
    parameters = {"BUS_BYTES": bus_bytes}
    top, tests = "axi_checker", "tests.cocotb_checker"
    return toolchain.compile_sources([source], top, tests, "verilator", parameters, levels=levels)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Code, cycle and address that were latched, by the name of the sequence."""
    folder = tmp_path_factory.mktemp("checker")
    assert session.run_tests(compiled(BUS_BYTES), folder) == {"checker": ""}
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_checker_latches_the_broken_rule_and_nothing_else(found, name):
    assert tuple(found[name]) == SEQUENCES[name].latched


def test_every_rule_is_broken_here():
    assert {sequence.latched[0] for sequence in SEQUENCES.values()} == {LAWFUL[0], *RULES}


@pytest.mark.usefixtures("found")
def test_a_second_build_does_not_compile_verilators_runtime_again():
    log = (compiled(2 * BUS_BYTES).folder / "build.log").read_text()
    assert "Vtop" in log
    assert "verilated_vpi.cpp" not in log


@pytest.mark.usefixtures("found")
def test_what_a_better_level_of_optimization_made_is_used_and_no_worse():
    known = compiled(BUS_BYTES)
    assert known.seconds == 0
    unheard_of = f"-O0 -DRUN={uuid4().hex}"  # so that no earlier run has left it in the cache
    assert compiled(BUS_BYTES, [unheard_of, "-O0"]) == known
    assert compiled(BUS_BYTES, ["-O1", "-O2"]).folder != known.folder


def test_a_long_run_gets_faster_code_and_a_short_one_is_compiled_sooner():
    assert [toolchain.optimizations("bulk", cycles) for cycles in (32_000, 1_600_000, 85_000_000)] == [
        ["-O0", "-O1", "-O2"],
        ["-O1", "-O2"],
        ["-O2"],
    ]
    assert toolchain.optimizations("protocol", 85_000_000) == ["-O1", "-O2"]
