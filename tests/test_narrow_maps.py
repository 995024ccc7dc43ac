"""Bits of feature maps, chosen: which maps they are, what each width costs, budgets and losses; what is told of it."""

import itertools
import json
import math

import numpy as np
import onnx
import pytest

from systolith import quant
from systolith.aim import Aim
from systolith.bit_choice import KEY, BitChoice, Sensitivity, notes, read_notes
from systolith.commands.quantize import quantize_model
from systolith.descent import steps
from systolith.mixed_precision import likely
from systolith.noise import run_both
from systolith.quant.graph.errors import ConfigurationError
from systolith.quant.graph.ports import integer_name
from systolith.quant.graph.progress import uncounted
from systolith.quant.posttraining.grids import groups
from systolith.quant.posttraining.narrow_maps import narrow_maps
from systolith.quant.posttraining.quantize import build, observe
from systolith.quant.posttraining.widths import inner_maps
from systolith.sensitivity import MAP_CANDIDATES, map_widths, sensitivities, weight_widths

from . import models, oracle
from .hw_networks import check_against_golden, planned

BRANCHED = ("residual", "inception", "dense", "pooled_concat")
MODEL = models.Builder((3, 8, 8)).conv(3, 8, 3).relu().conv(8, 12, 3).relu().flatten().gemm(12 * 16, 6).model()
IMAGES = models.images(MODEL, 16)
NETWORK = quant.load_float(MODEL)
LAYERS = [layer.name for layer in NETWORK.layers]
CONV1, CONV2, GEMM = LAYERS


def inner_of(network: quant.FloatGraph) -> dict[str, list[str]]:
    return inner_maps(network, groups(network))


def widest_map(graph: quant.Graph) -> dict[str, int]:
    """Bits of each map that a layer of ``graph`` writes, by the layer's name."""
    return {
        layer.name: tensor.bits
        for layer in graph.layers
        if isinstance(tensor := graph.tensors[layer.output], quant.FeatureMap)
    }


def test_inner_maps_are_those_on_no_grid_of_an_end():
    for name in models.BRANCHED:
        network = quant.load_float(models.branched(name))
        group, found = groups(network), inner_of(network)
        listed = [tensor for names in found.values() for tensor in names]
        ends = {group[tensor] for tensor in (*network.inputs, *network.outputs)}
        assert sorted(listed) == sorted(layer.output for layer in network.layers if group[layer.output] not in ends)
        makers = {layer.output: layer.name for layer in network.layers}
        for layer, names in found.items():
            assert makers[names[0]] == layer
            assert len({group[tensor] for tensor in names}) == 1


def test_what_a_pooling_shares_with_an_end_is_no_inner_map():
    net = models.Builder((2, 8, 8)).pool(2, 1).conv(2, 3, 2).conv(3, 4, 3).conv(4, 3, 1).pool(2, 1)
    network = quant.load_float(net.model())
    _, first, second, _, _ = (layer.output for layer in network.layers)
    assert list(inner_of(network).values()) == [[first], [second]]
    assert map_widths(network, quant.Settings(), narrowed=True).fixed == (), "ends are in no mean"


def test_a_pooling_and_a_concatenation_are_one_with_what_they_move():
    net = models.Builder((2, 8, 8))
    left = net.conv(2, 3, 1).relu().pool().current
    right = net.at("image").conv(2, 4, 2, strides=[2, 2]).current
    net.join("Concat", left, right, axis=1).conv(7, 3, 3).conv(3, 2, 1)
    network = quant.load_float(net.model())
    sizes = [(3 * 64 + 3 * 16 + 4 * 16 + 7 * 16, 8), (3 * 4, 8)]
    widths = map_widths(network, quant.Settings(), narrowed=True)
    assert (list(widths.open.values()), widths.fixed) == (sizes, ())


