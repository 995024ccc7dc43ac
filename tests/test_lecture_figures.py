"""The worked examples of CS231n's notes on convolutional networks, each with the figure that they give."""

from math import prod

import numpy as np
import pytest

from systolith import golden, quant
from systolith.quant.graph import requantization_scales
from tests import oracle

VGG16 = quant.Network.pattern(
    (3, 224, 224), [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3], hidden=[4096, 4096], classes=1000
)
VGG16_TABLE = [  # layer, volume, memory, weights
    ("conv1", (224, 224, 64), 3_211_264, 1_728),
    ("conv2", (224, 224, 64), 3_211_264, 36_864),
    ("pool1", (112, 112, 64), 802_816, 0),
    ("conv3", (112, 112, 128), 1_605_632, 73_728),
    ("conv4", (112, 112, 128), 1_605_632, 147_456),
    ("pool2", (56, 56, 128), 401_408, 0),
    ("conv5", (56, 56, 256), 802_816, 294_912),
    ("conv6", (56, 56, 256), 802_816, 589_824),
    ("conv7", (56, 56, 256), 802_816, 589_824),
    ("pool3", (28, 28, 256), 200_704, 0),
    ("conv8", (28, 28, 512), 401_408, 1_179_648),
    ("conv9", (28, 28, 512), 401_408, 2_359_296),
    ("conv10", (28, 28, 512), 401_408, 2_359_296),
    ("pool4", (14, 14, 512), 100_352, 0),
    ("conv11", (14, 14, 512), 100_352, 2_359_296),
    ("conv12", (14, 14, 512), 100_352, 2_359_296),
    ("conv13", (14, 14, 512), 100_352, 2_359_296),
    ("pool5", (7, 7, 512), 25_088, 0),
    ("fc1", (1, 1, 4096), 4_096, 102_760_448),
    ("fc2", (1, 1, 4096), 4_096, 16_777_216),
    ("fc3", (1, 1, 1000), 1_000, 4_096_000),
]


@pytest.mark.parametrize(("stride", "size"), [(1, 5), (2, 3)])
def test_a_3x3_kernel_on_a_7x7_input(stride, size):
    assert quant.Network((1, 7, 7)).conv(1, 3, stride).output_shape == (1, size, size)


@pytest.mark.parametrize(("width", "stride", "found"), [(7, 3, "2.333"), (10, 2, "4.5")])
def test_a_stride_that_does_not_fit_is_refused(width, stride, found):
    with pytest.raises(quant.ModelError, match=rf"\({width} - 3 \+ 0\)/{stride} \+ 1 = {found}; stride"):
        quant.Network((1, width, width)).conv(1, 3, stride)


@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (5, 2), (7, 3)])
def test_padding_by_half_the_kernel_keeps_the_size(kernel, padding):
    assert quant.Network((3, 32, 32)).conv(10, kernel, padding=padding).output_shape == (10, 32, 32)


def test_zero_padding_of_one_keeps_five_inputs_five():
    assert quant.Network((1, 1, 5)).conv(1, (1, 3), padding=0).output_shape[2] == 3
    assert quant.Network((1, 5, 5)).conv(1, 3, padding=1).output_shape == (1, 5, 5)


def test_the_convolution_demo():
    layer = quant.Network((3, 5, 5)).conv(2, 3, stride=2, padding=1).layers[0]
    assert layer.shape == (2, 3, 3)
    assert layer.weights_shape == (2, 3, 3, 3)


def test_krizhevskys_first_layer():
    (layer,) = quant.Network((3, 227, 227)).conv(96, 11, stride=4).layers
    assert layer.shape == (96, 55, 55)
    assert layer.neurons == 290_400
    assert prod(layer.weights_shape[1:]) == 11 * 11 * 3 == 363
    assert layer.weights == 34_848
    assert layer.parameters == 34_944
    assert layer.unshared_parameters == 290_400 * 364 == 105_705_600
    assert layer.macs == 105_415_200


def test_krizhevskys_224_pixels_do_not_fit():
    with pytest.raises(quant.ModelError, match=r"\(224 - 11 \+ 0\)/4 \+ 1 = 54.25; .* 223x223 or 227x227 would fit"):
        quant.Network((3, 224, 224)).conv(96, 11, stride=4)


