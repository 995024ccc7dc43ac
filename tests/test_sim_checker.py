"""axi_checker.sv alone: each of its rules broken, and what the rules just allow."""

import json

import pytest

from systolith.sim import session, toolchain
from systolith.sim.benches.protocol_rules import RULES

from .axi_sequences import BUS_BYTES, LAWFUL, SEQUENCES

pytestmark = pytest.mark.xdist_group("axi_checker")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Code, cycle and address that were latched, by the name of the sequence."""
    folder = tmp_path_factory.mktemp("checker")
    source = toolchain.VERILOG / "axi_checker.sv"
    checker = toolchain.compile_sources(
        [source], "axi_checker", "tests.cocotb_checker", "verilator", {"BUS_BYTES": BUS_BYTES}
    )
    assert session.run_tests(checker, folder) == {"checker": ""}
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("name", SEQUENCES)
def test_the_checker_latches_the_broken_rule_and_nothing_else(found, name):
    assert tuple(found[name]) == SEQUENCES[name].latched


def test_every_rule_is_broken_here():
    assert {sequence.latched[0] for sequence in SEQUENCES.values()} == {LAWFUL[0], *RULES}
