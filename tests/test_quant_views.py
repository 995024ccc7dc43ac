"""Reshape, Transpose and their like are views of maps: no layer where none is needed, and the same numbers anywhere."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest

import systolith
from systolith import golden, quant
from systolith.quant.networks.execute import compute, run_float
from systolith.quant.onnx.arranging import arrange
from systolith.quant.onnx.view import MAP_AXES, View, plain

from . import models, oracle
from .qdq import WEIGHTS, Qdq


def drawn(random: np.random.Generator, values: np.ndarray, view: View) -> tuple[np.ndarray, View]:
    """One Transpose or Reshape more of both, if the view can be reshaped so."""
    sizes = list(values.shape[1:])
    if random.integers(2):
        order = [0, *(int(axis) + 1 for axis in random.permutation(len(sizes)))]
        return values.transpose(order), view.transposed(order)
    left, wanted = prod(sizes), [1]
    for _ in range(random.integers(3)):
        wanted.append(int(random.choice([size for size in range(1, left + 1) if left % size == 0])))
        left //= wanted[-1]
    found = view.reshaped([*wanted, left])
    return (values, view) if found is None else (values.reshape([*wanted, left]), found)


@pytest.mark.parametrize("seed", range(200))
def test_a_view_says_where_the_values_are_and_can_be_made_a_map(seed):
    random = np.random.default_rng(seed)
    shape = tuple(int(size) for size in random.choice([1, 2, 3, 4, 6, 8], 3))
    image = random.standard_normal((1, *shape)).astype(np.float32)
    values, view = image, plain("map", image.shape)
    for _ in range(random.integers(1, 5)):
        values, view = drawn(random, values, view)
        assert view.dimensions == values.shape
        np.testing.assert_array_equal(view.to_map(values, 4), image)
    if len(view.axes) not in MAP_AXES:
        return
    try:
        layers, name = arrange(view, "node", "Conv")
    except ValueError:
        return
    found = {"map": image}
    for layer in layers:
        found[layer.output] = compute(layer, [found[source] for source in layer.inputs])
    rows = [1] * (4 - values.ndim)
    np.testing.assert_array_equal(found[name], values.reshape(*values.shape[:2], *rows, *values.shape[2:]))


def test_a_reshape_across_axes_is_no_view():
    assert plain("map", (1, 4, 6, 1)).reshaped((1, 6, 4)) is None
    assert plain("map", (1, 4, 6, 1)).reshaped((1, 8, 3)).dimensions == (1, 8, 3)


def kinds(model: onnx.ModelProto) -> list[str]:
    """The kinds of layer in execution order, after the float network was held against ONNX Runtime.

    A last Transpose or Reshape is not computed by it, so the model's values are compared in any order.
    """
    network = quant.load_float(model)
    sizes = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim][1:]
    given = np.random.default_rng(0).standard_normal((3, *sizes)).astype(np.float32)
    (shape,) = network.inputs.values()
    turned = len(sizes) == 3 and sizes[-1] == shape[0] != sizes[0]
    images = np.moveaxis(given, -1, 1) if turned else given
    *_, (_, found) = run_float(network, images.reshape(3, *shape))
    expected = oracle.session(model).run(None, {model.graph.input[0].name: given})[0]
    found, expected = (np.sort(values.reshape(3, -1), axis=1) for values in (found, expected))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    return [type(layer).__name__ for layer in network.layers]


def channels_last(size: int = 8, channels: int = 3) -> models.Builder:
    """A network of Keras, as tf2onnx writes it: the image is N x H x W x C."""
    net = models.Builder((size, size, channels))
    return net.node("Transpose", perm=[0, 3, 1, 2])


def test_an_image_with_its_channels_last():
    net = channels_last().conv(3, 4, 3).relu().pool().node("Transpose", perm=[0, 2, 3, 1])
    net.node("Reshape", np.array([-1, 36])).node("MatMul", net.he(36, 5)).node("Add", net.bias(5))
    assert kinds(net.model()) == ["Convolution", "Pooling", "Convolution"]


def test_what_works_on_values_and_channels_where_the_channels_are_last():
    """Constants, batch norm's scales, means and joins, all in N x H x W x C."""
    net = channels_last().conv(3, 4, 3).node("Transpose", perm=[0, 2, 3, 1])
    net.node("Mul", np.float32([1, 2, 3, 4])).node("Add", np.float32([[[4, 3, 2, 1]]])).node("Sigmoid")
    net.join("Concat", net.current, net.current, axis=-1)
    net.node("ReduceMean", np.array([1, 2]), keepdims=0).gemm(8, 3)
    assert kinds(net.model()) == ["Convolution", "Function", "Concatenation", "Average", "Convolution"]


def test_a_residual_with_its_channels_last():
    net = channels_last(6).conv(3, 4, 3).node("Transpose", perm=[0, 2, 3, 1])
    first = net.current
    net.node("Transpose", perm=[0, 3, 1, 2]).conv(4, 4, 1)
    net.node("Transpose", perm=[0, 2, 3, 1]).join("Add", first, net.current).relu()
    assert kinds(net.model()) == ["Convolution", "Convolution", "Addition"]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1, 3]])