def test_one_neuron_of_a_convolution_on_cifar_has_75_weights_and_one_of_3x3x20_180():
    assert prod(quant.Network((3, 32, 32)).conv(1, 5).layers[0].weights_shape[1:]) == 75
    assert prod(quant.Network((20, 16, 16)).conv(1, 3).layers[0].weights_shape[1:]) == 180


@pytest.mark.parametrize(("side", "weights"), [(32, 3_072), (200, 120_000)])
def test_a_fully_connected_neuron_on_an_image(side, weights):
    (layer,) = quant.Network((3, side, side)).fully_connected(1).layers
    assert layer.weights == weights
    assert layer.parameters == weights + 1


def test_pooling_discards_three_quarters_of_the_activations():
    (layer,) = quant.Network((64, 224, 224)).max_pool(2, stride=2).layers
    assert layer.shape == (64, 112, 112)
    assert layer.parameters == 0
    assert 1 - layer.neurons / prod(layer.source) == 0.75


def test_three_layers_of_3x3_see_what_one_of_7x7_sees_with_fewer_parameters():
    channels = 64
    stacked = quant.Network((channels, 224, 224))
    for _ in range(3):
        stacked = stacked.conv(channels, 3, padding=1).relu()
    single = quant.Network((channels, 224, 224)).conv(channels, 7, padding=3)
    assert stacked.receptive_field == single.receptive_field == (7, 7)
    assert sum(layer.weights for layer in stacked.layers) == 27 * channels**2
    assert single.layers[0].weights == 49 * channels**2


def test_three_layers_of_64_filters_on_224x224_take_about_72_mb_with_gradients():
    network = quant.Network((3, 224, 224))
    for _ in range(3):
        network = network.conv(64, 3, padding=1).relu()
    activations = sum(layer.activation_bytes(4) for layer in network.layers)
    assert activations == 3 * 224 * 224 * 64 * 4
    # "about 10 million activations, or 72MB of memory (per image, for both activations and gradients)"
    assert activations // 4 == 9_633_792
    assert round(2 * activations / 2**20, 1) == 73.5


def test_vgg16_layer_by_layer():
    volumes = [layer for layer in VGG16.layers if layer.kind != "relu"]
    found = [(v.name, (*v.shape[1:], v.shape[0]), v.activation_bytes(), v.weights) for v in volumes]
    assert found == VGG16_TABLE


def test_vgg16_has_138_million_parameters():
    assert sum(row[3] for row in VGG16_TABLE) == 138_344_128
    assert VGG16.parameters == 138_344_128 + 13_416
    assert round(VGG16.parameters / 1e6) == 138
    assert max(VGG16.layers, key=lambda layer: layer.parameters).name == "fc1"


def test_vgg16s_activations_add_up_to_15_million():
    """The notes' table ends in "24M * 4 bytes ~= 93MB / image"; its own rows, the input's 150K included, give 15.2M."""
    total = 224 * 224 * 3 + sum(row[2] for row in VGG16_TABLE)
    assert total == 15_237_608
    assert VGG16.activation_bytes(4) == 4 * total == 60_950_432


def test_the_pattern_is_the_networks_spelling():
    pattern = quant.Network.pattern((3, 8, 8), [[4, 4], [6]], hidden=[7], classes=2, pools=[True, False])
    kinds = "conv relu conv relu max_pool conv relu fully_connected relu fully_connected"
    assert [layer.kind for layer in pattern.layers] == kinds.split()


def test_fully_connected_layers_become_convolutions():
    """A 384x384 image through VGG's 224x224 network gives 6x6 evaluations in one pass."""
    converted = VGG16.as_convolutions()
    kernels = [layer.weights_shape for layer in converted.layers if layer.name.startswith("fc")]
    assert kernels == [(4096, 512, 7, 7), (4096, 4096, 1, 1), (1000, 4096, 1, 1)]
    assert converted.parameters == VGG16.parameters
    assert converted.output_shape == (1000, 1, 1)
    larger = converted.on((3, 384, 384))
    assert next(layer.shape for layer in larger.layers if layer.name == "pool5") == (512, 12, 12)
    assert larger.output_shape == (1000, 6, 6)
    assert prod(larger.output_shape[1:]) == 36


