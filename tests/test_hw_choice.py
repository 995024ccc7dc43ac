"""Lanes and the layout of the input chosen for a network, and the estimate of cycles that the choice rests on."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from systolith import compile_build, estimate_build, generate_build, quant
from systolith.hw import build as hw_build
from systolith.hw import choice
from systolith.hw.build import parameters_for
from systolith.hw.choice import choose
from systolith.hw.compiler.cost import writing
from systolith.hw.compiler.pace import pace
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.unfold import unfolded
from systolith.hw.devices import device
from systolith.hw.folder import read_manifest
from systolith.hw.isa.parameters import Parameters
from systolith.hw.model.schedule import predict

from . import npz
from .branches import Branches
from .hw_networks import network
from .lenet import lenet5

RESNET8 = Path("examples/resnet8")


@pytest.fixture(scope="module")
def resnet8():
    images = npz.read(RESNET8 / "calibration.npz")["x"][:8]
    return quant.quantize(RESNET8 / "resnet8.onnx", images, quant.Settings(ranges="minmax"))


@pytest.fixture(scope="module")
def digits():
    return lenet5("float")[0]


def sized(graph: quant.Graph, side: int, **sizes: object) -> Parameters:
    return parameters_for(graph, rows=side, columns=side, bus_bytes=side, **sizes)


@pytest.mark.parametrize("side", [8, 16])
@pytest.mark.parametrize("name", ["digits", "resnet8"])
def test_differences_of_the_estimate_are_those_of_the_cycle_model(name, side, request):
    graph = request.getfixturevalue(name)
    few = sized(graph, side)
    layouts = {way: plan(graph, few, 1, way) for way in (False, True)}
    cycles, paces = {}, {}
    for way in (False, True):
        for lanes in (side // 4, side // 2, side):
            p = replace(few, lanes=lanes)
            cycles[lanes, way] = predict(plan(graph, p, 1, way), 30).cycles
            paces[lanes, way] = pace(
                layouts[way].layers,
                layouts[way].layout.tilings,
                layouts[way].layout.windows,
                few.lanes,
                p,
            )
    first = side // 4, False
    for option in cycles:
        saved, estimated = 1 - cycles[option] / cycles[first], 1 - paces[option] / paces[first]
        assert estimated == pytest.approx(saved, abs=0.015), option
    chosen = choose(graph, few)
    few_lanes = {
        option: found * (1 + 0.01 * (option[0] * 4 / side - 1 + option[1])) for option, found in cycles.items()
    }
    assert few_lanes[chosen.parameters.lanes, chosen.unfold_input] <= 1.005 * min(few_lanes.values())


def test_lanes_are_as_few_as_come_near_the_fastest(digits, resnet8):
    """LeNet-5 has passes enough for two lanes; ResNet-8's shortcuts and first layer have not."""
    assert choose(digits, sized(digits, 8)).reasons == (
        "lanes: 2; 4 would save 0.0%; 8 would save 0.1%",
        "input: as it is; unfolded by the host it would save -0.4% of the cycles",
    )
    found = choose(resnet8, sized(resnet8, 16))
    assert (found.parameters.lanes, found.unfold_input) == (16, True)
    assert re.match(r"lanes: 16, about 9\.\d% fewer cycles than with 4$", found.reasons[0])
    assert replace(found.parameters, lanes=4) == sized(resnet8, 16)


def test_each_quarter_of_the_columns_must_save_a_percent(digits, monkeypatch):
    saves = {2: 1.0, 4: 0.985, 8: 0.97}
    monkeypatch.setattr(choice, "pace", lambda layers, tilings, windows, lanes, p: 1000 * saves[p.lanes])
    few = sized(digits, 8)
    assert choose(digits, few, unfold_input=False).parameters.lanes == 4
    saves[4] = 0.995
    assert choose(digits, few, unfold_input=False).parameters.lanes == 8, "3% for three quarters, and 0.1% left"
    saves[8] = 0.975
    assert choose(digits, few, unfold_input=False).parameters.lanes == 2


def test_unfolding_must_save_a_percent(digits, monkeypatch):
    plain = plan(digits, sized(digits, 8)).layers[0].kernel
    for share, unfold_input in ((0.995, False), (0.985, True)):
        monkeypatch.setattr(
            choice,
            "pace",
            lambda layers, tilings, windows, lanes, p, share=share: 1000 * (share if layers[0].kernel != plain else 1),
        )
        found = choose(digits, sized(digits, 8), lanes=2)
        assert found.unfold_input == unfold_input
        assert len(found.reasons) == 1
    assert found.reasons == ("input: unfolded by the host, about 1.5% fewer cycles than as it is",)


