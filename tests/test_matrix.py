"""Every size of array with every bus, memory, kind of scale and bench: too long for each run, see `make matrix`."""

import itertools

import pytest

from .hw_networks import network
from .lenet import lenet5
from .test_system import TOLERANCE, run

pytestmark = pytest.mark.matrix

ARRAYS = ((4, 4), (8, 8), (16, 16), (5, 3))
BUSES = (4, 8, 16)
MEMORIES = {"small": {"activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}, "large": {}}
SCALES = ("float", "pow2")
SHAPES = ("stride4_kernel11", "dilation2", "groups2", "asymmetric_pads")


def hardware():
    for (rows, columns), bus_bytes, memories, scales in itertools.product(ARRAYS, BUSES, MEMORIES, SCALES):
        sizes = {"rows": rows, "columns": columns, "bus_bytes": bus_bytes, **MEMORIES[memories]}
        sizes |= {"activation_bits": 8, "weight_bits": 8, "sum_bits": 26, "multiplier": scales == "float"}
        yield pytest.param(scales, sizes, id=f"{rows}x{columns}, {bus_bytes} bytes, {memories} memories, {scales}")


@pytest.mark.parametrize(("scales", "sizes"), list(hardware()))
def test_networks_are_exact_in_the_predicted_cycles(scales, sizes, tmp_path):
    graph, digits = lenet5(scales)
    graphs = {name: (network(name, scales), 1) for name in ("cifar", *SHAPES)} | {"lenet5": (graph, digits[:2])}
    for name, (graph, images) in graphs.items():
        folder = tmp_path / name
        folder.mkdir()
        report, plan = run(graph, sizes, folder, images=images)
        assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE), name
        if name == "cifar" and sizes.get("activation_kib"):
            assert all(len(place.tiling.tiles) * len(place.tiling.parts) > 1 for place in plan.placements[:-1])


@pytest.mark.parametrize(("scales", "sizes"), list(hardware()))
def test_networks_are_exact_under_random_stalls(scales, sizes, tmp_path):
    graph, digits = lenet5(scales)
    graphs = {name: (network(name, scales), 1) for name in SHAPES} | {"lenet5": (graph, digits[:1])}
    if sizes["columns"] == 16 and sizes["bus_bytes"] == 16:
        graphs["cifar"] = (network("cifar", scales), 1)
    for seed, (name, (graph, images)) in enumerate(graphs.items()):
        folder = tmp_path / name
        folder.mkdir()
        run(graph, sizes, folder, images=images, bench="protocol", seed=seed)