def test_a_fully_connected_layer_on_any_order(order):
    net = models.Builder((3, 4, 5)).conv(3, 6, 2).node("Transpose", perm=order).flatten().gemm(72, 4)
    assert kinds(net.model()) == ["Convolution", "Convolution"]


def test_a_matrix_on_the_last_axis_is_a_convolution():
    """N x L x C times C x K; and over channels and rows, the head of a text recognizer."""
    net = models.Builder((3, 8)).node("Conv", np.ones((4, 3, 3), np.float32)).node("Transpose", perm=[0, 2, 1])
    net.node("MatMul", net.he(4, 5)).node("Add", net.bias(5)).relu().node("MatMul", net.he(5, 2))
    assert kinds(net.model()) == ["Convolution", "Convolution", "Convolution"]
    net = models.Builder((3, 4, 6)).conv(3, 5, 1).node("Transpose", perm=[0, 3, 1, 2])
    net.node("Reshape", np.array([0, 6, 20])).node("MatMul", net.he(20, 7))
    assert kinds(net.model()) == ["Convolution", "Convolution"]
    (layer,) = quant.load_float(net.model()).layers[1:]
    assert layer.weights.shape == (7, 5, 4, 1)


def test_a_matrix_on_an_axis_that_is_not_the_channels():
    net = models.Builder((3, 2, 4)).conv(3, 5, 1).node("MatMul", net_weights(4, 3))
    assert kinds(net.model())[-1] == "Convolution"