def test_the_converted_network_computes_the_original_at_every_crop():
    """Without padding a crop sees what the whole image shows it, so the outputs are the same numbers."""
    original = quant.Network((2, 10, 10)).conv(4, 3).relu().max_pool(2).fully_connected(6).relu().fully_connected(3)
    larger = original.as_convolutions().on((2, 16, 14))
    assert larger.output_shape == (3, 4, 3)
    image = np.random.default_rng(0).random((1, 2, 16, 14), np.float32)
    whole = oracle.run(larger.to_onnx(seed=5), image)
    small = original.to_onnx(seed=5)
    for row in range(4):
        for column in range(3):
            crop = image[:, :, 2 * row : 2 * row + 10, 2 * column : 2 * column + 10]
            np.testing.assert_allclose(whole[:, :, row, column], oracle.run(small, crop), rtol=1e-4, atol=1e-5)


def small_volume():
    """The 11x11x4 input of "Numpy examples", F = 5, S = 2, P = 0, two filters: quantized, with golden's output."""
    network = quant.Network((4, 11, 11)).conv(2, 5, stride=2)
    assert network.output_shape == (2, 4, 4)
    image = np.random.default_rng(11).uniform(-1, 1, (1, 4, 11, 11)).astype(np.float32)
    graph = quant.quantize(network.to_onnx(seed=11), image)
    x = golden.quantize_input(graph, image)
    return graph, x, golden.run(graph, x)[graph.output][0]


def test_the_output_volume_entry_by_entry():
    """``V[0,0,0] = np.sum(X[:5,:5,:] * W0) + b0`` and the fifteen others of either depth slice, in integers.

    X and V are indexed (x, y, depth), as the notes do; golden's arrays are (depth, rows, columns).
    """
    graph, x, volume = small_volume()
    (layer,) = graph.layers
    zero = graph.map_of(graph.input).zero_point
    X = x[0].transpose(2, 1, 0).astype(np.int64) - zero
    W0, W1 = (filter_.transpose(2, 1, 0).astype(np.int64) for filter_ in layer.weights)
    b0, b1 = layer.bias
    V = np.zeros((4, 4, 2), np.int64)
    V[0, 0, 0] = np.sum(X[:5, :5, :] * W0) + b0
    V[1, 0, 0] = np.sum(X[2:7, :5, :] * W0) + b0
    V[2, 0, 0] = np.sum(X[4:9, :5, :] * W0) + b0
    V[3, 0, 0] = np.sum(X[6:11, :5, :] * W0) + b0
    V[0, 0, 1] = np.sum(X[:5, :5, :] * W1) + b1
    V[1, 0, 1] = np.sum(X[2:7, :5, :] * W1) + b1
    V[2, 0, 1] = np.sum(X[4:9, :5, :] * W1) + b1
    V[3, 0, 1] = np.sum(X[6:11, :5, :] * W1) + b1
    V[0, 1, 1] = np.sum(X[:5, 2:7, :] * W1) + b1
    V[2, 3, 1] = np.sum(X[4:9, 6:11, :] * W1) + b1
    stated = V != 0
    assert stated.sum() == 10
    for at_x in range(4):
        for at_y in range(4):
            window = X[2 * at_x : 2 * at_x + 5, 2 * at_y : 2 * at_y + 5, :]
            for depth, (W, b) in enumerate(((W0, b0), (W1, b1))):
                entry = np.sum(window * W) + b
                assert not stated[at_x, at_y, depth] or V[at_x, at_y, depth] == entry
                V[at_x, at_y, depth] = entry
    sums = golden.convolve(layer, graph.map_of(graph.input), x)[0]
    assert np.array_equal(V, sums.transpose(2, 1, 0))
    target = graph.map_of(graph.output)
    scales = requantization_scales(layer, graph)
    steps = np.rint(V.astype(np.float32) * scales).astype(np.int64) + target.zero_point
    assert np.array_equal(np.clip(steps, target.low, target.high), volume.transpose(2, 1, 0))
    assert len(np.unique(volume)) > 20