@pytest.mark.parametrize("name", BRANCHED)
@pytest.mark.parametrize("scales", ["float", "pow2"])
def test_a_narrow_map_is_that_of_a_network_quantized_so_and_all_else_stays(name, scales):
    model = models.branched(name)
    network, images = quant.load_float(model), models.images(model, 6)
    settings = quant.Settings(scales)
    histograms = observe(network, images)
    before = build(network, histograms, settings)
    inner = inner_of(network)
    choices = dict.fromkeys(inner, (4, 5))
    done = []
    found = list(narrow_maps(network, before, histograms, choices, settings, lambda *now: done.append(now)))
    assert [(layer, bits) for layer, bits, _ in found] == list(itertools.product(inner, (4, 5)))
    assert done == [(number + 1, len(inner)) for number in range(len(inner))]
    for layer, bits, graph in found:
        expected = build(network, histograms, quant.Settings(scales, maps={layer: bits}))
        maps = {n: t for n, t in expected.tensors.items() if isinstance(t, quant.FeatureMap)}
        assert {n: t for n, t in graph.tensors.items() if isinstance(t, quant.FeatureMap)} == maps
        changed = {n for n, t in maps.items() if t != before.tensors[n]}
        assert set(map(integer_name, inner[layer])) <= changed
        assert max(maps[integer_name(member)].bits for member in inner[layer]) <= bits
        for one, other in zip(graph.layers, before.layers, strict=True):
            if isinstance(one, quant.Conv):
                np.testing.assert_array_equal(one.weights, other.weights)
                np.testing.assert_array_equal(one.weight_scales, other.weight_scales)
                steps = np.float64(before.map_of(one.input).scale) / np.float64(graph.map_of(one.input).scale)
                np.testing.assert_array_equal(one.bias, np.rint(other.bias * steps))


def test_a_width_that_crosses_a_pole_is_not_tried():
    """A grid of few steps that holds 0 reaches beyond the range that it covers."""
    net = models.Builder((1, 4, 4)).conv(1, 2, 1).node("Clip", np.float32(-1.4), np.float32(1.5)).node("Tan")
    model = net.conv(2, 2, 1).model()
    network, images = quant.load_float(model), 40 * models.images(model, 8)
    histograms, settings = observe(network, images), quant.Settings(ranges="minmax")
    (first, *_), widths = inner_of(network), (3, 4, 8)
    graph = build(network, histograms, settings)
    tried = narrow_maps(network, graph, histograms, {first: widths}, settings, uncounted)
    assert [bits for _, bits, _ in tried] == [4, 8]
    with pytest.raises(quant.ModelError, match="beyond the pole"):
        build(network, histograms, quant.Settings(ranges="minmax", maps={first: 3}))


@pytest.mark.parametrize("budget", ["4:4", "3:5.5", ":6"])
@pytest.mark.parametrize("name", BRANCHED)
def test_chosen_maps_run_exactly_on_onnxruntime_and_on_the_engine(name, budget):
    model = models.branched(name)
    images = models.images(model, 9)
    graph = quantize_model(model, images, budget=budget).graph
    assert len(set(widest_map(graph).values())) > 1
    oracle.assert_every_tensor_equal(graph, images)
    check_against_golden(planned(graph, rows=5, columns=8, bus_bytes=8, activation_kib=4))


@pytest.mark.parametrize("budget", ["4:4", ":3.5", "6:5"])
def test_a_budget_of_maps_is_kept_and_used(budget, tmp_path):
    model = models.branched("residual")
    network = quant.load_float(model)
    found = quantize_model(model, models.images(model, 16), tmp_path / "q.onnx", budget=budget)
    allowed = float(budget.partition(":")[2])
    choice = found.choice.maps
    inner, made = inner_of(network), widest_map(found.graph)
    sizes = {name: math.prod(found.graph.tensors[layer.output].shape) for name, layer in named(found.graph).items()}
    makers = {layer.output: layer.name for layer in network.layers}
    elements = bits = 0
    for one in choice.sensitivities:
        layers = [makers[name] for name in inner[one.layer]]
        assert one.size == sum(sizes[layer] for layer in layers)
        assert max(made[layer] for layer in layers) <= one.bits
        elements, bits = elements + one.size, bits + one.size * one.bits
    assert set(inner) == {one.layer for one in choice.sensitivities}
    assert choice.mean == bits / elements <= allowed
    assert min(mean for mean, _ in choice.path if mean > choice.mean) > allowed, "one step less would be too much"
    assert found.graph.map_of(found.graph.inputs[0]).bits == 8
    assert read_notes(onnx.load(tmp_path / "q.onnx")) == found.choice
    assert quant.to_onnx(quant.load(tmp_path / "q.onnx")) == quant.to_onnx(found.graph)


