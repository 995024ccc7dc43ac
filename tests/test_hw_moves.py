"""What only moves integers, in programs: crops, slices, selections, joined maps, channels as rows and columns."""

import pytest

from systolith.quant import ConfigurationError

from .branches import branches
from .hw_networks import BRANCHED, check_against_golden, planned


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_random_moves_compute_what_golden_does(hardware):
    sizes = dict(hardware)
    powers = bool(sizes.pop("powers", False))
    fits = 0
    for seed in range(900, 910 if powers else 940):
        graph = branches(seed, 8, powers=powers, moves=True)
        try:
            made = planned(graph, **sizes)
        except ConfigurationError as error:
            assert "would do" in str(error) or "fit no tables" in str(error), error  # noqa: PT017
            continue
        fits += 1
        check_against_golden(made)
    assert fits > 5
