"""A target, from what is chosen and refused to a simulation that returns golden's bytes."""

import re

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.engine.cell import FOLDER
from systolith.hw.engine.sizes import array_cell
from systolith.hw.isa.parameters import TARGETS, Parameters
from systolith.quant import ConfigurationError

from .graphs import conv_graph
from .lenet import lenet5
from .test_system import run

BLOCKS = {"generic": None, "ecp5": "MULT18X18D.v", "ice40": "SB_MAC16.v", "xilinx": None, "gowin": "MULT.v"}


def test_a_target_names_blocks_that_have_a_model():
    models = {target: array_cell(Parameters(rows=4, columns=4, target=target)).model for target in TARGETS}
    assert models == BLOCKS
    assert {path.name for path in FOLDER.glob("*.v")} == {*BLOCKS.values()} - {None}


def test_an_ice40_multiplies_two_columns_at_once_up_to_8_bits():
    def columns(**bits):
        return array_cell(Parameters(rows=4, columns=4, target="ice40", **bits)).columns

    assert [columns(), columns(activation_bits=9), columns(weight_bits=9)] == [2, 1, 1]


def one_layer(lowest: int):
    """A convolution whose weights reach down to ``lowest``."""
    weights = np.random.default_rng(5).integers(lowest + 1, 128, (3, 2, 3, 3))
    weights[1, 1, 2, 0] = lowest
    return conv_graph((2, 6, 6), weights)


def test_the_lowest_weight_is_refused_where_columns_are_paired():
    sizes = {"rows": 4, "columns": 4, "target": "ecp5"}
    plan(one_layer(-127), parameters_for(one_layer(-127), **sizes, paired=True))
    message = "layer 'conv' has weights of -128, which paired columns cannot take (generate without --paired)"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        plan(one_layer(-128), parameters_for(one_layer(-128), **sizes, paired=True))
    plan(one_layer(-128), parameters_for(one_layer(-128), **sizes))


def test_columns_are_paired_where_the_largest_part_needs_it_and_the_weights_allow():
    def paired(lowest, **sizes):
        return parameters_for(one_layer(lowest), **{"rows": 16, "columns": 16, "target": "ecp5", **sizes}).paired

    assert paired(-127)
    assert not paired(-128)
    assert not paired(-127, rows=12, columns=13)
    assert paired(-127, rows=12, columns=14)
    assert not paired(-127, target="xilinx")
    assert not paired(-127, paired=False)
    assert not paired(-127, activation_bits=16)


MATRIX = pytest.mark.matrix
BUILDS = [
    pytest.param({"target": "ecp5", "paired": True, "columns": 5}, ("MULT18X18D #(", 12 + 2 * 4), id="ecp5, paired"),
    pytest.param({"target": "ice40", "columns": 3}, ("SB_MAC16 #(", 8), id="ice40"),
    pytest.param({"target": "ecp5", "columns": 4}, ("MULT18X18D #(", 16 + 4), id="ecp5", marks=MATRIX),
    pytest.param({"target": "gowin", "columns": 4}, ("MULT9X9 #(", 16), id="gowin", marks=MATRIX),
    pytest.param({"target": "xilinx", "columns": 4}, ('(* use_dsp = "yes" *)', 32), id="xilinx", marks=MATRIX),
]


@pytest.mark.parametrize(("sizes", "blocks"), BUILDS)
def test_lenet5_is_exact_in_the_predicted_cycles(sizes, blocks, tmp_path):
    graph, digits = lenet5("float")
    report, made = run(graph, {"rows": 4, "multiplier": True, **sizes}, tmp_path, images=digits[:1])
    assert report.cycles_per_image == report.predicted_cycles
    assert array_cell(made.parameters).latency > 2
    name, count = blocks
    assert (tmp_path / "build" / "systolith.v").read_text().count(name) == count
