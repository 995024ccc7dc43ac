"""Channels that are scaled: the same network, each channel reaching as far as the others."""

import numpy as np
import pytest

from systolith import quant
from systolith.quant.networks.execute import run_float
from systolith.quant.posttraining.equalize import QUANTILE, equalized
from systolith.quant.posttraining.quantize import load_float
from systolith.quant.posttraining.widths import learns

from . import models

NETWORKS = {name: models.branched(name) for name in ("inception", "dense", "shortcuts")}


def uneven(network: quant.FloatGraph) -> dict[str, np.ndarray]:
    (name,) = network.inputs
    return {name: np.random.default_rng(4).standard_normal((6, *network.inputs[name])).astype(np.float32)}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_outputs(name):
    network = load_float(NETWORKS[name])
    images = uneven(network)
    other = equalized(network, [images])
    before, after = dict(run_float(network, images)), dict(run_float(other, images))
    assert other.outputs == network.outputs
    for output in network.outputs:
        np.testing.assert_allclose(after[output], before[output], rtol=1e-4, atol=1e-4 * np.abs(before[output]).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_channels_reach_equally_far_and_a_scaled_map_has_a_name_of_its_own(name):
    network = load_float(NETWORKS[name])
    images = uneven(network)
    after = dict(run_float(equalized(network, [images]), images))
    scaled = [tensor for tensor in after if tensor.endswith("_equalized")]
    assert scaled
    assert not set(scaled) & set(network.outputs)
    alone = 0
    for tensor in scaled:
        reach = np.quantile(np.abs(after[tensor]).swapaxes(0, 1).reshape(after[tensor].shape[1], -1), QUANTILE, axis=1)
        assert (reach <= 1 + 1e-5).all()
        alone += (np.abs(reach - 1) < 1e-5).all()
    assert alone > 0, "what is joined or added to nothing reaches 1 in every channel"


def test_what_is_clamped_from_above_or_no_multiple_of_its_input_stays():
    net = models.Builder((3, 8, 8)).conv(3, 4, 3).relu6().conv(4, 4, 3).node("Sigmoid").conv(4, 4, 3).relu()
    network = load_float(net.conv(4, 2, 1).model())
    after = dict(run_float(equalized(network, [uneven(network)]), uneven(network)))
    assert sum(tensor.endswith("_equalized") for tensor in after) == 1, "the Relu's map alone"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"activation_bits": 4}, True),
        ({"bits": {"*": "8:8", "LAST": "8:7"}}, True),
        ({"weight_bits": 16, "activation_bits": 4}, True),
        ({"activation_bits": 4, "effort": "fast"}, False),
        ({"weight_bits": 2}, False),
    ],
    ids=["narrow maps", "one narrow map", "wide weights", "fast", "narrow weights"],
)
def test_channels_are_scaled_where_a_map_is_narrow(choice, expected):
    network = load_float(NETWORKS["inception"])
    images = next(iter(uneven(network).values()))
    named = {network.layers[-1].name if name == "LAST" else name: said for name, said in choice.get("bits", {}).items()}
    graph = quant.quantize(network, images, quant.Settings(**{"effort": "default", **choice, "bits": named}))
    assert any("_equalized" in name for name in graph.tensors) == expected


@pytest.mark.parametrize(
    ("bits", "effort", "expected"),
    [(8, "default", True), (8, "best", True), (8, "fast", False), (9, "best", False), (16, "default", False)],
)
def test_weights_of_eight_bits_are_learned_and_no_wider_ones(bits, effort, expected):
    network = load_float(NETWORKS["inception"])
    first = next(layer.name for layer in network.layers if hasattr(layer, "weights"))
    assert learns(network, quant.Settings(weight_bits=bits, effort=effort)) == expected
    one = quant.Settings(weight_bits=16, bits={first: str(bits)}, effort=effort)
    assert learns(network, one) == expected, "one such layer is enough"
