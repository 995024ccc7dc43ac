"""A target, from what is chosen and refused to a simulation that returns golden's bytes."""

import re

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.engine.cell import FOLDER
from systolith.hw.engine.sizes import array_cell
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.target import TARGETS
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


def one_layer(lowest: int, highest: int = 127, activation_bits: int = 8, groups: int = 1):
    """A convolution whose weights reach down to ``lowest``."""
    weights = np.random.default_rng(5).integers(lowest + 1, highest + 1, (4, 4 // groups, 3, 3))
    weights[1, 0, 2, 0] = lowest
    bounds = (0, (1 << activation_bits) - 1, 1 << activation_bits - 1)
    return conv_graph((4, 6, 6), weights, groups=groups, source=bounds, target=bounds)


def test_the_lowest_weight_is_refused_where_columns_share_multipliers():
    sizes = {"rows": 4, "columns": 4, "target": "ecp5"}
    plan(one_layer(-127), parameters_for(one_layer(-127), **sizes, columns_per_multiplier=2))
    message = (
        "layer 'conv' has weights of -128, which columns that share a multiplier cannot take (generate with "
        "--columns-per-multiplier 1)"
    )
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        plan(one_layer(-128), parameters_for(one_layer(-128), **sizes, columns_per_multiplier=2))
    plan(one_layer(-128), parameters_for(one_layer(-128), **sizes))


def test_columns_share_multipliers_where_the_largest_part_needs_it_and_the_weights_allow():
    def columns(lowest, **sizes):
        p = parameters_for(one_layer(lowest), **{"rows": 16, "columns": 16, "target": "ecp5", **sizes})
        return p.columns_per_multiplier

    assert columns(-127) == 2
    assert columns(-128) == 1
    assert columns(-127, rows=12, columns=13) == 1
    assert columns(-127, rows=12, columns=14) == 2
    assert columns(-127, target="xilinx") == 1
    assert columns(-127, columns_per_multiplier=1) == 1
    assert columns(-127, activation_bits=16) == 1


def test_columns_of_narrow_weights_share_multipliers_where_it_costs_nothing():
    def columns(target, activation_bits, lowest=-7, groups=1, rows=2, **sizes):
        graph = one_layer(lowest, 7, activation_bits, groups)
        p = parameters_for(graph, rows=rows, columns=6, target=target, **sizes)
        assert (p.weight_bits, p.activation_bits) == (4, activation_bits)
        return p.columns_per_multiplier

    assert [columns(target, 4) for target in TARGETS] == [1, 3, 2, 3, 3]
    assert [columns(target, 8) for target in TARGETS] == [1, 2, 2, 2, 1]
    assert columns("xilinx", 4, rows=16) == 2
    assert columns("ecp5", 4, lowest=-8) == 1
    assert columns("ecp5", 4, groups=4) == 1
    assert columns("ecp5", 4, groups=4, line_buffer=0) == 3
    assert columns("ecp5", 8, rows=52) == 2
    assert columns("ecp5", 8, rows=53) == 3


MATRIX = pytest.mark.matrix
NARROW = {"weight_bits": 4, "activation_bits": 4}
BUILDS = [
    pytest.param(
        {"target": "ecp5", "columns_per_multiplier": 2, "columns": 5}, ("MULT18X18D #(", 12 + 2 * 4), id="ecp5, pairs"
    ),
    pytest.param({"target": "ecp5", "columns": 5, **NARROW}, ("MULT18X18D #(", 8 + 2 * 4), id="ecp5, 4 bits"),
    pytest.param(
        {"target": "xilinx", "columns": 5, **NARROW}, ('(* use_dsp = "yes" *)', 16), id="xilinx, 4 bits", marks=MATRIX
    ),
    pytest.param({"target": "gowin", "columns": 5, **NARROW}, ("MULT18X18 #(", 8), id="gowin, 4 bits", marks=MATRIX),
    pytest.param({"target": "ice40", "columns": 3}, ("SB_MAC16 #(", 8), id="ice40"),
    pytest.param({"target": "ecp5", "columns": 4}, ("MULT18X18D #(", 16 + 4), id="ecp5", marks=MATRIX),
    pytest.param({"target": "gowin", "columns": 4}, ("MULT9X9 #(", 16), id="gowin", marks=MATRIX),
    pytest.param({"target": "xilinx", "columns": 4}, ('(* use_dsp = "yes" *)', 32), id="xilinx", marks=MATRIX),
]


@pytest.mark.parametrize(("sizes", "blocks"), BUILDS)
def test_lenet5_is_exact_in_the_predicted_cycles(sizes, blocks, tmp_path):
    sizes = {"rows": 4, "multiplier": True, **sizes}
    graph, digits = lenet5("float", sizes.get("weight_bits", 8), sizes.get("activation_bits", 8))
    report, made = run(graph, sizes, tmp_path, images=digits[:1])
    assert report.cycles_per_image == report.predicted_cycles
    assert array_cell(made.parameters).latency > 2
    name, count = blocks
    assert (tmp_path / "build" / "systolith.v").read_text().count(name) == count
