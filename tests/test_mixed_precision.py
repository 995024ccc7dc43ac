"""Bits of each layer: by hand, by a budget, by a loss; and what is told of the choice."""

import itertools

import numpy as np
import onnx
import pytest

from systolith import quant
from systolith.bit_choice import KEY, Sensitivity, read_notes
from systolith.commands.quantize import quantize_model
from systolith.descent import Step, filled, steps, within_budget, within_loss
from systolith.mixed_precision import Loss
from systolith.quant.graph.errors import ConfigurationError
from systolith.quant.graph.ports import integer_name

from . import models

MODEL = models.Builder((3, 8, 8)).conv(3, 8, 3).relu().conv(8, 12, 3).relu().flatten().gemm(12 * 16, 6).model()
IMAGES = models.images(MODEL, 16)
LAYERS = [layer.name for layer in quant.load_float(MODEL).layers if hasattr(layer, "weights")]


def widths(graph: quant.Graph) -> dict[str, int]:
    return {layer.name: layer.weight_bits for layer in graph.layers if isinstance(layer, quant.Conv)}


def test_by_hand_the_last_pattern_counts():
    found = quantize_model(MODEL, IMAGES, weight_bits=4, bits={"*": "6", LAYERS[0]: "8", LAYERS[-1]: "3"})
    assert widths(found.graph) == dict.fromkeys(LAYERS, 6) | {LAYERS[0]: 8, LAYERS[-1]: 3}


