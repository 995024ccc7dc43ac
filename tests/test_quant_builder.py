"""The layer builder: its size rule, its refusals, and the ONNX models that it makes."""

import re

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from systolith import golden, quant
from systolith.quant.networks.size_rule import fits
from tests import oracle

SMALL = quant.Network((3, 12, 12)).conv(8, 3, padding=1).relu().max_pool(2).conv(4, 3).relu().fully_connected(5)


@pytest.mark.parametrize(
    ("shape", "window", "message"),
    [
        (
            (3, 10, 10),
            (3, 2, 0),
            "conv1: 10 columns with a 3x3 kernel, stride 2 and padding 0 give (10 - 3 + 0)/2 + 1 = 4.5;"
            " stride 1 or 7, or an input of 9x9 or 11x11 would fit",
        ),
        (
            (1, 7, 7),
            (3, 3, 0),
            "conv1: 7 columns with a 3x3 kernel, stride 3 and padding 0 give (7 - 3 + 0)/3 + 1 = 2.333;"
            " stride 2 or 4, padding 1, or an input of 6x6 or 9x9 would fit",
        ),
        (
            (1, 10, 13),
            (3, 2, 0),
            "conv1: 10 rows with a 3x3 kernel, stride 2 and padding 0 give (10 - 3 + 0)/2 + 1 = 4.5;"
            " stride 1, or an input of 9x13 or 11x13 would fit",
        ),
        (
            (1, 2, 2),
            (5, 1, 0),
            "conv1: 2 columns with a 5x5 kernel, stride 1 and padding 0 give (2 - 5 + 0)/1 + 1 = -2;"
            " padding 2, or an input of 5x5 would fit",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(shape, window, message):
    kernel, stride, padding = window
    with pytest.raises(quant.ModelError) as refused:
        quant.Network(shape).conv(1, kernel, stride, padding)
    assert str(refused.value) == message


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kernel=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    stride=st.integers(1, 6),
    padding=st.integers(0, 4),
)
def test_windows_end_with_the_input_or_every_advice_fits(size, kernel, stride, padding):
    try:
        shape = quant.Network((1, *size)).conv(1, kernel, stride, padding).output_shape[1:]
    except quant.ModelError as error:
        advice = str(error).partition("; ")[2]
        strides, paddings = (
            [int(value) for found in re.findall(rf"{what} ([\d or]+)", advice) for value in re.findall(r"\d+", found)]
            for what in ("stride", "padding")
        )
        inputs = [(int(rows), int(columns)) for rows, columns in re.findall(r"(\d+)x(\d+)", advice)]
        assert inputs, "an input that fits always exists"
        assert all(fits(size, kernel, other, padding) for other in strides)
        assert all(fits(size, kernel, stride, other) for other in paddings)
        assert all(fits(other, kernel, stride, padding) for other in inputs)
    else:
        last = [(count - 1) * stride + f for count, f in zip(shape, kernel, strict=True)]
        assert last == [w + 2 * padding for w in size]
        assert min(shape) >= 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: quant.Network((3, 0, 8)), "input shape (3, 0, 8): it must be (channels, rows, columns), each"),
        (lambda: quant.Network((3, 8, 8)).conv(0, 3), "conv1: it must have at least 1 output, not 0"),
        (lambda: quant.Network((3, 8, 8)).conv(4, 0), "conv1: kernel must be at least 1, not 0"),
        (lambda: quant.Network((3, 8, 8)).conv(4, 3, stride=0), "conv1: stride must be at least 1, not 0"),
        (lambda: quant.Network((3, 8, 8)).max_pool(2, padding=-1), "pool1: padding must be at least 0, not -1"),
        (lambda: quant.Network((3, 8, 8)).max_pool(2, padding=2), "pool1: a pooling's padding must be smaller than"),
        (lambda: quant.Network((3, 8, 8)).fully_connected(2).conv(4, 1), "conv1: reads a fully connected layer's"),
        (lambda: quant.Network((3, 8, 8)).relu("a").relu("a"), "a: a layer before it has this name already"),
        (lambda: quant.Network.pattern((3, 8, 8), [[4]], classes=2, pools=[]), "pools has 0 values; it needs one for"),
        (lambda: quant.Network((3, 8, 8)).to_onnx(), "the network has no layers"),
        (lambda: SMALL.to_onnx(parameters={"relu1": (0, 0)}), "parameters are given for 'relu1'; the layers with"),
        (lambda: SMALL.on((3, 11, 11)), "pool1: 11 columns with a 2x2 kernel"),
        (
            lambda: SMALL.to_onnx(parameters={"conv1": (np.zeros((8, 3, 3)), np.zeros(8))}),
            "conv1: weights of shape (8, 3, 3) given; (8, 3, 3, 3) fits",
        ),
        (
            lambda: SMALL.to_onnx(parameters={"fc1": (np.zeros((5, 64)), np.zeros(4))}),
            "fc1: bias of shape (4,) given; (5,) fits",
        ),
    ],
)
def test_other_mistakes_are_one_clear_line(build, message):
    with pytest.raises(quant.ModelError) as refused:
        build()
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_network_is_never_changed_by_what_is_added_to_it():
    start = quant.Network((1, 8, 8)).conv(2, 3)
    longer = start.relu()
    assert len(start.layers) == 1
    assert [layer.name for layer in longer.layers] == ["conv1", "relu1"]