def named(graph: quant.Graph) -> dict[str, quant.Layer]:
    return {layer.name: layer for layer in graph.layers}


def test_each_budget_is_its_own():
    """Weights of W:M are those of W on the network made ready for narrow maps; those of :M stay as asked."""
    maps = quantize_model(MODEL, IMAGES, budget=":4", weight_bits=6)
    both = quantize_model(MODEL, IMAGES, budget="4:4")
    assert maps.choice.mean == 6
    assert (maps.choice.sensitivities, maps.choice.path) == ((), ())
    assert set(maps.asked.values()) == {6}
    assert both.choice.mean <= 4
    assert [one.bits for one in both.choice.maps.sensitivities] == [one.bits for one in maps.choice.maps.sensitivities]


def test_what_has_no_budget_of_maps_says_nothing_of_them():
    for aim in ({"budget": 4}, {"budget": "4"}, {"loss": 7.0}):
        found = quantize_model(MODEL, IMAGES, **aim)
        assert found.choice.maps is None
        assert set(widest_map(found.graph).values()) == {8}
        assert set(json.loads(notes(found.choice)[KEY])) == {"mean", "sensitivities", "path", "losses", "unit"}
    assert quantize_model(MODEL, IMAGES, budget=4).model == quantize_model(MODEL, IMAGES, budget="4").model


def test_files_made_before_maps_were_chosen_are_read():
    old = (
        '{"mean":4.5,"sensitivities":[{"layer":"conv1","weights":216,"widest":8,"bits":4,"noise":{"4":0.25}}],'
        '"path":[[8.0,0.0],[4.5,0.25]],"losses":[[4.5,1.0]],"unit":"points"}'
    )
    choice = read_notes(quant.to_onnx(quant.quantize(MODEL, IMAGES), {KEY: old}))
    one = Sensitivity("conv1", 216, 8, 4, {4: 0.25})
    assert choice == BitChoice(4.5, (one,), ((8.0, 0.0), (4.5, 0.25)), ((4.5, 1.0),), "points")
    assert notes(choice) == {KEY: old}


def test_maps_that_are_said_by_hand_are_not_chosen_but_count():
    found = quantize_model(MODEL, IMAGES, budget=":6", bits={CONV2: "8:7"})
    (gemms,) = found.choice.maps.sensitivities
    assert gemms.layer == CONV2, "what it writes; what it reads is said"
    assert widest_map(found.graph)[CONV1] == 7
    first, second = 8 * 36, 12 * 16
    assert (gemms.size, gemms.bits) == (second, 4)
    assert found.choice.maps.mean == (7 * first + gemms.bits * second) / (first + second)
    with pytest.raises(ConfigurationError) as caught:
        quantize_model(MODEL, IMAGES, budget=":5", bits={CONV2: "8:8"})
    assert "a budget of maps of 5 bits is below what is possible, 6.00 bits" in str(caught.value)


def test_narrow_maps_start_from_the_width_that_all_have():
    found = quantize_model(MODEL, IMAGES, budget=":4", activation_bits=5, bits={CONV1: "8:8"})
    for one in found.choice.maps.sensitivities:
        assert one.widest == 5
        assert set(one.noise) == {3, 4}
    assert found.graph.map_of(found.graph.inputs[0]).bits == 8


