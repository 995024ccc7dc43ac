"""Parameters: ranges with their whole messages, and sizes that follow."""

import re
from dataclasses import replace

import pytest

from systolith.hw.isa.parameters import ACCUMULATOR_HAZARD, Parameters
from systolith.hw.isa.target import TARGETS
from systolith.quant import ConfigurationError

TABLES = {"operands": True, "tables": True}
BAD = {
    "rows must be 1 to 128, not 0": {"rows": 0},
    "rows must be 1 to 128, not 129": {"rows": 129},
    "rows must be 1 to 128, not True": {"rows": True},
    "rows must be 1 to 128, not 4.0": {"rows": 4.0},
    "columns must be 1 to 128, not -1": {"columns": -1},
    "bus bytes must be 4, 8, 16, 32 or 64, not 2": {"bus_bytes": 2},
    "bus bytes must be 4, 8, 16, 32 or 64, not 12": {"bus_bytes": 12},
    "activation KiB must be 1 to 8192, not 0": {"activation_kib": 0},
    "accumulator KiB must be 1 to 8192, not 9000": {"accumulator_kib": 9000},
    "weight FIFO KiB must be 1 to 1024, not 0": {"weight_fifo_kib": 0},
    "activation bits must be 2 to 16, not 1": {"activation_bits": 1},
    "activation bits must be 2 to 16, not 17": {"activation_bits": 17},
    "weight bits must be 2 to 16, not 17": {"weight_bits": 17},
    "sum bits must be 8 to 32, not 33": {"sum_bits": 33},
    "lanes must be 1 to 4, not 5": {"lanes": 5},
    "lanes must be 1 to 4, not -1": {"lanes": -1},
    "accumulator KiB must be at least 2 for 64 columns, not 1": {"columns": 64, "accumulator_kib": 1},
    "weight FIFO KiB must be at least 2 for a bus of 64 bytes, not 1": {"bus_bytes": 64, "weight_fifo_kib": 1},
    "activation KiB must be at least 2 for 4 banks of lines of 128 values, not 1": {
        "columns": 128,
        "lanes": 128,
        "activation_bits": 16,
        "activation_kib": 1,
    },
    "normalization must be 0 to 16, not 17": {**TABLES, "columns": 32, "normalization": 17},
    "normalization must be 0 to 16, not -1": {**TABLES, "normalization": -1},
    "AXI protection must be 0 to 7, not 8": {"axi_protection": 8},
    "AXI cache must be 0 to 15, not -1": {"axi_cache": -1},
    "AXI quality must be 0 to 15, not 16": {"axi_quality": 16},
    "tables need operands, at most 8 activation bits and at least 4 columns": {"tables": True},
    "tables need operands, at most 8 activation bits and at least 4 columns ": {**TABLES, "activation_bits": 9},
    "tables need operands, at most 8 activation bits and at least 4 columns  ": {**TABLES, "columns": 3},
    "normalization over 3 channels needs tables, the multiplier and at least as many columns, not 4": {
        "operands": True,
        "normalization": 3,
    },
    "normalization over 5 channels needs tables, the multiplier and at least as many columns, not 4": {
        **TABLES,
        "normalization": 5,
    },
    "normalization over 4 channels needs tables, the multiplier and at least as many columns, not 4": {
        **TABLES,
        "normalization": 4,
        "multiplier": False,
    },
    "sum bits must be at least 10 to read maps of 8 bits": {"operands": True, "sum_bits": 9},
    "sum bits must be at least 18 to read maps of 16 bits": {"operands": True, "sum_bits": 17, "activation_bits": 16},
}
ACCEPTED = [
    {**TABLES, "normalization": 4},
    {**TABLES, "columns": 16, "normalization": 16},
    {**TABLES, "activation_bits": 8, "sum_bits": 10},
    {"operands": True, "activation_bits": 16, "sum_bits": 18, "columns": 1},
    {"activation_bits": 16, "sum_bits": 8},
]


@pytest.mark.parametrize(("message", "sizes"), BAD.items(), ids=BAD)
def test_out_of_range(message, sizes):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message.rstrip())}$"):
        Parameters(**{"rows": 4, "columns": 4, **sizes})


@pytest.mark.parametrize("sizes", ACCEPTED, ids=str)
def test_what_is_just_enough_is_accepted(sizes):
    assert Parameters(**{"rows": 4, "columns": 4, **sizes})


@pytest.mark.parametrize("message", [m for m in BAD if "KiB must be at least" in m])
def test_the_size_that_would_do_does(message):
    name = {"accumulator": "accumulator_kib", "weight": "weight_fifo_kib", "activation": "activation_kib"}
    size = int(re.search(r"at least (\d+)", message).group(1))
    assert Parameters(**{"rows": 4, "columns": 4, **BAD[message], name[message.split()[0]]: size})


