"""The checker is checked: a fault in the accelerator's weights, multipliers or tokens is caught and located."""

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.check import sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import (
    UNITS,
    Operation,
    decode,
    encode,
)
from systolith.quant import (
    Add,
    Conv,
    FeatureMap,
    Graph,
    SimulationError,
    Sums,
)

from .builds import rebuild
from .graphs import integers

IMAGES = 2
VERIFICATION = Path(__file__).resolve().parent.parent / "docs" / "verification.md"


def form(message):
    """``message`` with an N for each number."""
    return re.sub(r"-?\d+", "N", message)


QUOTED = {form(" ".join(block.split())) for block in VERIFICATION.read_text().split("\n\n") if block.startswith("    ")}
"""The messages that the documentation gives as examples."""


def network(rows: int = 10) -> Graph:
    """conv 3x3 of stride 2, conv 3x3, fc on 3 x rows x 10, all scales exact powers of two: every other sum is a tie."""
    half = rows // 2
    rng = np.random.default_rng(11)

    def conv(name, source, target, shape, spread, scale, **window):
        weights = rng.integers(-spread, spread + 1, shape).astype(np.int16)
        weights.reshape(shape[0], -1)[:, 0] = spread
        scales = np.full(shape[0], scale, np.float32)
        bias = rng.integers(-40, 40, shape[0]).astype(np.int64)
        return Conv(name, "Conv", source, target, weights, scales, bias, **window)

    layers = (
        conv("conv1", "x", "a", (8, 3, 3, 3), 1, 0.5, strides=(2, 2), pads=(1, 1, 0, 0)),
        conv("conv2", "a", "c", (6, 8, 3, 3), 1, 2.0**-4, pads=(1, 1, 1, 1)),
        conv("fc", "c", "y", (5, 6, half, 5), 7, 1.0),
    )

    def signed(name, shape):
        return FeatureMap(name, shape, np.float32(1), 0, -128, 127)

    maps = (signed("x", (3, rows, 10)), signed("a", (8, half, 5)), signed("c", (6, half, 5)))
    tensors = {item.name: item for item in maps} | {"y": Sums("y", (5, 1, 1), np.ones(5, np.float32))}
    return quant.check(Graph(("x",), ("y",), layers, tensors))


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The network's build folder for a 4x4 array, its graph and parameters, and all tensors of a few images."""
    return built(tmp_path_factory.mktemp("faults"), network())


@pytest.fixture(scope="module")
def tall(tmp_path_factory):
    """The same of a map so tall that slots are used again."""
    return built(tmp_path_factory.mktemp("tall"), network(44))


def built(folder, graph):
    quant.save(graph, folder / "q.onnx")
    parameters = parameters_for(graph, rows=4, columns=4, bus_bytes=8, activation_kib=2, multiplier=True)
    generate(graph, (folder / "q.onnx").read_bytes(), parameters, folder / "build")
    x = integers(graph, IMAGES, seed=5) // 4  # so that few sums saturate
    return folder / "build", graph, parameters, golden.run(graph, x)


def simulate(build, folder, *, memory=None, program=None, latency=30):
    """Run with another memory or program, whose checks are right."""
    source, graph, _, tensors = build
    program = program and sealed(program)
    shutil.copytree(source, folder / "build")
    changed = {name: data for name, data in (("memory.bin", memory), ("program.bin", program)) if data is not None}
    assert all(data != (source / name).read_bytes() for name, data in changed.items())
    rebuild(folder / "build", changed)
    accelerator = sim.load(folder / "build")
    return sim.simulate_tensors(
        accelerator, graph, tensors, memory_latency=latency, folder=folder / "run", waveform=False
    )


def constants_of(graph, parameters, number, **changed):
    """The memory image of ``graph`` with layer ``number`` changed under the stamp of the right one."""
    layers = list(graph.layers)
    layers[number] = dataclasses.replace(layers[number], **changed)
    changed_plan = plan(dataclasses.replace(graph, layers=tuple(layers)), parameters)
    right = plan(graph, parameters).dram.constants
    return right[:INSTRUCTION_BYTES] + changed_plan.dram.constants[INSTRUCTION_BYTES:]


