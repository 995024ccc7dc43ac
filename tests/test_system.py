"""Whole networks on whole accelerators: every byte of every layer, and the cycles that were predicted."""

import dataclasses
import itertools

import numpy as np
import pytest

from systolith import golden, quant, sim
from systolith.hw.build import compile_for, general_parameters, generate, generate_hardware, parameters_for
from systolith.hw.isa.program import Operation

from .branches import branches
from .builds import rebuild
from .graphs import integers
from .hw_networks import ANY_SCALES, network, planned
from .lenet import lenet5
from .test_lecture_simulated import HARDWARE as LECTURE
from .test_resnet8 import quantized as resnet8

# One Verilog runs every network that fits it, so each of these is compiled once for each bench: for the longest run.
WIDE = {
    "activation_bits": 8,
    "weight_bits": 8,
    "sum_bits": 26,
    "operands": True,
    "line_buffer": 0,
    "sliding": 3,
    **ANY_SCALES,
}
SMALL = {"activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
LARGE = {"activation_kib": 64, "accumulator_kib": 32}
WHOLE = {**WIDE, "tables": True}
EVERYTHING = {  # what runs branches too
    "8x8, 8-byte bus, all fits": {
        **WHOLE, **LARGE, "rows": 8, "columns": 8, "bus_bytes": 8, "normalization": 5, "multiplier": True,
        "products": True, "extrema": True, "line_buffer": 512, "sliding": 16, "affine": True,
    },
    "6x5, 8-byte bus, shifts only": {
        **WHOLE, **SMALL, "rows": 6, "columns": 5, "bus_bytes": 8, "activation_kib": 8, "multiplier": False,
    },
}  # fmt: skip
HARDWARE = {
    "4x4, 4-byte bus, small memories": {
        **WIDE,
        **SMALL,
        "rows": 4,
        "columns": 4,
        "bus_bytes": 4,
        "multiplier": True,
        "line_buffer": 64,
    },
    "16x16, 16-byte bus": LECTURE,
    "5x3, 16-byte bus, small memories": {**WIDE, **SMALL, "rows": 5, "columns": 3, "bus_bytes": 16, "multiplier": True},
    "5x3, 4-byte bus, shifts only": {**WIDE, **LARGE, "rows": 5, "columns": 3, "bus_bytes": 4, "multiplier": False},
    **EVERYTHING,
}
BRANCHED = {
    "4x4, 4-byte bus, 6 KiB": {
        **WHOLE, **SMALL, "rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 6, "normalization": 4,
        "multiplier": True,
    },
    "5x6, 16-byte bus, 4 lanes": {
        **WHOLE, **SMALL, "rows": 5, "columns": 6, "bus_bytes": 16, "activation_kib": 8, "normalization": 5, "lanes": 4,
        "multiplier": True,
    },
    **EVERYTHING,
}  # fmt: skip
SHAPES = (
    "stride4_kernel11_pads", "dilation2", "dilation2x3", "groups2", "depthwise", "asymmetric_pads",
    "asymmetric_kernel", "stride_above_kernel", "pool3_stride2_pad1", "pool_ceil", "conv_pool_overlap", "gemm_of_map",
)  # fmt: skip
TOLERANCE = 0.02
SMALLEST = 0.07
"""Of networks of a few thousand cycles, where one wait is a percent."""
MOVED = 0.1
"""Where maps are moved about as well: small copies, while tables are loaded into the banks that they read."""
ON_AVERAGE = 0.03


def run(graph, sizes, folder, *, images, bench="bulk", seed=3, latency=30, saved=True):
    """Simulate ``images`` random images; the report and the plan, after the checks that every run must pass."""
    if saved:
        quant.save(graph, folder / "q.onnx")
    else:
        (folder / "q.onnx").write_bytes(b"")  # random tables: no file can name such operators
    plan = generate(graph, (folder / "q.onnx").read_bytes(), parameters_for(graph, **sizes), folder / "build")
    x = integers(graph, images, seed=seed) if isinstance(images, int) else golden.quantize_input(graph, images)
    report = sim.simulate_tensors(
        sim.load(folder / "build"), graph, golden.run(graph, x), bench=bench, seed=seed, memory_latency=latency
    )
    assert report.bit_exact, [str(d) for d in report.differences]
    assert report.mismatches == 0
    assert report.images == len(x)
    return report, plan


def scales_of(sizes):
    return "float" if sizes["multiplier"] else "pow2"


def grouped(bench, hardware=HARDWARE):
    """Every hardware, its tests on one worker, so that it is compiled once."""
    return [
        pytest.param(sizes, id=name, marks=pytest.mark.xdist_group(f"{bench} {name}"))
        for name, sizes in hardware.items()
    ]


def random_branches(sizes, count, first):
    """Random graphs that fit, with every operator that the accelerator has; every other one moves maps about too."""
    for seed in itertools.count(first):
        if count == 0:
            break
        normalization, powers = sizes.get("normalization", 0), not sizes["multiplier"]
        products = sizes.get("products", False)
        graph = branches(seed, 9, normalization=normalization, powers=powers, moves=seed % 2 == 1, products=products)
        try:
            planned(graph, **sizes)
        except quant.ConfigurationError:
            continue
        count -= 1
        yield seed, graph


@pytest.mark.longest_run
@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
def test_a_general_accelerator_runs_three_networks_from_one_compiled_simulation(tmp_path):
    p = general_parameters(rows=8, columns=8, sum_bits=26)
    assert p == parameters_for(network("tiny"), **EVERYTHING["8x8, 8-byte bus, all fits"])
    generate_hardware(p, tmp_path / "general")
    graphs = {"lenet5": lenet5("float")[0], "resnet8": resnet8("float"), "squeezed": network("squeezed")}
    assert len({parameters_for(graph, rows=8, columns=8) for graph in graphs.values()}) == 3
    for name, graph in graphs.items():
        compile_for(graph, b"", tmp_path / "general", tmp_path / name)
        x = integers(graph, 1, seed=3)
        built = sim.load(tmp_path / name)
        report = sim.simulate_tensors(built, graph, golden.run(graph, x))
        assert report.bit_exact, [str(d) for d in report.differences]
        assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)
        assert name == "lenet5" or report.build_seconds == 0, "the first network's simulation is the others'"


