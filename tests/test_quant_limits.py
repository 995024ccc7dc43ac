"""What a model's file may claim: nothing is allocated or waited for because a damaged or hostile file says so."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from systolith import quant
from systolith.quant.onnx import budget

from . import models
from .qdq import conv_chain

MANY = 2**26
LIMIT = "; constants and weights of a file of this size may have 33,554,432 together"


def build(change) -> onnx.ModelProto:
    net = models.Builder((2, 8, 8))
    result = change(net)
    return result if isinstance(result, onnx.ModelProto) else net.model()


def computed(net: models.Builder, operator: str, *constants, **attributes) -> str:
    """A node that computes a constant, which nobody reads, before a convolution that needs none."""
    names = [net.constant(values) for values in constants]
    net.nodes.append(helper.make_node(operator, names, ["made"], "maker", **attributes))
    net.conv(2, 3, 1)
    return "made"


def chained(net):
    """Each alone would do."""
    size = net.constant(np.array([MANY // 4]))
    for number in range(3):
        net.nodes.append(helper.make_node("ConstantOfShape", [size], [f"made{number}"], f"maker{number}"))
    net.conv(2, 3, 1)


def grown(net):
    """Doubled again and again, by nodes of a few bytes."""
    name = net.constant(np.ones(1024, np.float32))
    for number in range(30):
        net.nodes.append(helper.make_node("Concat", [name, name], [f"made{number}"], f"maker{number}", axis=0))
        name = f"made{number}"
    net.conv(2, 3, 1)


def shared_weights(net):
    """One stored tensor, which becomes the weights of many layers."""
    weights = net.constant(np.zeros((1000, 2, 8, 8), np.float32))
    for number in range(300):
        net.nodes.append(helper.make_node("Conv", ["image", weights], [f"out{number}"], f"conv{number}"))
    net.current = "out0"


CONSTANTS = {
    "ConstantOfShape": (
        lambda net: computed(net, "ConstantOfShape", np.array([MANY])),
        f"node 'maker' (ConstantOfShape): takes 67,108,864 values{LIMIT}",
    ),
    "ConstantOfShape in two": (
        lambda net: computed(net, "ConstantOfShape", np.array([2**40, 2**40])),
        f"node 'maker' (ConstantOfShape): takes 1,208,925,819,614,629,174,706,176 values{LIMIT}",
    ),
    "empty but long": (
        lambda net: computed(net, "ConstantOfShape", np.array([0, 2**40])),
        f"node 'maker' (ConstantOfShape): takes 1,099,511,627,776 values{LIMIT}",
    ),
    "Expand": (
        lambda net: computed(net, "Expand", np.float32(1), np.array([2**13, 2**13])),
        f"node 'maker' (Expand): takes 67,108,864 values{LIMIT}",
    ),
    "Range": (
        lambda net: computed(net, "Range", np.int64(0), np.int64(MANY), np.int64(1)),
        f"node 'maker' (Range): takes 67,108,864 values{LIMIT}",
    ),
    "Range without a step": (
        lambda net: computed(net, "Range", np.int64(0), np.int64(9), np.int64(0)),
        "node 'maker' (Range): cannot be computed from its constant inputs: division by zero",
    ),
    "Pow": (
        lambda net: computed(net, "Pow", np.ones((2**13, 1), np.float32), np.ones(2**13, np.float32)),
        f"node 'maker' (Pow): takes 67,108,864 values{LIMIT}",
    ),
    "Gather": (
        lambda net: computed(net, "Gather", np.ones((1, 2**13), np.float32), np.zeros(2**13, np.int64)),
        f"node 'maker' (Gather): takes 67,108,864 values{LIMIT}",
    ),
    "Tile": (
        lambda net: computed(net, "Tile", np.ones((1, 4), np.float32), np.array([MANY // 4, 1])),
        f"node 'maker' (Tile): takes 67,108,864 values{LIMIT}",
    ),
    "Pad": (
        lambda net: computed(net, "Pad", np.ones(4, np.float32), np.array([MANY - 4, 0])),
        f"node 'maker' (Pad): takes 67,108,864 values{LIMIT}",
    ),
    "MatMul": (
        lambda net: computed(net, "MatMul", np.ones((2**13, 1), np.float32), np.ones((1, 2**13), np.float32)),
        f"node 'maker' (MatMul): takes 67,108,864 values{LIMIT}",
    ),
    "time of a Gemm": (
        lambda net: computed(net, "Gemm", *[np.ones((2304, 2304), np.float32)] * 2, transB=1),
        "node 'maker' (Gemm): takes 191,102,976 values; constants and weights of a file of this size may have"
        " 169,869,456 together",
    ),
    "ScatterND": (
        lambda net: computed(
            net,
            "ScatterND",
            np.ones((1, 2**12), np.float32),
            np.zeros((2**14, 1), np.int64),
            np.ones((1, 1), np.float32),
        ),
        f"node 'maker' (ScatterND): takes 71,307,264 values{LIMIT}",
    ),
    "ScatterElements": (
        lambda net: computed(net, "ScatterElements", np.ones(1, np.float32), *[np.zeros(2**18, np.int64)] * 2),
        f"node 'maker' (ScatterElements): takes 67,108,865 values{LIMIT}",
    ),
    "Concat again and again": (
        grown,
        f"node 'maker14' (Concat): takes 33,554,432 values after 33,552,384 before{LIMIT}",
    ),
    "several": (chained, f"node 'maker2' (ConstantOfShape): takes 16,777,216 values after 33,554,432 before{LIMIT}"),
    "weights of many layers": (
        shared_weights,
        f"node 'conv262' (Conv): takes 128,000 values after 33,536,000 before{LIMIT}",
    ),
    "an operator that is not folded": (
        lambda net: computed(net, "Erf", np.ones(3, np.float32)),
        "node 'maker' (Erf): depends on constants only, and is not computed here; store what it makes as an"
        " initializer",
    ),
    "axes": (
        lambda net: computed(net, "Unsqueeze", np.ones(3, np.float32), np.array([2**32])),
        "node 'maker' (Unsqueeze): axes is [4294967296]; it must be integers of 32 bits",
    ),
    "axis": (
        lambda net: computed(net, "Concat", np.ones(3, np.float32), axis=2**40),
        "node 'maker' (Concat): axis is 1099511627776; it must be an integer of 32 bits",
    ),
    "text": (
        lambda net: computed(net, "Cast", np.ones(3, np.float32), to=TensorProto.STRING),
        "node 'maker' (Cast): makes text of constants; only numbers work",
    ),
}


@pytest.mark.parametrize("case", CONSTANTS)
def test_constants_are_measured_before_they_are_computed(case):
    change, message = CONSTANTS[case]
    model = build(change)
    tracemalloc.start()
    try:
        with pytest.raises(quant.ModelError) as caught:
            quant.import_onnx(model)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value) == message
    assert peak < budget.BUDGET // 2


def test_a_large_file_may_have_weights_in_proportion():
    allowed = budget.Budget()
    allowed.stored = 2**30
    allowed.spend("weights", 2**32)
    with pytest.raises(quant.ModelError, match=r"^more: takes 1 values after 4,294,967,296 before; constants and"):
        allowed.spend("more", 1)


def larger_image(*shape):
    def change(net):
        net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *shape])]
        net.conv(2, 3, 1)

    return change


def many_images(net):
    net.inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2**40, 2, 8, 8])]
    net.conv(2, 3, 1)


def concatenated(net):
    for _ in range(9):
        net.join("Concat", *[net.current] * 16, axis=1)


def kept_alive(net):
    """Maps that all wait for the last convolution."""
    names = [net.at("image").conv(2, 64, 1, pads=[200] * 4).current for _ in range(20)]
    net.join("Concat", *[net.at(name).pool(3, 2000).current for name in names], axis=1)


MEMORY = "MiB for one image; 1,024 MiB is the most, so use smaller images or fewer channels"
VALUES = "268,435,456 values an image are the most, and 32 bits a size"
MADE = "24,403,223 values an image are the most, and 32 bits a size"
MAPS = {
    "image": (larger_image(2, 2**15, 2**15), f"input 'image': has shape [1, 2, 32768, 32768]; {VALUES}"),
    "image beyond 32 bits": (
        larger_image(2, 2**40, 1),
        f"input 'image': has shape [1, 2, 1099511627776, 1]; {VALUES}",
    ),
    "batch beyond 32 bits": (many_images, f"input 'image': has shape [1099511627776, 2, 8, 8]; {VALUES}"),
    "pads": (
        lambda net: net.conv(2, 3, 3, pads=[2**31 - 1] * 4),
        f"node 'conv1' (Conv): has shape [1, 3, 4294967300, 4294967300]; {MADE}",
    ),
    "pads that strides leave out": (
        lambda net: net.conv(2, 3, 3, pads=[10**5] * 4, strides=[2**31 - 1] * 2),
        f"layer 'conv1' (Conv): its maps and windows take 610,400 {MEMORY}",
    ),
    "dilation": (
        lambda net: net.conv(2, 3, 3, dilations=[2**30, 1], pads=[2**30, 0, 2**30, 0]),
        f"layer 'conv1' (Conv): its maps and windows take 262,144 {MEMORY}",
    ),
    "window": (
        lambda net: net.conv(2, 3, 1).node("AveragePool", kernel_shape=[2**15] * 2, auto_pad="SAME_UPPER"),
        f"layer 'averagepool1' (AveragePool): its maps and windows take 1,597,451 {MEMORY}",
    ),
    "normalization": (
        lambda net: net.node("LRN", size=2**31 - 1),
        f"layer 'lrn1' (LRN): its maps and windows take 2,097,152 {MEMORY}",
    ),
    "concatenations": (
        concatenated,
        "node 'concat5' (Concat): has shape [1, 2097152, 8, 8]; " + MADE,
    ),
    "maps that wait": (kept_alive, f"layer 'conv16' (Conv): its maps and windows take 1,057 {MEMORY}"),
    "stride": (
        lambda net: net.conv(2, 3, 3, strides=[2**32, 1]),
        "node 'conv1' (Conv): strides is [4294967296, 1]; it must be integers of 32 bits",
    ),
    "axis": (
        lambda net: net.conv(2, 3, 3).node("Softmax", axis=2**32 + 1),
        "node 'softmax1' (Softmax): axis is 4294967297; it must be an integer of 32 bits",
    ),
    "axis of a tensor": (
        lambda net: net.conv(2, 3, 3).node("Softmax", axis=numpy_helper.from_array(np.zeros(2))),
        "node 'softmax1' (Softmax): axis is a TensorProto; it must be an integer of 32 bits",
    ),
    "axes": (
        lambda net: net.node("Unsqueeze", np.array([2**40])),
        "node 'unsqueeze1' (Unsqueeze): axes is [1099511627776]; it must be integers of 32 bits",
    ),
    "axes out of range": (
        lambda net: net.node("ReduceMean", np.array([2, 7])),
        "node 'reducemean1' (ReduceMean): axes are [2, 7]; each must be one of 4, and given once",
    ),
    "axes given twice": (
        lambda net: net.node("Unsqueeze", np.array([4, -2])),
        "node 'unsqueeze1' (Unsqueeze): axes are [4, -2]; each must be one of 6, and given once",
    ),
}


@pytest.mark.parametrize("case", MAPS)
def test_maps_and_integers_are_measured_at_import(case):
    change, message = MAPS[case]
    model = build(change)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert str(caught.value) == message


@pytest.mark.parametrize("large", [False, True])
def test_maps_of_quantized_models_are_measured_too(large):
    pads = [10**4 if large else 3] * 4
    model = conv_chain(pads=pads, strides=[10**5] * 2).qdq().model()
    if not large:
        quant.load(model)
        return
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == f"layer 'layer' (Conv): its maps and windows take 6,107 {MEMORY}"


def test_many_identities_take_one_walk(monkeypatch):
    net = models.Builder((2, 4, 4))
    for _ in range(20):
        net.node("Identity")
    net.conv(2, 3, 3)
    for _ in range(20):
        net.node("Identity").node("Dropout")
    calls = []
    from systolith.quant.networks import passes

    real = passes.shapes
    monkeypatch.setattr(passes, "shapes", lambda graph: calls.append(1) or real(graph))
    network = quant.load_float(net.model())
    assert [(layer.inputs, layer.output) for layer in network.layers] == [(("image",), "dropout20_out")]
    assert len(calls) < 20


def test_a_scale_that_takes_integers_beyond_float32_is_refused():
    source = quant.FeatureMap("x", (1, 1, 1), np.float32(2e36), 0, 0, 255)
    target = quant.FeatureMap("y", (1, 1, 1), np.float32(2e36), 0, 0, 255)
    layer = quant.MaxPool("pool", "x", "y", (1, 1))
    with pytest.raises(quant.GraphError) as caught:
        quant.check(quant.Graph(("x",), ("y",), (layer,), {"x": source, "y": target}))
    assert str(caught.value) == "tensor 'x': scale 2e+36 takes 255 steps beyond float32; use smaller weights"


def test_numbers_beyond_float32_are_refused():
    net = models.Builder((2, 2, 2)).flatten()
    net.node("Gemm", np.full((3, 8), 1e30, np.float32), transB=1, alpha=1e30)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    message = "node 'gemm1' (Gemm): alpha 1e+30 or beta 1 takes its weights or bias beyond float32"
    assert str(caught.value) == message


@pytest.mark.parametrize("folded", [True, False])
def test_factors_of_channels_beyond_float32_are_refused(folded):
    net = models.Builder((2, 4, 4))
    net = net.conv(2, 2, 1) if folded else net
    factors = [np.full((2, 1, 1), value, np.float32) for value in (1e38, 1e38)]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.node("Mul", factors[0]).node("Mul", factors[1]).model())
    assert str(caught.value) == "node 'mul2' (Mul): leads to weights or biases beyond float32; rescale the model"


def test_factors_of_pixels_beyond_float32_are_refused():
    net = models.Builder((2, 3, 3)).node(
        "Mul", np.full((2, 3, 3), 1e38, np.float32) * np.arange(1, 4, dtype=np.float32)
    )
    net.node("Flatten").node("Gemm", np.full((4, 18), 1e30, np.float32), transB=1)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == "node 'gemm1' (Gemm): leads to weights or biases beyond float32; rescale the model"


def test_sixteen_bit_models_read_their_numbers(tmp_path):
    """Constants of float16 are converted one by one, as such a file does."""
    net = models.Builder((2, 6, 6))
    half = net.constant(net.he(3, 2, 3, 3).astype(np.float16))
    net.nodes.append(helper.make_node("Cast", [half], ["whole"], "cast", to=TensorProto.FLOAT))
    net.node("Conv")
    net.nodes[-1].input.append("whole")
    (layer,) = quant.load_float(net.model()).layers
    np.testing.assert_array_equal(layer.weights, numpy_helper.to_array(net.constants[0]).astype(np.float32))


def test_scales_whose_product_is_beyond_float32_are_refused():
    net = models.Builder((2, 4, 4))
    weights = np.zeros((3, 2, 1, 1), np.float32)
    weights[:, 1] = 1e25  # meets zeros only, so that the float network stays finite
    model = net.node("Conv", weights).model()
    images = models.images(model, 2) * np.array([1e20, 0], np.float32)[:, None, None]
    with pytest.raises(quant.GraphError) as caught:
        quant.quantize(model, images)
    assert str(caught.value) == "layer 'conv1': its scales leave the range of float32; rescale the model's weights"