def test_without_a_fault_all_bytes_are_equal(build, tmp_path):
    report = simulate(build, tmp_path)
    assert (report.bit_exact, report.mismatches, report.images) == (True, 0, IMAGES)


@pytest.mark.parametrize(("number", "output"), [(0, 5), (1, 3), (2, 2)], ids=["conv1", "conv2", "fc"])
def test_a_flipped_weight_bit_is_caught_in_its_layer_and_channel(build, tmp_path, number, output):
    _, graph, parameters, tensors = build
    layer = graph.layers[number]
    weights = layer.weights.copy()
    weights[output, 1, 1, 2] ^= 1
    report = simulate(build, tmp_path, memory=constants_of(graph, parameters, number, weights=weights))
    first = report.differences[0]
    assert not report.bit_exact
    assert (first.image, first.layer, first.channel) == (0, layer.name, output)
    assert first.expected == tensors[layer.output][0, first.channel, first.row, first.column]
    # the first that can differ, in the order in which the layer is written
    wrong = golden.run(dataclasses.replace(graph, layers=_replaced(graph, number, weights)), tensors["x"])
    assert first.found == wrong[layer.output][0, first.channel, first.row, first.column]
    assert layer.name != "conv2" or form(str(first)) in QUOTED
    in_layer = wrong[layer.output] != tensors[layer.output]
    assert report.mismatches >= in_layer.sum() > 0


def _replaced(graph, number, weights):
    layers = list(graph.layers)
    layers[number] = dataclasses.replace(layers[number], weights=weights)
    return tuple(layers)


def test_the_last_bit_of_a_multiplier_is_caught_where_a_sum_is_a_tie(build, tmp_path):
    _, graph, parameters, tensors = build
    scales = graph.layers[0].weight_scales.copy()
    scales[6] = np.nextafter(scales[6], np.float32(1))
    report = simulate(build, tmp_path, memory=constants_of(graph, parameters, 0, weight_scales=scales))
    first = report.differences[0]
    assert not report.bit_exact
    assert (first.image, first.layer, first.channel) == (0, "conv1", 6)
    assert first.expected == tensors["a"][0, 6, first.row, first.column]
    assert first.found - first.expected in (-1, 1)


def test_a_flipped_bit_of_the_memory_file_is_caught(build, tmp_path):
    source, *_ = build
    memory = bytearray((source / "memory.bin").read_bytes())
    memory[INSTRUCTION_BYTES] ^= 1  # the last bit of a bias, behind the stamp
    report = simulate(build, tmp_path, memory=bytes(memory))
    assert not report.bit_exact
    assert (report.differences[0].image, report.differences[0].layer, report.differences[0].channel) == (0, "conv1", 0)