def test_what_is_given_is_kept_and_nothing_is_laid_out_for_it(digits, monkeypatch):
    monkeypatch.setattr(choice, "lay_out", None)
    few = sized(digits, 8)
    for way in (False, True):
        found = choose(digits, few, lanes=3, unfold_input=way)
        assert (found.parameters, found.unfold_input, found.reasons) == (replace(few, lanes=3), way, ())


@pytest.mark.parametrize(("columns", "expected"), [(16, [8, 16]), (6, [3, 6]), (3, [2, 3]), (2, [2]), (1, [])])
def test_half_of_the_columns_or_all_are_tried(columns, expected):
    p = Parameters(rows=4, columns=columns)
    assert [*choice._more(p, lambda p: True)] == expected
    assert all(found.lanes == lanes for lanes, found in choice._more(p, lambda p: True).items())


def test_lanes_whose_banks_the_memory_does_not_hold_are_not_tried():
    """The raw sums of 128 lanes need eight banks of two lines of 128 bytes at least."""
    sizes = {"rows": 1, "columns": 128, "activation_kib": 1}
    with pytest.raises(quant.ConfigurationError, match="activation KiB must be at least 2 for 8 banks"):
        Parameters(**sizes, lanes=128)
    assert [*choice._more(Parameters(**sizes), lambda p: True)] == [64]


def test_lanes_for_which_there_is_no_room_are_not_tried(resnet8):
    few = sized(resnet8, 16)
    found = choose(resnet8, few, fits=lambda p: p.lanes < 16)
    assert found.parameters.lanes == 8
    assert found.reasons[0].endswith("; there is no room for more")
    found = choose(resnet8, few, unfold_input=True, fits=lambda p: False)
    assert (found.parameters, found.reasons) == (few, ("lanes: 4; there is no room for more",))


def test_a_family_has_room_for_what_a_part_of_it_holds(resnet8):
    """128 multipliers of the array of pairs and four of each lane: 8 lanes take 160, the largest ECP5 has 156."""
    few = sized(resnet8, 16, target="ecp5")
    assert few.columns_per_multiplier == 2
    assert choose(resnet8, few).reasons[0] == "lanes: 4; there is no room for more"
    assert choose(resnet8, sized(resnet8, 16, target="xilinx")).parameters.lanes == 16, "not measured: not limited"


def test_a_device_limits_what_is_estimated_for_it(digits):
    sizes = {"rows": 4, "columns": 4, "bus_bytes": 8}
    free = estimate_build(digits, **sizes, target="ecp5")
    tight = estimate_build(digits, **sizes, device="lfe5u-25f")
    assert tight.parameters.lanes <= free.parameters.lanes
    assert tight.area.fits(device("lfe5u-25f"))
    assert tight.chosen[0] in tight.lines()
    assert [found.chosen[0].endswith("; there is no room for more") for found in (free, tight)] == [False, True]
    given = estimate_build(digits, **sizes, lanes=1, unfold_input=False)
    assert (given.parameters.lanes, given.unfold_input, given.chosen) == (1, False, ())


@pytest.mark.parametrize("name", ["groups2", "pool2", "pointwise"])
def test_an_input_that_cannot_be_unfolded_is_not_spoken_of(name):
    graph = network(name)
    found = choose(graph, parameters_for(graph, rows=4, columns=4))
    assert not found.unfold_input
    assert [reason.split(":")[0] for reason in found.reasons] == ["lanes"]


def one_layer(kernel: int, channels: int = 16) -> quant.Graph:
    """As many channels in and out, 32 x 32."""
    network = quant.Network((channels, 32, 32)).conv(channels, kernel).relu()
    images = np.random.default_rng(0).standard_normal((2, channels, 32, 32), np.float32)
    return quant.quantize(network.to_onnx(), images, quant.Settings(ranges="minmax"))


def test_unfolding_that_saves_no_pass_is_not_spoken_of():
    """A kernel row of 3 x 16 elements fills 3 passes of 16 rows, and three of them 9."""
    graph = one_layer(3)
    assert unfolded(graph)[0].layers[0].weights.shape == (16, 48, 1, 3)
    assert [reason.split(":")[0] for reason in choose(graph, sized(graph, 16)).reasons] == ["lanes"]


