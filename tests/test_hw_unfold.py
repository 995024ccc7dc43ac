"""An input that the host unfolds: the same sums in fewer passes, and what the C header writes."""

import ctypes
import json
import re
import subprocess

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.unfold import unfold, unfolded
from systolith.quant import ConfigurationError

from .branches import Branches
from .graphs import integers
from .hw_networks import check_against_golden, execute, memory_of, network
from .lenet import lenet5

SIZES = [
    {"rows": 4, "columns": 4, "activation_kib": 6, "accumulator_kib": 1},
    {"rows": 8, "columns": 8, "bus_bytes": 16},
    {"rows": 16, "columns": 5, "bus_bytes": 4},
]
NAMES = (
    "plain", "same_relu", "stride4_kernel11_pads", "stride_above_kernel", "dilation2", "dilation2x3", "asymmetric_pads",
    "conv_pool_overlap", "tiny",
)  # fmt: skip


def by_hand(images, conv, zero_point, rows):
    """Element by element, from the convolution's own window."""
    count, channels, height, width = images.shape
    kernel_rows = conv.weights.shape[2]
    result = np.full((count, kernel_rows * channels, rows, width), zero_point, images.dtype)
    for row in range(rows):
        for k in range(kernel_rows):
            source = row * conv.strides[0] + k * conv.dilations[0] - conv.pads[0]
            if 0 <= source < height:
                for c in range(channels):
                    result[:, k * channels + c, row] = images[:, c, source]
    return result


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("name", NAMES)
def test_the_graph_computes_the_same_from_the_unfolded_image(name, bits):
    graph = network(name, activation_bits=bits)
    images = integers(graph, 3, seed=bits)
    changed, how = unfolded(graph)
    source = graph.map_of(graph.input)
    wanted = by_hand(images, graph.layers[0], source.zero_point, graph.tensors[graph.layers[0].output].shape[1])
    beside = unfold(images, how)
    np.testing.assert_array_equal(beside, wanted)
    assert beside.shape[1:] == changed.tensors[changed.input].shape == how.unfolded_shape
    before, after = golden.run(graph, images), golden.run(changed, beside)
    for layer in graph.layers:
        np.testing.assert_array_equal(before[layer.output], after[layer.output])


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_the_engine_returns_what_golden_says_of_the_image(name, sizes):
    graph = network(name)
    made = plan(graph, parameters_for(graph, **sizes), unfold_input=True)
    check_against_golden(made, seed=1)
    image = integers(graph, 1, seed=2)
    machine = execute(made, by_hand(image, graph.layers[0], made.unfolding.zero_point, made.unfolding.rows)[0])
    region = made.dram.maps[graph.output]
    expected = golden.run(graph, image)[graph.output][0]
    np.testing.assert_array_equal(
        machine.dram[region.address : region.address + region.bytes],
        memory_of(expected, graph.tensors[graph.output], made.parameters.activation_bits),
    )


def test_a_window_is_one_run():
    graph = network("stride4_kernel11")
    p = parameters_for(graph, rows=16, columns=8)
    counts = []
    for unfold_input in (False, True):
        made = plan(graph, p, unfold_input=unfold_input)
        counts.append(sum(part.passes(p) for part in made.placements[0].tiling.parts))
        assert made.layers[0].macs == made.graph.macs == graph.macs
    assert counts == [11 * -(-33 // 16), -(-11 * 33 // 16)] == [33, 23]


def two_readers():
    chain = Branches(0, (4, 8, 8))
    chain.concat(chain.conv("x"), "x")
    return chain.graph(0)


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (lambda: network("groups2"), "one convolution, not grouped, must read it alone, not 'conv1' (Conv)"),
        (lambda: network("pool2"), "one convolution, not grouped, must read it alone, not 'maxpool1' (MaxPool)"),
        (lambda: network("pointwise"), "'conv1' has a window of 1 rows and a result of 5; both must be more than 1"),
        (lambda: network("gemm_of_map"), "'gemm1' has a window of 4 rows and a result of 1; both must be more than 1"),
        (two_readers, "one convolution, not grouped, must read it alone, not "),
    ],
)
def test_inputs_that_cannot_be_unfolded_are_refused(graph, why):
    made = graph()
    with pytest.raises(ConfigurationError, match="^the input cannot be unfolded: " + re.escape(why)):
        plan(made, parameters_for(made, rows=4, columns=4), unfold_input=True)


@pytest.mark.parametrize(("name", "bits"), [("stride4_kernel11_pads", 8), ("dilation2", 12), ("asymmetric_pads", 8)])
def test_the_c_header_unfolds_an_image(name, bits, tmp_path):
    graph = network(name, activation_bits=bits)
    quant.save(graph, tmp_path / "q.onnx")
    made = generate(
        graph, (tmp_path / "q.onnx").read_bytes(), parameters_for(graph, rows=4, columns=4), tmp_path / "b", 1, True
    )
    (tmp_path / "host.c").write_text(
        '#include "systolith.h"\n'
        "void written(const systolith_input_t *image, systolith_input_t *input) { systolith_unfold(image, input); }\n"
    )
    library = tmp_path / "host.so"
    flags = ["-x", "c", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, "-I", tmp_path / "b", tmp_path / "host.c", "-o", library], check=True)
    image = integers(graph, 1, seed=3)
    source = graph.map_of(graph.input)
    stored = memory_of(image[0], source, made.parameters.activation_bits)
    found = np.zeros(made.regions["input"].bytes + 8, np.uint8)
    found[-8:] = 0xA5
    ctypes.CDLL(str(library)).written(stored.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p))
    beside = by_hand(image, graph.layers[0], source.zero_point, made.unfolding.rows)
    np.testing.assert_array_equal(found[:-8], memory_of(beside[0], source, made.parameters.activation_bits))
    assert (found[-8:] == 0xA5).all(), "no byte more"


@pytest.mark.parametrize("batch", [1, 2])
def test_simulated_digits_are_exact_and_take_fewer_cycles(batch, tmp_path):
    graph, digits = lenet5("float")
    quant.save(graph, tmp_path / "q.onnx")
    cycles = []
    for unfold_input in (False, True):
        folder = tmp_path / str(unfold_input)
        p = parameters_for(graph, rows=4, columns=4, bus_bytes=8)
        generate(graph, (tmp_path / "q.onnx").read_bytes(), p, folder, batch, unfold_input)
        report = sim.simulate(folder, digits[:4])
        assert report.bit_exact
        assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=0.01)
        cycles.append(report.cycles_per_image)
    assert cycles[1] < cycles[0] - 700, "a window of 25 elements, in one run"
    manifest = json.loads((tmp_path / "True" / "manifest.json").read_text())
    assert manifest["inputs"][0]["shape"] == [5, 28, 28]
    anew = sim.simulate(tmp_path / "True", digits[:2], memory_latency=31)
    assert anew.predicted_cycles == pytest.approx(anew.cycles_per_image, rel=0.01)
