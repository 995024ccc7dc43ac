"""Plans against golden: an interpreter runs the program, so no circuit is involved."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.program import Operation
from systolith.quant import (
    AveragePool,
    ConfigurationError,
    Conv,
    Graph,
    MaxPool,
    Sums,
    check,
)
from systolith.quant.graph import output_shape

from .graphs import feature_map
from .hw_networks import BRANCHED, NAMES, branched, check_against_golden, network, planned

SMALL = {"activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
SETS = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, **SMALL},
    "5x3, all cut": {"rows": 5, "columns": 3, "bus_bytes": 8, **SMALL},
    "5x3, all fits": {"rows": 5, "columns": 3, "bus_bytes": 16},
    "8x8, all fits": {"rows": 8, "columns": 8, "bus_bytes": 8},
    "1x1": {"rows": 1, "columns": 1, "bus_bytes": 4, **SMALL},
    "3x8, two-byte elements": {"rows": 3, "columns": 8, "bus_bytes": 8, **SMALL, "activation_bits": 12, "lanes": 3},
}


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
def test_program_computes_what_golden_does(name, sizes):
    made = planned(network(name), **sizes)
    check_against_golden(made)


@pytest.mark.parametrize("scales", ["float", "pow2"])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(4, 5), (8, 12), (2, 2), (16, 4), (3, 9)])
@pytest.mark.parametrize("name", ["tiny", "same_relu", "groups2", "conv_pool_overlap", "gemm_of_map"])
def test_program_with_other_widths(name, weight_bits, activation_bits, scales):
    graph = network(name, scales, weight_bits, activation_bits)
    made = planned(graph, rows=4, columns=6, bus_bytes=8, activation_kib=2, accumulator_kib=1)
    rescaled = any(layer.mantissas is not None for layer in made.layers)
    assert made.parameters.multiplier == (scales == "float" and rescaled)
    check_against_golden(made)


def test_a_network_of_the_size_of_cifar():
    made = planned(network("cifar"), rows=16, columns=16, bus_bytes=16, activation_kib=32, accumulator_kib=16)
    machine = check_against_golden(made)
    assert {Operation.LOAD, Operation.STORE} <= set(machine.executed)


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_random_branches_compute_what_golden_does(hardware):
    executed = set()
    for _, made in branched(hardware, range(300, 330)):
        machine = check_against_golden(made)
        executed |= {*machine.executed}
    assert executed == {*Operation} - {Operation.IMAGE}


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_products_extrema_and_differences_in_branches_compute_what_golden_does(hardware):
    found = []
    for graph, made in branched(hardware, range(400, 412), products=True):
        check_against_golden(made)
        found += [layer.operator for layer in graph.layers]
    assert {"Mul", "Max", "Min", "Sub"} <= set(found)


def test_longer_branches_compute_what_golden_does():
    for hardware in (BRANCHED["4x4, all cut"], BRANCHED["8x8, all fits"]):
        for _, made in branched(hardware, range(6), layers=25):
            check_against_golden(made)


def test_dead_maps_make_room_in_memory():
    """Scratch is smaller than all maps that pass through it together."""
    smaller = 0
    for _, made in branched(BRANCHED["4x4, all cut"], range(12), layers=14):
        names = [n for n in made.dram.maps if n not in (made.graph.input, made.graph.output)]
        smaller += sum(made.dram.maps[n].bytes for n in names) > made.regions["scratch"].bytes
    assert smaller


@st.composite
def chains(draw):
    """One to three random layers."""
    largest = draw(st.sampled_from([9, 9, 20]))
    shape = (draw(st.integers(1, largest)), draw(st.integers(1, largest)), draw(st.integers(1, largest)))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    ranges = st.sampled_from([(0, 255, 128), (0, 255, 0), (-128, 127, -5), (0, 15, 7), (-100, 90, 11)])
    tensors = {"t0": feature_map("t0", shape, draw(ranges))}
    layers = []
    count = draw(st.integers(1, 3))
    for number in range(1, count + 1):
        source, name = tensors[f"t{number - 1}"], f"t{number}"
        kernel = tuple(draw(st.integers(1, min(4, size + 1))) for size in shape[1:])
        strides = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        kind = draw(st.sampled_from(["conv", "conv", "max", "average"]))
        pads = tuple(draw(st.integers(0, size - 1)) for size in kernel * 2)
        if kind == "max":
            layer = MaxPool(f"pool{number}", source.name, name, kernel, strides, pads)
        elif kind == "average":
            counts = draw(st.booleans())
            ceil = (draw(st.integers(0, pads[2])), draw(st.integers(0, pads[3]))) if counts else (0, 0)
            layer = AveragePool(f"average{number}", source.name, name, kernel, strides, pads, counts, ceil)
        else:
            groups = draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0]))
            outputs = groups * draw(st.integers(1, 9 if groups == 1 else 3))
            weights = random.integers(-127, 128, (outputs, shape[0] // groups, *kernel)).astype(np.int16)
            layer = Conv(
                f"conv{number}",
                "Conv",
                source.name,
                name,
                weights,
                random.uniform(0.0002, 0.004, outputs).astype(np.float32),
                random.integers(-5000, 5000, outputs),
                strides,
                tuple(draw(st.integers(0, 3)) for _ in range(4)),
                (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
                groups,
            )
        after = output_shape(layer, (shape,))
        if min(after) < 1:
            break
        if isinstance(layer, MaxPool):
            target = feature_map(name, after, (source.low, source.high, source.zero_point), float(source.scale))
        elif kind == "conv" and number == count and draw(st.booleans()):
            target = Sums(name, after, source.scale * layer.weight_scales)
        else:
            target = feature_map(name, after, draw(ranges), 0.1)
        layers.append(layer)
        tensors[name], shape = target, after
        if isinstance(target, Sums):
            break
    if not layers:
        layers = [MaxPool("pool", "t0", "t1", (1, 1))]
        source = tensors["t0"]
        tensors["t1"] = feature_map("t1", shape, (source.low, source.high, source.zero_point), float(source.scale))
    return check(Graph(("t0",), (layers[-1].output,), tuple(layers), tensors))


@st.composite
def sizes(draw):
    columns = draw(st.integers(1, 9))
    return {
        "rows": draw(st.integers(1, 9)),
        "columns": columns,
        "bus_bytes": draw(st.sampled_from([4, 8, 16])),
        "activation_kib": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "accumulator_kib": draw(st.integers(1, 2)),
        "weight_fifo_kib": 1,
        "activation_bits": draw(st.sampled_from([8, 9, 16])),
        "lanes": draw(st.integers(1, columns)),
    }


@settings(max_examples=250, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_random_networks_on_random_accelerators(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError as error:
        assert "KiB would do" in str(error) or "sums" in str(error)  # noqa: PT017
        return
    check_against_golden(made)


@pytest.mark.parametrize(
    ("operation", "name", "most"),
    [(o, "bytes", 1023) for o in (Operation.LOAD, Operation.STORE)] + [(Operation.WEIGHTS, "beats", (1 << 30) - 1)],
)
def test_a_length_that_the_engine_does_not_hold_is_refused(operation, name, most):
    """Its registers are as wide as the activation memory is large, or an address in DRAM."""
    made = planned(network("tiny"), **SETS["4x4, all cut"])
    at = next(n for n, i in enumerate(made.program) if i.operation == operation)

    def program_of(length):
        changed = replace(made.program[at], fields={**made.program[at].fields, name: length})
        return replace(made, program=(*made.program[:at], changed, *made.program[at + 1 :])).program_bytes()

    assert program_of(0) != program_of(most)
    for length in (-1, most + 1):
        with pytest.raises(ValueError, match=f"^{operation.name}.{name} = {length} must be 0 to {most}$"):
            program_of(length)
