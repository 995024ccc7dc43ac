"""Narrow weights that come several rows to a word: the array, its writer, plans, and whole accelerators."""

import pytest

from .hw_networks import check_against_golden, narrowed, network, planned

SMALL = {"activation_kib": 2, "accumulator_kib": 1, "weight_fifo_kib": 1}
PACKED = {
    "4x4, 2 rows, not at once": {"rows": 4, "columns": 4, "bus_bytes": 4, **SMALL, "packing": 2},
    "4x6, 2 at once": {"rows": 4, "columns": 6, "bus_bytes": 8, **SMALL, "packing": 2, "row_parts": 2},
    "8x5, 4 at once": {"rows": 8, "columns": 5, "bus_bytes": 16, **SMALL, "packing": 4, "row_parts": 4},
    "12x3, 2 of 4 at once": {"rows": 12, "columns": 3, "bus_bytes": 16, **SMALL, "packing": 4, "row_parts": 2},
    "8x4, 7 bits": {"rows": 8, "columns": 4, "bus_bytes": 4, **SMALL, "packing": 2, "row_parts": 2, "weight_bits": 7},
}  # fmt: skip
WIDTHS = (4, 8, 2, 3, 6)


@pytest.mark.parametrize("sizes", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("name", ["tiny", "groups2", "conv_pool_overlap", "gemm_of_map"])
def test_program_with_packed_weights_computes_what_golden_does(name, sizes):
    widths = WIDTHS if sizes.get("weight_bits", 8) == 8 else (4, 7, 2, 3, 6)
    made = planned(narrowed(network(name), widths), **{"weight_bits": 8, **sizes})
    check_against_golden(made)
