"""axi_checker.sv alone: each of its rules broken, and what the rules just allow."""

import json

import pytest

from systolith.sim import session, toolchain
from systolith.sim.benches.protocol_rules import RULES

from .axi_sequences import BUS_BYTES, LAWFUL, SEQUENCES

pytestmark = pytest.mark.xdist_group("axi_checker")


def compiled(bus_bytes):
    """The checker as the top of a simulation."""
    source = toolchain.VERILOG / "axi_checker.sv"
    parameters = {"BUS_BYTES": bus_bytes}
    return toolchain.compile_sources([source], "axi_checker", "tests.cocotb_checker", "verilator", parameters)


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