@pytest.mark.parametrize("sizes", grouped("bulk", BRANCHED))
def test_random_branches_are_exact_in_about_the_predicted_cycles(sizes, tmp_path):
    errors, executed = [], set()
    for seed, graph in random_branches(sizes, 6, 0):
        folder = tmp_path / str(seed)
        folder.mkdir()
        report, plan = run(graph, sizes, folder, images=2, seed=seed, saved=False)
        executed |= {instruction.operation for instruction in plan.program}
        errors.append(report.cycles_per_image / report.predicted_cycles - 1)
        assert abs(errors[-1]) < (MOVED if seed % 2 else SMALLEST), seed
    assert abs(np.mean(errors)) < ON_AVERAGE, errors
    assert executed == {*Operation} - {Operation.END, Operation.IMAGE}


def test_branches_are_exact_on_the_narrowest_requantizers(tmp_path):
    sizes = BRANCHED["4x4, 4-byte bus, 6 KiB"]
    narrow = {name: size for name, size in sizes.items() if name not in ANY_SCALES}
    ((seed, graph),) = random_branches(sizes, 1, 0)
    assert all(getattr(parameters_for(graph, **narrow), name) != size for name, size in ANY_SCALES.items())
    run(graph, narrow, tmp_path, images=2, seed=seed, saved=False)


@pytest.mark.parametrize("sizes", grouped("protocol", BRANCHED))
def test_random_branches_are_exact_under_random_stalls_of_every_channel(sizes, tmp_path):
    for seed, graph in random_branches(sizes, 3, 50):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run(graph, sizes, folder, images=1, bench="protocol", seed=seed, saved=False)


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
@pytest.mark.parametrize("latency", [2, 150])
def test_branches_are_exact_whatever_the_latency(latency, tmp_path):
    sizes = EVERYTHING["8x8, 8-byte bus, all fits"]
    for seed, graph in random_branches(sizes, 2, 80):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run(graph, sizes, folder, images=2, seed=seed, latency=latency, saved=False)


@pytest.mark.parametrize("sizes", grouped("bulk"))
def test_lenet5_on_digits_is_exact_in_the_predicted_cycles(sizes, tmp_path):
    graph, digits = lenet5(scales_of(sizes))
    report, _ = run(graph, sizes, tmp_path, images=digits[:3])
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)


@pytest.mark.parametrize("sizes", grouped("bulk"))
def test_shapes_of_windows_are_exact_in_the_predicted_cycles(sizes, tmp_path):
    for name in SHAPES if sizes["multiplier"] else SHAPES[::2]:
        folder = tmp_path / name
        folder.mkdir()
        report, _ = run(network(name, scales_of(sizes)), sizes, folder, images=2)
        assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE), name


@pytest.mark.longest_run
@pytest.mark.parametrize("sizes", grouped("bulk"))
def test_cifar_shaped_network_is_exact_in_the_predicted_cycles(sizes, tmp_path):
    report, _ = run(network("cifar", scales_of(sizes)), sizes, tmp_path, images=1)
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)


@pytest.mark.parametrize("sizes", grouped("protocol"))
def test_lenet5_is_exact_under_random_stalls_of_every_channel(sizes, tmp_path):
    graph, digits = lenet5(scales_of(sizes))
    run(graph, sizes, tmp_path, images=digits[:1], bench="protocol", seed=17)