def test_the_model_has_the_sizes_that_the_network_says():
    network = (
        quant.Network((2, 13, 11)).conv(3, (3, 5), 2, 1).relu().max_pool(3, 2, 1).average_pool().fully_connected(7)
    )
    model = network.to_onnx(seed=3)
    onnx.checker.check_model(model, full_check=True)
    images = np.zeros((2, 2, 13, 11), np.float32)
    tensors = oracle.run_tensors(model, images, [f"{layer.name}_out" for layer in network.layers])
    for layer, values in zip(network.layers, tensors, strict=True):
        assert values.reshape(2, -1).shape[1] == layer.neurons, layer
        assert values.ndim == 2 or values.shape[1:] == layer.shape, layer
    counted = sum(np.prod(constant.dims) for constant in model.graph.initializer)
    assert counted == network.parameters


def test_parameters_are_drawn_from_the_seed_or_given():
    def weights(model):
        return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}

    first, again, other = (weights(SMALL.to_onnx(seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not any(np.array_equal(first[name], other[name]) for name in first)
    given = np.arange(8 * 3 * 3 * 3, dtype=np.float32).reshape(8, 3, 3, 3), np.arange(8, dtype=np.float32)
    mixed = weights(SMALL.to_onnx(seed=1, parameters={"conv1": given}))
    assert np.array_equal(mixed["conv1_weights"], given[0])
    assert np.array_equal(mixed["conv1_bias"], given[1])


def test_the_receptive_field_grows_by_the_strides_before():
    network = quant.Network((1, 31, 31))
    fields = []
    for _ in range(3):
        network = network.conv(1, 3, stride=2)
        fields.append(network.receptive_field)
    assert fields == [(3, 3), (7, 7), (15, 15)]
    assert network.fully_connected(1).receptive_field == (31, 31)


def test_drawn_weights_keep_the_variance():
    network = quant.Network((64, 8, 8)).conv(256, 3)
    weights = onnx.numpy_helper.to_array(network.to_onnx(seed=0).graph.initializer[0])
    assert weights.std() == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.02)


def test_a_built_network_quantizes_and_runs_as_onnx_runtime_runs_it():
    images = np.random.default_rng(0).random((6, 3, 12, 12), np.float32)
    graph = quant.quantize(SMALL.to_onnx(seed=0), images)
    assert graph.macs == SMALL.macs
    y, _ = golden.output(graph, images)
    assert np.array_equal(y, oracle.run(quant.to_onnx(graph), images))


def test_an_average_pooling_quantizes_and_runs_as_onnx_runtime_runs_it():
    images = np.random.default_rng(0).random((6, 3, 12, 12), np.float32)
    network = quant.Network((3, 12, 12)).conv(8, 3).relu().average_pool().fully_connected(5)
    graph = quant.quantize(network.to_onnx(seed=0), images)
    assert [layer.operator for layer in graph.layers][1].endswith("AveragePool")
    y, _ = golden.output(graph, images)
    assert np.array_equal(y, oracle.run(quant.to_onnx(graph), images))


def test_the_table_names_every_layer_and_adds_up():
    lines = SMALL.lines()
    for layer, line in zip(SMALL.layers, lines[2:], strict=False):
        assert line.split()[:4] == [
            layer.name,
            f"{layer.shape[1]}x{layer.shape[2]}x{layer.shape[0]}",
            f"{layer.neurons:,}",
            f"{layer.parameters:,}",
        ]
    parameters = 8 * 27 + 8 + 4 * 8 * 9 + 4 + 5 * 4 * 16 + 5
    assert lines[-3] == f"{parameters:,} parameters, {SMALL.macs:,} MACs an image"
    activations = 3 * 144 + 8 * 144 + 8 * 36 + 4 * 16 + 5
    assert lines[-2] == f"memory as quantized: activations {activations:,} B, parameters {parameters + 3 * 17:,} B"
    assert lines[-1] == f"memory as float32: activations {4 * activations:,} B, parameters {4 * parameters:,} B"