def waits(program):
    """(instruction number, unit's bit) of each token that the program waits for."""
    for number in range(len(program) // INSTRUCTION_BYTES):
        _, fields = decode(program[number * INSTRUCTION_BYTES : (number + 1) * INSTRUCTION_BYTES])
        for unit in range(len(UNITS)):
            if fields.get("wait", 0) >> unit & 1:
                yield number, unit


def without_wait(program, number, unit):
    at = slice(number * INSTRUCTION_BYTES, (number + 1) * INSTRUCTION_BYTES)
    operation, fields = decode(program[at])
    fields["wait"] &= ~(1 << unit)
    changed = bytearray(program)
    changed[at] = encode(operation, **fields)
    return bytes(changed)


def first_wait(program, operation, unit):
    return next(
        number
        for number, token in waits(program)
        if token == UNITS.index(unit)
        and decode(program[number * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES])[0] == operation
    )


UNIT_OF = {Operation.LOAD: 0, Operation.ARRAY: 1, Operation.VECTOR: 2, Operation.SETUP: 2, Operation.STORE: 3}


def instructions(program):
    """(number, operation, fields) of the whole program."""
    for number in range(len(program) // INSTRUCTION_BYTES):
        yield number, *decode(program[number * INSTRUCTION_BYTES : (number + 1) * INSTRUCTION_BYTES])


def without_post(program, number, giver):
    """Remove the token that ``giver`` gives for the wait of instruction ``number``: n-th given, n-th taken."""
    taker = UNIT_OF[decode(program[number * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES])[0]]
    before = sum(
        UNIT_OF.get(operation) == taker and fields["wait"] >> giver & 1
        for n, operation, fields in instructions(program)
        if n < number
    )
    gives = [
        (n, operation, fields)
        for n, operation, fields in instructions(program)
        if UNIT_OF.get(operation) == giver and fields["post"] >> taker & 1
    ]
    given, operation, fields = gives[before]
    fields["post"] &= ~(1 << taker)
    changed = bytearray(program)
    changed[given * INSTRUCTION_BYTES : (given + 1) * INSTRUCTION_BYTES] = encode(operation, **fields)
    return bytes(changed)


@pytest.mark.parametrize(
    ("folder_of", "operation", "unit", "layer"),
    [("tall", Operation.LOAD, "array", "conv1"), ("build", Operation.STORE, "vector", "fc")],
    ids=["the load overwrites what the array still reads", "the store reads what the vector unit has yet to write"],
)
def test_a_removed_token_is_caught_where_it_was_needed(request, tmp_path, folder_of, operation, unit, layer):
    build = request.getfixturevalue(folder_of)
    program = (build[0] / "program.bin").read_bytes()
    giver = UNITS.index(unit)
    found = []
    for number, kind, fields in instructions(program):
        if kind != operation or not fields["wait"] >> giver & 1:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        broken = without_wait(without_post(program, number, giver), number, giver)
        report = simulate(build, folder, program=broken, latency=4)
        found += [difference.layer for difference in report.differences[:1]]
    assert found, "no token was needed"
    assert set(found) == {layer}


def test_a_removed_wait_is_caught_even_where_no_byte_changes(build, tmp_path):
    program = (build[0] / "program.bin").read_bytes()
    for number, unit in list(waits(program))[::4]:
        folder = tmp_path / f"{number}-{unit}"
        folder.mkdir()
        with pytest.raises(SimulationError, match="ended with a token that no instruction took"):
            simulate(build, folder, program=without_wait(program, number, unit))


def test_a_token_that_is_never_given_is_a_hang_that_names_who_waits(build, tmp_path):
    program = bytearray((build[0] / "program.bin").read_bytes())
    number = first_wait(bytes(program), Operation.ARRAY, "loader")
    # nobody posts to the array any more: remove the loader's token from each load before it
    for load in range(number):
        at = slice(load * INSTRUCTION_BYTES, (load + 1) * INSTRUCTION_BYTES)
        operation, fields = decode(bytes(program[at]))
        if operation == Operation.LOAD:
            fields["post"] &= ~(1 << UNITS.index("array"))
            program[at] = encode(operation, **fields)
    with pytest.raises(SimulationError) as caught:
        simulate(build, tmp_path, program=bytes(program))
    place, _, message = str(caught.value).partition(": ")
    assert re.fullmatch(r"image 0, cycle \d+", place)
    assert form(message) in QUOTED


def residual() -> Graph:
    """conv 3x3 of 8x7x7, to which its input is added, and a fully connected layer."""
    rng = np.random.default_rng(12)

    def conv(name, source, target, shape, scale, **window):
        weights = rng.integers(-1, 2, shape).astype(np.int16)
        scales = np.full(shape[0], scale, np.float32)
        return Conv(name, "Conv", source, target, weights, scales, np.zeros(shape[0], np.int64), **window)

    layers = (
        conv("conv", "x", "a", (8, 8, 3, 3), 0.5, pads=(1, 1, 1, 1)),
        Add("sum", ("a", "x"), "s"),
        conv("fc", "s", "y", (5, 8, 7, 7), 1.0),
    )
    maps = [FeatureMap(name, (8, 7, 7), np.float32(1), 0, -128, 127) for name in "xas"]
    tensors = {item.name: item for item in maps} | {"y": Sums("y", (5, 1, 1), np.ones(5, np.float32))}
    return quant.check(Graph(("x",), ("y",), layers, tensors))


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """The residual network's build folder, graph and parameters, and all tensors of a few images."""
    folder = tmp_path_factory.mktemp("added")
    graph = residual()
    quant.save(graph, folder / "q.onnx")
    parameters = parameters_for(graph, rows=4, columns=4, bus_bytes=8, activation_kib=4, multiplier=True)
    generate(graph, (folder / "q.onnx").read_bytes(), parameters, folder / "build")
    x = integers(graph, IMAGES, seed=6) // 8
    return folder / "build", graph, parameters, golden.run(graph, x)


def rewritten(program, number, **changed):
    """``program`` with fields of one instruction changed."""
    at = slice(number * INSTRUCTION_BYTES, (number + 1) * INSTRUCTION_BYTES)
    operation, fields = decode(program[at])
    result = bytearray(program)
    result[at] = encode(operation, **{**fields, **changed})
    return bytes(result)


def test_the_sum_is_a_part_of_the_convolution_and_without_a_fault_all_bytes_are_equal(added, tmp_path):
    report = simulate(added, tmp_path)
    assert (report.bit_exact, report.mismatches) == (True, 0)
    assert [layer.name for layer in plan(added[1], added[2]).layers] == ["conv+sum", "fc"]


def test_a_flipped_table_entry_is_caught_where_it_is_looked_up(added, tmp_path):
    source, graph, parameters, tensors = added
    tables = plan(graph, parameters).dram.tables[0]
    x, expected = tensors["x"], tensors["s"]
    value = int(x[0, 3, 4, 2])
    memory = bytearray((source / "memory.bin").read_bytes())
    at = tables.address + 4 * (256 + (value & 255)) + 2  # the input is the operand: table B
    memory[at] ^= 1 << 6  # 4 of the 20 fraction bits stand below: 4 steps
    report = simulate(added, tmp_path, memory=bytes(memory))
    first = report.differences[0]
    assert not report.bit_exact
    assert (first.image, first.layer) == (0, "conv+sum")
    assert x[0, first.channel, first.row, first.column] == value
    assert abs(first.found - first.expected) == 4
    assert first.expected == expected[0, first.channel, first.row, first.column]
    assert report.mismatches >= (x == value).sum() - (np.abs(expected[x == value]) > 120).sum()


@pytest.mark.parametrize(("name", "axis"), [("operand_column_step", "column"), ("operand_tile_step", "channel")])
def test_a_wrong_step_of_the_operand_is_caught_where_it_first_counts(added, tmp_path, name, axis):
    program = (added[0] / "program.bin").read_bytes()
    number = next(n for n, operation, f in instructions(program) if operation == Operation.SETUP and f["combine"])
    fields = decode(program[number * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES])[1]
    report = simulate(added, tmp_path, program=rewritten(program, number, **{name: fields[name] + 1}))
    first = report.differences[0]
    assert (first.image, first.layer) == (0, "conv+sum")
    assert getattr(first, axis) >= (4 if axis == "channel" else 1), "the first vector is right"


def test_settings_that_do_not_wait_for_their_tables_are_caught_in_their_layer(added, tmp_path):
    program = (added[0] / "program.bin").read_bytes()
    number = next(n for n, operation, f in instructions(program) if operation == Operation.SETUP and f["load_tables"])
    loader = UNITS.index("loader")
    (tmp_path / "both").mkdir()
    broken = without_wait(without_post(program, number, loader), number, loader)
    report = simulate(added, tmp_path / "both", program=broken, latency=100)
    assert not report.bit_exact
    assert (report.differences[0].image, report.differences[0].layer) == (0, "conv+sum")
    (tmp_path / "wait").mkdir()
    with pytest.raises(SimulationError, match="ended with a token that no instruction took"):
        simulate(added, tmp_path / "wait", program=without_wait(program, number, loader))


def test_settings_whose_tables_never_come_are_a_hang_that_names_the_vector_unit(added, tmp_path):
    program = (added[0] / "program.bin").read_bytes()
    number = next(n for n, operation, f in instructions(program) if operation == Operation.SETUP and f["load_tables"])
    with pytest.raises(SimulationError) as caught:
        simulate(added, tmp_path, program=without_post(program, number, UNITS.index("loader")))
    assert "the accelerator hangs: nothing moved for" in str(caught.value)
    assert "vector unit" in str(caught.value)