@pytest.mark.parametrize("rows", [1, 3, 8, 100])
@pytest.mark.parametrize("columns", [1, 5, 16])
@pytest.mark.parametrize("bus_bytes", [4, 16, 64])
@pytest.mark.parametrize("activation_bits", [8, 9])
def test_a_line_holds_what_is_read_at_once_and_the_banks_what_is_written(rows, columns, bus_bytes, activation_bits):
    p = Parameters(rows=rows, columns=columns, bus_bytes=bus_bytes, activation_bits=activation_bits, lanes=columns)
    assert p.line >= max(rows, columns, bus_bytes // p.element_bytes)
    assert (p.banks - 1) * p.line + 1 >= columns * 4 // p.element_bytes, "from the last element of a line on"
    assert p.banks >= 2
    assert p.line & (p.line - 1) == p.banks & (p.banks - 1) == 0
    assert p.activation_elements % (p.banks * p.line) == 0
    assert p.activation_elements * p.element_bytes <= 64 * 1024
    assert p.activation_elements <= 1 << p.address_bits
    assert p.lane_groups * p.lanes >= columns
    assert p.parameter_rows * p.weight_bits >= 64


@pytest.mark.parametrize("columns", [4, 5, 7, 8, 15, 16, 31, 32, 128])
def test_a_read_brings_whole_table_entries(columns):
    p = Parameters(rows=1, columns=columns, operands=True, tables=True)
    entries = p.table_entries
    assert 4 * entries <= columns < 8 * entries
    assert 256 % entries == 0


def test_lanes_default_to_a_quarter_of_the_columns():
    assert [Parameters(rows=1, columns=c).lanes for c in (1, 4, 5, 16)] == [1, 1, 2, 4]


def test_fingerprints_differ_with_every_field_and_only_so():
    base = {"rows": 4, "columns": 4}
    others = [
        {"rows": 5}, {"columns": 5}, {"bus_bytes": 16}, {"activation_kib": 65}, {"accumulator_kib": 31},
        {"weight_fifo_kib": 5}, {"activation_bits": 7}, {"weight_bits": 7}, {"sum_bits": 31}, {"lanes": 2},
        {"multiplier": False}, {"operands": True}, TABLES, {**TABLES, "normalization": 1},
        {**TABLES, "normalization": 2}, {"target": "ecp5", "columns_per_multiplier": 2},
        {"target": "ice40", "line_buffer": 512}, {"line_buffer": 512}, {"packing": 2}, {"packing": 4},
        {"packing": 2, "row_parts": 2}, {"packing": 2, "word_bits": 16},
    ]  # fmt: skip
    prints = {Parameters(**{**base, **other}).fingerprint for other in [{}, *others]}
    assert len(prints) == 1 + len(others)
    assert Parameters(**base).fingerprint == Parameters(**base, lanes=1).fingerprint
    assert {Parameters(**base, target=target).fingerprint for target in TARGETS} == {Parameters(**base).fingerprint}


def test_what_weights_take_by_their_width():
    p = Parameters(rows=16, columns=16, packing=4, row_parts=2)
    assert [p.packing_of(bits) for bits in range(2, 9)] == [4, 2, 2, 1, 1, 1, 1]
    assert [p.tile_cycles(rows) for rows in (1, 2, 4)] == [16, 8, 8]
    assert replace(p, row_parts=4).tile_cycles(4) == 4
    assert Parameters(rows=4, columns=4, packing=4, row_parts=4).tile_cycles(4) == ACCUMULATOR_HAZARD
    longer = Parameters(rows=4, columns=4, word_bits=16, packing=2)
    assert [longer.packing_of(8), longer.parameter_rows, longer.weight_row_bits] == [2, 4, 64]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"packing": 3}, "packing must be 1, 2 or 4, not 3"),
        ({"packing": 2, "row_parts": 4}, "row parts must be 1 or 2, not 4"),
        ({"rows": 6, "packing": 4}, "packing of 4 rows needs rows in multiples of it, not 6"),
        ({"packing": 4, "weight_bits": 7}, "packing of 4 rows needs at least 8 word bits, not 7"),
        ({"packing": 2, "word_bits": 7}, "word bits must be 8 to 32, not 7"),
        ({"word_bits": 16}, "words of 16 bits for 8 weight bits need packing"),
    ],
)
def test_packing_that_cannot_be_is_refused(sizes, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        Parameters(**{"rows": 4, "columns": 4, **sizes})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"target": "spartan"}, "target must be generic, ecp5, ice40, xilinx or gowin, not spartan"),
        ({"columns_per_multiplier": 2}, "columns that share multipliers need a target that has some, not generic"),
        ({"columns_per_multiplier": 5, "target": "ecp5"}, "columns per multiplier must be 1 to 4, not 5"),
        *(
            (
                {"columns_per_multiplier": columns, "target": target, "activation_bits": a, "weight_bits": w},
                f"columns per multiplier must be at most {most} on {target} with {w} weight bits and {a} activation "
                f"bits, not {columns}",
            )
            for target, columns, a, w, most in [
                ("ecp5", 2, 10, 8, 1),
                ("ecp5", 2, 4, 10, 1),
                ("ecp5", 3, 8, 8, 2),
                ("ecp5", 4, 8, 4, 3),
                ("ice40", 2, 9, 8, 1),
                ("ice40", 3, 8, 8, 2),
            ]
        ),
    ],
)
def test_a_target_that_cannot_do_it_is_refused(sizes, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        Parameters(rows=4, columns=4, **sizes)