def test_a_map_is_as_wide_as_its_widest_reader_wants():
    """Whichever of its readers that is; maps that it does not read keep to what all have."""
    model = models.branched("residual")
    images, network = models.images(model, 4), quant.load_float(model)
    shared = {name: readers for name, readers in network.readers().items() if len(readers) > 1}
    assert shared
    for name, readers in shared.items():
        for reader in readers:
            graph = quant.quantize(model, images, quant.Settings(activation_bits=4, bits={reader.name: "8:7"}))
            wide = {source for source, tensor in graph.tensors.items() if getattr(tensor, "bits", 0) > 4}
            assert integer_name(name) in wide
            assert wide <= set(map(integer_name, reader.inputs))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bits": {"nothing*": "4"}}, "no layer is called so; there are"),
        ({"bits": {"*": "four"}}, "must be WEIGHTS or WEIGHTS:ACTIVATIONS"),
        ({"bits": {"*": "4:"}}, "must be WEIGHTS or WEIGHTS:ACTIVATIONS"),
        ({"bits": {"*": "1"}}, "must be 2 to 16, not 1"),
        ({"bits": {"*": "4:17"}}, "must be 2 to 16, not 17"),
        ({"budget": 4.0, "loss": 1.0}, "give one of them"),
        ({"budget": 1.5}, "must be 2 to 16 bits, not 1.5"),
        ({"loss": -1.0}, "must be 0 to 100, not -1"),
        ({"budget": 2.0, "bits": {LAYERS[-1]: "8"}}, "is below what is possible"),
        ({"effort": "much"}, "effort must be one of fast, default, best, not 'much'"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(ConfigurationError) as caught:
        quantize_model(MODEL, IMAGES, **options)
    assert said in str(caught.value)


@pytest.mark.parametrize("budget", [2.5, 4.0, 6.0])
def test_a_budget_is_kept_and_used(budget, tmp_path):
    found = quantize_model(MODEL, IMAGES, tmp_path / "q.onnx", budget=budget)
    sizes = {layer.name: layer.weights.size for layer in found.graph.layers if isinstance(layer, quant.Conv)}
    choice = found.choice
    chosen = {one.layer: one.bits for one in choice.sensitivities}
    mean = sum(sizes[name] * chosen[name] for name in sizes) / sum(sizes.values())
    assert mean == pytest.approx(choice.mean)
    assert mean <= budget
    before = [point for point, _ in choice.path if point > mean]
    assert min(before) > budget, "one step less would be too much"
    assert all(bits <= chosen[name] for name, bits in widths(found.graph).items())
    assert read_notes(onnx.load(tmp_path / "q.onnx")) == choice
    assert quant.to_onnx(quant.load(tmp_path / "q.onnx")) == quant.to_onnx(found.graph)


def test_a_layer_that_is_said_by_hand_is_not_chosen():
    found = quantize_model(MODEL, IMAGES, budget=4.0, bits={LAYERS[0]: "8"})
    assert LAYERS[0] not in {one.layer for one in found.choice.sensitivities}
    assert widths(found.graph)[LAYERS[0]] == 8
    assert found.choice.mean <= 4.0, "it counts"


@pytest.mark.parametrize("effort", ["fast", "default"])
def test_what_is_as_wide_as_before_loses_nothing(effort):
    settings = quant.Settings(effort=effort)
    found = quantize_model(MODEL, IMAGES, effort="fast", range_method="mse").calibrated
    loss = Loss(quant.load_float(MODEL), found, settings)
    assert loss(Step(dict.fromkeys(LAYERS, 8), 8.0, 0.0)) == 0


def test_a_loss_is_measured_on_the_way():
    found = quantize_model(MODEL, IMAGES, loss=7.0)
    assert found.choice.unit == "points"
    assert found.choice.losses
    assert all(loss <= 7.0 for mean, loss in found.choice.losses if mean == found.choice.mean)
    assert found.choice.mean < 8
    assert (found.choice.path[0][0], found.choice.path[-1][0]) == (8, 2)  # of weights alone


def sensitive(seed: int, layers: int) -> list[Sensitivity]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(layers):
        gain = 10.0 ** random.uniform(-3, 0)
        noise = {bits: gain * 4.0**-bits for bits in (2, 3, 4, 6)}
        found.append(Sensitivity(f"layer {number}", int(random.integers(10, 1000)), 8, 8, noise))
    return found


def every_choice(found):
    """(mean bits, noise) of each."""
    total = sum(one.size for one in found)
    for bits in itertools.product((2, 3, 4, 6, 8), repeat=len(found)):
        size = sum(one.size * width for one, width in zip(found, bits, strict=True)) / total
        yield size, sum(one.noise.get(width, 0.0) for one, width in zip(found, bits, strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_path_gives_the_least_noise_of_all_choices_of_its_size(seed):
    found = sensitive(seed, 4)
    every = [*every_choice(found)]
    path = steps(found)
    assert [step.mean for step in path] == sorted((step.mean for step in path), reverse=True)
    assert (path[0].mean, path[-1].mean) == (8, 2)
    for step in path:
        assert step.noise <= min(noise for size, noise in every if size <= step.mean + 1e-9) * (1 + 1e-9)


@pytest.mark.parametrize("budget", [2.0, 2.3, 3.1, 3.9, 5.5, 7.9, 8.0])
@pytest.mark.parametrize("seed", range(5))
def test_what_a_budget_has_left_is_given_back(seed, budget):
    found = sensitive(seed, 4)
    within = within_budget(steps(found), budget)
    step = filled(within, budget, found)
    assert within.mean <= step.mean <= budget
    assert step.noise <= within.noise
    for one in found:  # nothing more fits
        for wider in (bits for bits in (3, 4, 6, 8) if bits > step.bits[one.layer]):
            more = step.mean + one.size * (wider - step.bits[one.layer]) / sum(each.size for each in found)
            assert more > budget


def test_a_layer_that_is_most_of_the_network_leaves_the_others_what_it_gives_back():
    noise = {2: 0.2, 3: 0.1, 4: 0.05, 6: 0.01}
    found = [Sensitivity("large", 730, 8, 8, noise), *(Sensitivity(f"small {n}", 90, 8, 8, noise) for n in range(3))]
    step = filled(within_budget(steps(found), 4.0), 4.0, found)
    assert step.noise == min(noise for size, noise in every_choice(found) if size <= 4.0)


@pytest.mark.parametrize("names", [("loud", "quiet"), ("quiet", "loud")])
def test_what_is_noisiest_is_widened_first(names):
    gains = {"loud": 1.0, "quiet": 0.1}
    found = [Sensitivity(name, 100, 8, 8, {bits: gains[name] * 4.0**-bits for bits in (2, 3, 4, 6)}) for name in names]
    assert filled(steps(found)[-1], 2.5, found).bits == {"loud": 3, "quiet": 2}


def test_what_loses_nothing_is_not_widened():
    found = [
        Sensitivity("deaf", 100, 8, 8, dict.fromkeys((2, 3, 4, 6), 0.0)),
        Sensitivity("keen", 100, 8, 8, {bits: 4.0**-bits for bits in (2, 3, 4, 6)}),
    ]
    step = filled(steps(found)[-1], 6.0, found)
    assert step.bits == {"deaf": 2, "keen": 8}


def test_weights_and_maps_are_filled_by_their_own_names():
    layers, maps = sensitive(1, 3), sensitive(2, 3)  # of the same names
    narrowest = steps(layers, maps, [(500, 8)])[-1]
    step = filled(narrowest, 8.0, layers, maps, [(500, 8)])
    assert (step.bits, step.maps, step.mean) == (*({one.layer: 8 for one in found} for found in (layers, maps)), 8.0)
    few = filled(narrowest, narrowest.mean, layers, maps, [(500, 8)])
    assert (few.bits, few.maps) == (narrowest.bits, narrowest.maps)


def test_within_a_budget_and_a_loss():
    path = [Step({}, mean, 0.0) for mean in (8, 6, 5, 4, 3, 2)]
    assert within_budget(path, 4.5).mean == 4
    for allowed in range(8):
        step, losses = within_loss(path, lambda step: 8 - step.mean, allowed)
        assert step.mean == min(each.mean for each in path if 8 - each.mean <= allowed)
        assert all(loss == 8 - mean for mean, loss in losses.items())


def test_damaged_notes_are_one_line():
    model = quant.to_onnx(quant.quantize(MODEL, IMAGES), {KEY: '{"mean": "many"}'})
    with pytest.raises(quant.ModelError) as caught:
        read_notes(model)
    assert "metadata 'systolith.bits' is damaged" in str(caught.value)
    assert "\n" not in str(caught.value)