@pytest.mark.parametrize(("aim", "bits"), [(Aim(maps=3.7), 3), (Aim(loss=1.0, narrow_maps=True), 5)])
def test_channels_and_ranges_are_made_ready_for_maps_about_as_narrow_as_they_will_be(aim, bits):
    assert likely(NETWORK, quant.Settings(), aim).maps == dict.fromkeys(inner_of(NETWORK), bits)
    narrow = quant.Settings(activation_bits=2)
    assert set(likely(NETWORK, narrow, aim).maps.values()) == {2}


def test_maps_that_are_not_chosen_are_not_made_ready_for_fewer_bits():
    assert likely(NETWORK, quant.Settings(), Aim(weights=4.0)).maps == {}


def test_fewer_bits_are_noisier():
    found = quantize_model(MODEL, IMAGES, budget=":5").choice.maps.sensitivities
    for one in found:
        noises = [one.noise[bits] for bits in MAP_CANDIDATES if bits < 8]
        assert noises == sorted(noises, reverse=True)
        assert noises[0] > 4 * noises[-1] > 0


def test_a_loss_narrows_maps_only_where_it_is_asked_to():
    found = quantize_model(MODEL, IMAGES, loss=13.0, narrow_maps=True)
    choice, maps = found.choice, found.choice.maps
    assert maps.path == ()
    assert all(loss <= 13.0 for mean, loss in choice.losses if mean == maps.together)
    assert maps.together in {mean for mean, _ in choice.path}
    assert len(choice.losses) == len({mean for mean, _ in choice.losses}) > 0
    weights, elements = (sum(one.size for one in some) for some in (choice.sensitivities, maps.sensitivities))
    together = choice.mean * weights + maps.mean * elements
    assert together == pytest.approx(maps.together * (weights + elements))
    assert choice.mean < 8
    assert maps.mean < 8


@pytest.mark.parametrize("images", ["16", "one class", "one image"])
def test_few_images_choose_no_worse_maps_than_all_alike(images):
    """Images of one class, or 16, or a single one: dB on others are at least those of 4 bits everywhere."""
    model = models.branched("residual")
    some = models.images(model, 16)
    if images == "one class":
        some = some[:1] + 0.05 * some
    elif images == "one image":
        some = some[:1]
    others = models.images(model, 40, seed=9)
    network = quant.load_float(model)
    first = network.layers[0].name
    alike = quantize_model(model, some, activation_bits=4, bits={first: "8:8"})
    chosen = quantize_model(model, some, budget=":4")
    assert chosen.choice.maps.mean <= 4
    noise = [run_both(found.graph, network, {"image": others}, uncounted).outputs for found in (alike, chosen)]
    assert all(noise[1][name] >= noise[0][name] for name in noise[0])


def test_one_class_is_warned_of_where_a_loss_is_counted_in_points():
    same = IMAGES[:1] + 0.01 * IMAGES
    for options, told in (({"loss": 7.0, "narrow_maps": True}, True), ({"loss": 7.0}, True), ({"budget": ":5"}, False)):
        lines = quantize_model(MODEL, same, effort="fast", **options).lines()
        assert any("for one class" in line for line in lines) == told
    lines = quantize_model(MODEL, IMAGES, effort="fast", loss=7.0).lines()
    assert not any("for one class" in line for line in lines)


def test_all_that_is_measured_is_counted():
    found = quantize_model(MODEL, IMAGES, effort="fast").calibrated
    settings, done = quant.Settings(), []
    weights, maps = weight_widths(NETWORK, settings, True), map_widths(NETWORK, settings, True)
    sensitivities(NETWORK, found, settings, weights, maps, lambda *now: done.append(now))
    assert done == [(number, 5) for number in range(1, 6)], "three layers and two grids"
    done.clear()
    sensitivities(
        NETWORK, found, settings, weight_widths(NETWORK, settings, False), maps, lambda *now: done.append(now)
    )
    assert done == [(1, 2), (2, 2)]