@pytest.mark.parametrize("sizes", grouped("protocol"))
def test_a_small_network_is_exact_under_many_patterns_of_stalls(sizes, tmp_path):
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        run(network("tiny", scales_of(sizes)), sizes, folder, images=4, bench="protocol", seed=seed)


@pytest.mark.xdist_group("protocol 5x3, 16-byte bus, small memories")
def test_shapes_of_windows_are_exact_under_random_stalls(tmp_path):
    for seed, name in enumerate(SHAPES):
        folder = tmp_path / name
        folder.mkdir()
        hardware = HARDWARE["5x3, 16-byte bus, small memories"]
        run(network(name), hardware, folder, images=1, bench="protocol", seed=seed)


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
@pytest.mark.parametrize("latency", [2, 7, 100, 300])
def test_lenet5_is_exact_whatever_the_latency(latency, tmp_path):
    graph, digits = lenet5("float")
    report, _ = run(graph, EVERYTHING["8x8, 8-byte bus, all fits"], tmp_path, images=digits[:2], latency=latency)
    assert report.cycles_per_image == pytest.approx(report.predicted_cycles, rel=TOLERANCE)


def test_small_memories_cut_layers_several_times():
    plan = planned(network("cifar"), **HARDWARE["4x4, 4-byte bus, small memories"])
    cuts = [len(place.tiling.tiles) * len(place.tiling.parts) for place in plan.placements]
    assert all(cut > 1 for cut in cuts[:-1]), cuts
    assert any(len(place.tiling.parts) > 1 for place in plan.placements)


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
def test_lenet5_at_8x8_takes_at_most_19000_cycles(tmp_path):
    graph, digits = lenet5("float")
    report, _ = run(graph, EVERYTHING["8x8, 8-byte bus, all fits"], tmp_path, images=digits[:1])
    assert report.cycles_per_image <= 19_000


@pytest.mark.xdist_group("bulk 16x16, 16-byte bus")
def test_cifar_shaped_network_at_16x16_is_within_a_tenth_of_its_limit(tmp_path):
    report, _ = run(network("cifar"), HARDWARE["16x16, 16-byte bus"], tmp_path, images=1)
    assert report.cycles_per_image <= 1.10 * report.limit_cycles


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "bus_bytes"), [(2, 2, 4), (3, 5, 8), (4, 8, 32), (8, 12, 64), (11, 16, 8)]
)
def test_other_widths_are_exact(weight_bits, activation_bits, bus_bytes, tmp_path):
    sizes = {"rows": 3, "columns": 4, "bus_bytes": bus_bytes, "activation_kib": 2, "accumulator_kib": 1, "lanes": 3}
    sizes |= {"operands": True, **ANY_SCALES}
    for name in ("conv_pool_overlap", "tiny", "groups2"):
        graph = network(name, "float", weight_bits, activation_bits)
        folder = tmp_path / name
        folder.mkdir()
        widths = {"weight_bits": weight_bits, "activation_bits": activation_bits, "sum_bits": 32, "multiplier": True}
        run(graph, {**sizes, **widths}, folder, images=2)


def test_one_accelerator_runs_another_network_and_refuses_one_that_does_not_fit(tmp_path):
    sizes = HARDWARE["4x4, 4-byte bus, small memories"]
    first, second = parameters_for(network("tiny"), **sizes), parameters_for(network("groups2"), **sizes)
    assert first == second
    with pytest.raises(quant.ConfigurationError, match="sums of"):
        generate_with(network("cifar"), {**sizes, "sum_bits": 12}, tmp_path)


@pytest.mark.xdist_group("bulk 8x8, 8-byte bus, all fits")
def test_another_accelerators_program_is_refused_by_the_accelerator(tmp_path):
    """The only place where the two meet is the hardware: a manifest is as easily exchanged as a program."""
    graph, p = network("tiny"), general_parameters(rows=8, columns=8, sum_bits=26)
    other = dataclasses.replace(p, normalization=4)
    generate(graph, b"", other, tmp_path / "other")
    generate(graph, b"", p, tmp_path / "build")
    rebuild(tmp_path / "other", {"systolith.v": (tmp_path / "build" / "systolith.v").read_bytes()})
    with pytest.raises(quant.SimulationError, match="the program was planned for an accelerator with other parameters"):
        sim.simulate_tensors(sim.load(tmp_path / "other"), graph, golden.run(graph, integers(graph, 1, seed=3)))


def generate_with(graph, sizes, folder):
    quant.save(graph, folder / "q.onnx")
    return generate(graph, (folder / "q.onnx").read_bytes(), parameters_for(graph, **sizes), folder / "build")


def test_random_images_reach_both_ends_of_the_range():
    x = integers(network("tiny"), 4, seed=3)
    assert np.ptp(x) > 200
