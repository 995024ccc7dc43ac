"""Several images in one run: what each of them gives alone, and weights that are fetched once for all."""

import re

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Operation
from systolith.quant import ConfigurationError, DataError

from .branches import branches
from .hw_networks import check_against_golden, network
from .lenet import lenet5

SIZES = [
    {"rows": 4, "columns": 4, "activation_kib": 6, "accumulator_kib": 1},
    {"rows": 8, "columns": 8, "bus_bytes": 16},
]


def batched(graph, batch, sizes):
    return plan(graph, parameters_for(graph, **sizes), batch)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("batch", [2, 3, 7])
@pytest.mark.parametrize("name", ["tiny", "gemm", "gemm_of_map", "plain", "conv_pool_overlap"])
def test_each_image_of_a_run_gives_what_golden_says(name, batch, sizes):
    check_against_golden(batched(network(name), batch, sizes), seed=batch)


@pytest.mark.parametrize("seed", range(20))
def test_branches_of_several_images(seed):
    check_against_golden(batched(branches(seed), 2 + seed % 3, SIZES[seed % 2]), seed)


def test_fully_connected_layers_fetch_each_weight_once():
    graph, _ = lenet5("float")
    fetched = {}
    for batch in (1, 8):
        made = batched(graph, batch, {"rows": 8, "columns": 8})
        beats = sum(i.fields["beats"] + 1 for i in made.program if i.operation == Operation.WEIGHTS)
        dense = [layer for layer in made.layers if layer.image is None and layer.operator == "Gemm"]
        fetched[batch] = beats
        assert len(dense) == 3
        assert all(layer.target[1] == batch for layer in dense)
    convolutions = 2 * 8  # of these each image fetches its own
    assert fetched[8] < fetched[1] * 2 + convolutions * 1000


def test_a_batch_out_of_range_is_refused():
    for batch in (0, 257):
        with pytest.raises(ConfigurationError, match=f"^batch must be 1 to 256 images, not {batch}$"):
            batched(network("gemm"), batch, SIZES[0])


def test_simulated_batches_are_exact_and_take_fewer_cycles(tmp_path):
    graph, digits = lenet5("float")
    quant.save(graph, tmp_path / "q.onnx")
    cycles = {}
    for batch in (1, 4):
        folder = tmp_path / str(batch)
        generate(
            graph,
            (tmp_path / "q.onnx").read_bytes(),
            parameters_for(graph, rows=8, columns=8, bus_bytes=8),
            folder,
            batch,
        )
        report = sim.simulate(folder, digits[:8])
        assert report.bit_exact
        assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=0.01)
        cycles[batch] = report.cycles_per_image
    assert cycles[4] < 0.7 * cycles[1]
    with pytest.raises(DataError, match=re.escape("the build runs 4 images at once; give a multiple of them, not 3")):
        sim.simulate(tmp_path / "4", digits[:3])


def test_a_wrong_weight_is_found_in_the_image_that_it_spoils(tmp_path):
    graph, digits = lenet5("float")
    quant.save(graph, tmp_path / "q.onnx")
    made = generate(
        graph,
        (tmp_path / "q.onnx").read_bytes(),
        parameters_for(graph, rows=8, columns=8, bus_bytes=8),
        tmp_path / "b",
        4,
    )
    tensors = golden.run(graph, golden.quantize_input(graph, digits[:4]))
    spoilt = {name: values.copy() for name, values in tensors.items()}
    last = made.single.output
    spoilt[last][2, 5] += 1
    report = sim.simulate_tensors(sim.load(tmp_path / "b"), graph, spoilt, waveform=False)
    assert not report.bit_exact
    first = report.differences[0]
    assert (first.image, first.channel, first.row, first.column) == (2, 5, 0, 0)
    assert int(np.asarray(first.expected)) == int(np.asarray(first.found)) + 1