def sensitive(seed: int, count: int, widths: tuple[int, ...]) -> list[Sensitivity]:
    random = np.random.default_rng(seed)
    gains = 10.0 ** random.uniform(-3, 0, count)
    sizes = random.integers(10, 1000, count)
    return [
        Sensitivity(f"layer {number}", int(size), 8, 8, {bits: gain * 4.0**-bits for bits in widths})
        for number, (gain, size) in enumerate(zip(gains, sizes, strict=True))
    ]


@pytest.mark.parametrize("seed", range(3))
def test_one_path_of_weights_and_maps_gives_the_least_noise_of_all_choices_of_its_size(seed):
    """Names of layers are the same on both sides."""
    weights, maps = sensitive(seed, 2, (2, 4)), sensitive(seed + 10, 2, (3, 4, 5))
    both, fixed = (*weights, *maps), (100, 6)
    total = sum(one.size for one in both) + fixed[0]
    every = []
    for bits in itertools.product((2, 4, 8), (2, 4, 8), (3, 4, 5, 8), (3, 4, 5, 8)):
        size = (sum(one.size * width for one, width in zip(both, bits, strict=True)) + math.prod(fixed)) / total
        every.append((size, sum(one.noise.get(width, 0.0) for one, width in zip(both, bits, strict=True))))
    path = steps(weights, maps, [fixed])
    assert (path[0].bits, path[0].maps) == ({"layer 0": 8, "layer 1": 8},) * 2
    assert (path[-1].bits, path[-1].maps) == ({"layer 0": 2, "layer 1": 2}, {"layer 0": 3, "layer 1": 3})
    for step in path:
        assert step.noise <= min(noise for size, noise in every if size <= step.mean + 1e-9) * (1 + 1e-9)
    for before, after in itertools.pairwise(path):
        assert before.mean > after.mean


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": "4:"}, "a budget must be W, W:M or :M, mean bits of weights and of maps, as 4.5, 4.5:6 or :6, not"),
        ({"budget": ":"}, "a budget must be W, W:M or :M"),
        ({"budget": ""}, "a budget must be W, W:M or :M"),
        ({"budget": "4:5:6"}, "not '4:5:6'"),
        ({"budget": "four:5"}, "not 'four:5'"),
        ({"budget": "4,5"}, "not '4,5'"),
        ({"budget": "4:1.5"}, "a budget of maps must be 2 to 16 bits, not 1.5"),
        ({"budget": "17:4"}, "a budget must be 2 to 16 bits, not 17"),
        ({"budget": "nan"}, "a budget must be 2 to 16 bits, not nan"),
        ({"budget": ":2.5"}, "a budget of maps of 2.5 bits is below what is possible, 3.00 bits; ask for that or more"),
        ({"budget": ":4", "loss": 1.0}, "give one of them"),
        ({"narrow_maps": True}, "give one of them"),
        ({"budget": "4", "narrow_maps": True}, "for a budget that says their mean bits, as 4.5:6"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, said):
    with pytest.raises(ConfigurationError) as caught:
        quantize_model(MODEL, IMAGES, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_network_without_inner_maps_has_no_budget_of_them():
    model = models.Builder((3, 6, 6)).conv(3, 4, 3).relu().model()
    with pytest.raises(ConfigurationError, match="no feature map lies between the network's ends"):
        quantize_model(model, models.images(model, 4), budget=":4")
    found = quantize_model(model, models.images(model, 4), loss=1.0, narrow_maps=True)
    assert (found.choice.maps.sensitivities, found.choice.maps.mean) == ((), 0)


def test_bits_of_a_map_that_no_layer_writes_are_refused():
    with pytest.raises(ConfigurationError, match=r"bits of the map of 'conv': no layer is called so; there are"):
        quant.quantize(MODEL, IMAGES, quant.Settings(maps={"conv": 4}))
    with pytest.raises(ConfigurationError, match=r"bits of the map of 'conv' must be 2 to 16, not 1"):
        quant.Settings(maps={"conv": 1})
