"""What only moves integers, in programs: crops, slices, selections, joined maps, channels as rows and columns."""

import numpy as np
import pytest
from onnx import helper

from systolith.hw.build import parameters_for
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.planner import plan
from systolith.quant import quantize

from . import models
from .hw_networks import BRANCHED, branched, check_against_golden, planned


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_random_moves_compute_what_golden_does(hardware):
    for _, made in branched(hardware, range(900, 925), moves=True, normalization=0):
        check_against_golden(made)


def unet() -> models.Builder:
    """Down, up by a transposed convolution, beside what was there before; up again, nearest."""
    net = models.Builder((3, 8, 8)).conv(3, 8, 3, pads=[1, 1, 1, 1]).relu()
    before = net.current
    net.node("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).conv(8, 12, 3, pads=[1, 1, 1, 1]).relu()
    net.node("ConvTranspose", net.he(12, 8, 2, 2), net.bias(8), strides=[2, 2])
    net.join("Concat", net.current, before, axis=1).conv(16, 4, 1)
    return net.node("Resize", np.zeros(0, np.float32), np.float32([1, 1, 2, 2]), mode="nearest")


def linear() -> models.Builder:
    net = models.Builder((3, 5, 4)).conv(3, 5, 1)
    return net.node("Resize", np.zeros(0, np.float32), np.float32([1, 1, 2, 3]), mode="linear").conv(5, 2, 3)


def shuffled() -> models.Builder:
    """Groups, an order of channels that nothing takes up, groups again."""
    net = models.Builder((24, 5, 5)).conv(24, 24, 1, group=3)
    return net.node("Gather", np.arange(24).reshape(3, 8).T.reshape(-1), axis=1).conv(24, 12, 3, group=3)


def split() -> models.Builder:
    """Halves of a map, one read by a convolution and a table, joined again."""
    net = models.Builder((3, 6, 6)).conv(3, 20, 3)
    halves = [net.current, net.constant(np.array([8, 12]))]
    net.nodes.append(helper.make_node("Split", halves, ["a", "b"], "split", axis=1))
    first = net.at("a").conv(8, 8, 3, pads=[1, 1, 1, 1]).current
    second = net.at("b").node("MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]).current
    return net.join("Concat", first, second, "b", axis=1).conv(32, 3, 1)


def dilated() -> models.Builder:
    net = models.Builder((4, 9, 8)).conv(4, 6, 3).node("MaxPool", kernel_shape=[3, 3], dilations=[2, 2])
    return net.node("Pad", np.array([0, 0, 1, 2, 0, 0, 1, 1]), mode="reflect").conv(6, 3, 3)


def beside_pixels() -> models.Builder:
    """Channels that become pixels, two side by side in a row, and then have another map's channels between them."""
    net = models.Builder((3, 6, 6)).conv(3, 64, 3).node("DepthToSpace", blocksize=2)
    pixels = net.current
    other = net.at("image").conv(3, 5, 1, pads=[1] * 4).current
    return net.join("Concat", pixels, other, axis=1).conv(21, 3, 1)


def gated() -> models.Builder:
    """Halves of a map as operands of one another: their maximum, their product, and minima with what is made later."""
    net = models.Builder((3, 6, 6)).conv(3, 16, 3)
    halves = [net.current, net.constant(np.array([8, 8]))]
    net.nodes.append(helper.make_node("Split", halves, ["a", "b"], "split", axis=1))
    highest = net.join("Max", "a", "b").current
    product = net.join("Mul", "b", "a").current
    later = net.at("a").conv(8, 8, 1).current
    lowest = net.join("Min", "b", later).current
    return net.join("Concat", highest, product, lowest, axis=1).conv(24, 3, 1)


NETWORKS = {
    "gated": gated, "U-Net": unet, "linear": linear, "shuffled": shuffled, "split": split, "dilated": dilated,
    "pixels": beside_pixels,
}  # fmt: skip
SIZES = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1},
    "16x16, all fits": {"rows": 16, "columns": 16, "bus_bytes": 16},
}


@pytest.fixture(scope="module", params=NETWORKS)
def graph(request):
    model = NETWORKS[request.param]().model()
    return quantize(model, models.images(model, 3))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("batch", [1, 2])
def test_networks_compute_what_golden_does(graph, sizes, batch):
    parameters = parameters_for(graph, **sizes)
    check_against_golden(plan(graph, parameters, batch))


def engine_layers(make) -> list[tuple[bool, str]]:
    model = make().model()
    return [(layer.on_array, layer.operator) for layer in lower(quantize(model, models.images(model, 3)), 8)]


def test_a_transposed_convolution_costs_no_pass():
    """Its four convolutions write their results between one another's, and beside the other half of the map."""
    layers = engine_layers(unet)
    assert [operator for on_array, operator in layers if not on_array] == ["MaxPool", "Concat", *["Selection"] * 4]
    assert sum(on_array for on_array, _ in layers) == 7


def test_a_part_of_a_map_is_read_where_it_is():
    assert "Selection" not in [operator for _, operator in engine_layers(split)]


def halves(operator: str, swapped: bool, convolved: bool) -> models.Builder:
    """Both halves of a map, one perhaps convolved before, side by side in ``operator``."""
    net = models.Builder((3, 6, 6)).conv(3, 20, 3)
    net.nodes.append(helper.make_node("Split", [net.current, net.constant(np.array([10, 10]))], ["a", "b"], axis=1))
    names = ["a", net.at("b").conv(10, 10, 1).current if convolved else "b"]
    return net.join(operator, *(reversed(names) if swapped else names)).conv(10, 3, 1)


@pytest.mark.parametrize("convolved", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("operator", ["Add", "Sub", "Max", "Min", "Mul"])
def test_parts_of_a_map_are_operands_of_layers_of_two(operator, swapped, convolved):
    """Gates and maxima over halves: an operand is read as a whole map, so a part of one is copied before."""
    model = halves(operator, swapped, convolved).model()
    graph = quantize(model, models.images(model, 3))
    for sizes in SIZES.values():
        check_against_golden(planned(graph, **sizes))


def test_scattered_channels_are_selected_by_the_array():
    assert engine_layers(shuffled) == [(True, "Conv"), (True, "Selection"), (True, "Conv")]


def test_a_convolution_with_enough_outputs_writes_its_rows_apart():
    for channels, expected in ((16, 2), (4, 3)):
        net = models.Builder((3, 5, 5)).conv(3, channels * 4, 3).node("DepthToSpace", blocksize=2).model()
        layers = lower(quantize(net, models.images(net, 3)), 8)
        assert len(layers) == expected
        assert [layer.on_array for layer in layers] == ([True] * 2 if channels == 16 else [True, False, False])