@pytest.mark.parametrize(("channels", "least", "most"), [(16, 2_050, 2_150), (12, 2_050, 2_150)])
def test_beats_of_whole_lines_are_written_beside_vectors(channels, least, most):
    """One pass: array, lanes and storer need 1,024 cycles each, and as many for the halves, the first load and the last
    store.  Of 12 channels, 768 beats take turns with the vectors.
    """
    graph = one_layer(1, channels)
    made = plan(graph, sized(graph, 16, lanes=16))
    beats = made.placements[0].tiling.loader
    found = float(writing(made.layers[0].geometry, made.parameters, np.array(beats), 1_024))
    assert found == (max(beats, 1_024) if channels == 16 else 1_024 + beats)
    found = pace(made.layers, made.layout.tilings, made.layout.windows, made.parameters.lanes, made.parameters)
    assert least < found < most
    assert found == pytest.approx(predict(made, 30).cycles, rel=0.15)


def test_what_the_vector_unit_does_alone_hides_behind_the_array():
    """A convolution, and beside it a copy of what it reads: both go into one map."""
    chain = Branches(0, (4, 8, 8))
    chain.concat(chain.conv("x"), "x")
    graph = chain.graph(0)
    made = plan(graph, parameters_for(graph, rows=2, columns=4))
    conv, copy = sorted(range(2), key=lambda n: not made.layers[n].on_array)
    both = pace(made.layers, made.layout.tilings, made.layout.windows, made.parameters.lanes, made.parameters)
    tiling = made.placements[conv].tiling
    assert both == pytest.approx(tiling.array + tiling.ends, rel=1e-9)
    last = tuple((n, n) if n == copy else window for n, window in enumerate(made.layout.windows))
    assert pace(made.layers, made.layout.tilings, last, made.parameters.lanes, made.parameters) > both + 64


def test_a_network_of_two_inputs_is_not_unfolded(digits):
    two = replace(digits, inputs=(*digits.inputs, "other"))
    assert [*choice._ways(digits, sized(digits, 8), 1, None)] == [False, True]
    assert [*choice._ways(two, sized(digits, 8), 1, None)] == [False]


def test_unfolded_rows_that_do_not_fit_leave_the_input_as_it_is(digits, monkeypatch):
    right, plain = choice.lay_out, plan(digits, sized(digits, 8)).layers[0].kernel

    def too_large(layers, graph, p, **options):
        if layers[0].kernel != plain:
            raise quant.ConfigurationError("no tile of it fits")
        return right(layers, graph, p, **options)

    monkeypatch.setattr(choice, "lay_out", too_large)
    found = choose(digits, sized(digits, 8))
    assert not found.unfold_input
    assert [reason.split(":")[0] for reason in found.reasons] == ["lanes"]
    with pytest.raises(quant.ConfigurationError, match="no tile of it fits"):
        choose(digits, sized(digits, 8), unfold_input=True)


def test_generate_compile_and_their_manifests_tell_the_choice(tmp_path, monkeypatch):
    monkeypatch.setattr(hw_build, "emit_verilog", lambda p, monitor: "// takes seconds, and nobody reads it here")
    graph, build = network("tiny"), tmp_path / "build"
    made = generate_build(graph, build, rows=4, columns=4, batch=2)
    manifest, _ = read_manifest(build)
    expected = choose(graph, parameters_for(graph, rows=4, columns=4), 2)
    assert (made.parameters, made.unfolding is not None) == (expected.parameters, expected.unfold_input)
    assert manifest.chosen == expected.reasons
    for given in (None, False, True):
        compiled = compile_build(graph, build, tmp_path / "net", unfold_input=given)
        manifest, _ = read_manifest(tmp_path / "net")
        found = choose(graph, made.parameters, lanes=made.parameters.lanes, unfold_input=given)
        assert (compiled.unfolding is not None) == found.unfold_input == (given is not False)
        assert len(manifest.chosen) == (given is None), "its lanes are there"


def test_the_choice_is_for_the_images_of_a_run(digits):
    """Eight images share the fully connected layers' weights, so the first layer is more of what is left."""
    one, eight = (choose(digits, sized(digits, 16), batch).reasons[-1] for batch in (1, 8))
    shares = [float(re.search(r"about ([\d.]+)%", reason)[1]) for reason in (one, eight)]
    assert shares[1] > 1.5 * shares[0]