def net_weights(rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("keep", [0, 1])
def test_a_mean_over_rows_and_columns_in_one_axis(keep):
    net = models.Builder((3, 4, 5)).conv(3, 6, 2).node("Reshape", np.array([0, 6, -1]))
    net.node("ReduceMean", np.array([-1]), keepdims=keep)
    assert kinds((net.flatten() if keep else net).gemm(6, 4).model()) == ["Convolution", "Average", "Convolution"]


def test_a_spectrogram_as_a_signal_of_its_rows():
    net = models.Builder((1, 5, 9)).node("Squeeze", np.array([1]))
    net.node("Conv", net.he(4, 5, 3)).relu().node("Unsqueeze", np.array([2])).conv(4, 3, 1)
    assert kinds(net.model()) == ["Convolution", "Convolution"]


def shuffled(net: models.Builder, groups: int, channels: int, size: int) -> models.Builder:
    each = channels // groups
    net.node("Reshape", np.array([0, groups, each, size, size])).node("Transpose", perm=[0, 2, 1, 3, 4])
    return net.node("Reshape", np.array([0, channels, size, size]))


def test_a_channel_shuffle_goes_into_the_weights_around():
    before = shuffled(models.Builder((3, 4, 4)).conv(3, 6, 1).relu(), 2, 6, 4).conv(6, 6, 3, group=6)
    assert kinds(before.model()) == ["Convolution", "Convolution"]
    after = shuffled(models.Builder((6, 4, 4)).conv(6, 6, 1, group=2), 3, 6, 4).conv(6, 4, 3)
    assert kinds(after.model()) == ["Convolution", "Convolution"]
    between = shuffled(models.Builder((6, 4, 4)).conv(6, 6, 1, group=2), 3, 6, 4).conv(6, 6, 3, group=3)
    assert kinds(between.model()) == ["Convolution", "Slicing", "Convolution"]


@pytest.mark.parametrize("order", [[0, 1, 4, 2, 5, 3], [0, 3, 4, 1, 5, 2]])
def test_a_pixel_shuffle_spelled_out(order):
    """CRD as PyTorch does, DCR as TensorFlow."""
    net = models.Builder((2, 3, 4)).conv(2, 12, 1)
    net.node("Reshape", np.array([0, 3, 2, 2, 3, 4] if order[1] == 1 else [0, 2, 2, 3, 3, 4]))
    net.node("Transpose", perm=order).node("Reshape", np.array([0, 3, 6, 8])).conv(3, 2, 3)
    assert kinds(net.model()) == ["Convolution", "PixelShuffle", "Convolution"]


def test_batch_normalization_of_a_flattened_map():
    """Into the fully connected layer behind; with an activation between, pixels are channels for it."""
    net = models.Builder((2, 3, 4)).conv(2, 4, 1).relu().flatten().norm(48).gemm(48, 5).norm(5).relu()
    assert kinds(net.model()) == ["Convolution", "Convolution"]
    net = models.Builder((2, 3, 4)).conv(2, 4, 1).relu().flatten().norm(48).relu().gemm(48, 5)
    found = kinds(net.model())
    assert [kind for kind in found if kind != "Slicing"] == [
        "Convolution",
        "Concatenation",
        "Convolution",
        "PixelShuffle",
        "Convolution",
    ]


def test_batch_normalization_of_a_large_flattened_map():
    """Maps of its factors and offsets, where a channel for each pixel would be too many."""
    net = models.Builder((2, 9, 9)).flatten().norm(162).relu().gemm(162, 5)
    constant = ["Slicing", "Convolution", "PixelShuffle"]
    assert kinds(net.model()) == [*constant, "Product", *constant, "Addition", "Convolution"]


def test_rows_and_columns_in_each_others_place():
    net = models.Builder((2, 3, 4)).conv(2, 3, 1).node("Transpose", perm=[0, 1, 3, 2]).conv(3, 2, (3, 1))
    found = kinds(net.model())
    assert (found[0], found[-2:]) == ("Convolution", ["PixelShuffle", "Convolution"])


def cut_twice(net: models.Builder) -> models.Builder:
    """Maps of 4 x 6 and of 6 x 4 values, both flattened."""
    net = models.Builder((4, 6, 6))
    first = net.conv(4, 4, (1, 6)).flatten().current
    return net.join("Add", first, net.at("image").conv(4, 6, (3, 6)).flatten().current)


REFUSED = {
    "a batch": (
        lambda net: net.node("Transpose", perm=[1, 0, 2, 3]).conv(4, 3, 1),
        "node 'conv1' (Conv): reads [24, 4, 8, 8], which is a map of [4, 24, 8, 8] in another order, and that mixes the"
        " images of a batch",
    ),
    "too many slices": (
        lambda net: models.Builder((1, 65, 2)).conv(1, 1, 1).node("Transpose", perm=[0, 2, 1, 3]).conv(65, 3, 1),
        "node 'conv2' (Conv): reads [1, 65, 1, 2], which is a map of [1, 1, 65, 2] in another order, and that takes 65"
        " slices; at most 64 work",
    ),
    "six axes": (
        lambda net: net.node("Reshape", np.array([4, 6, 2, 2, 8, 8])).conv(6, 3, 1),
        "node 'conv1' (Conv): its input has 6 dimensions; it must have 2 to 5",
    ),
    "cut twice": (
        cut_twice,
        "node 'add1' (Add): reads tensors of [1, 24] and [1, 24] whose axes are cut differently; reshape them alike",
    ),
    "across axes": (
        lambda net: net.node("Reshape", np.array([4, 5, -1])),
        "node 'reshape1' (Reshape): shape is [4, 5, -1] for an input of [4, 24, 8, 8]; it does not fit",
    ),
    "nothing known": (
        lambda net: net.node("Reshape", np.array([4, 64, 24])),
        "node 'reshape1' (Reshape): makes [4, 64, 24] of [4, 24, 8, 8], which cuts across axes; sizes that split or"
        " join whole axes work",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    change, message = REFUSED[case]
    net = models.Builder((24, 8, 8))
    net.inputs[0].type.tensor_type.shape.dim[0].dim_value = 4
    net = change(net)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == message


def channels_last_classifier() -> onnx.ModelProto:
    net = channels_last().conv(3, 4, 3).relu().pool().node("Transpose", perm=[0, 2, 3, 1])
    return net.node("Reshape", np.array([-1, 36])).node("MatMul", net.he(36, 5)).node("Add", net.bias(5)).relu().model()


def spectrogram() -> onnx.ModelProto:
    net = models.Builder((1, 5, 9)).node("Squeeze", np.array([1]))
    return net.node("Conv", net.he(4, 5, 3)).relu().model()


def signal_last() -> onnx.ModelProto:
    """N x L x C, as Keras has signals."""
    net = models.Builder((9, 3)).node("Transpose", perm=[0, 2, 1])
    return net.node("Conv", net.he(4, 3, 3)).relu().model()


@pytest.mark.parametrize("make", [channels_last_classifier, spectrogram, signal_last])
def test_an_input_in_the_models_order_from_data_to_the_quantized_file(make):
    """The file takes what the model took, ONNX Runtime computes the same integers, and the map has its own order."""
    model = make()
    sizes = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.random.default_rng(2).standard_normal((4, *sizes)).astype(np.float32)
    quantized = systolith.quantize_model(model, images)
    written = quantized.model
    assert [size.dim_value for size in written.graph.input[0].type.tensor_type.shape.dim][1:] == sizes
    graph = quant.load(written)
    assert not any(isinstance(layer, quant.Selection | quant.Concat) for layer in graph.layers)
    found = systolith.run_golden(written, images)
    expected = oracle.run(written, images)
    np.testing.assert_array_equal(found.y.reshape(expected.shape), expected)
    with pytest.raises(quant.DataError, match="the model takes Nx"):
        systolith.run_golden(written, np.zeros((2, 7, 7, 7), np.float32))


def test_views_between_q_and_dq():
    """A quantized model whose tensors are channels last, but for its convolutions, as TensorFlow's tools write them."""
    chain = Qdq().qdq().node("Transpose", perm=[0, 2, 3, 1]).qdq().node("Relu").qdq()
    chain.node("Transpose", perm=[0, 3, 1, 2]).layer("Conv", chain.weights(WEIGHTS, 0.01)).qdq()
    model = chain.model()
    graph = quant.load(model)
    images = models.images(model, 4)
    np.testing.assert_array_equal(golden.output(graph, images)[0], oracle.run(model, images))
