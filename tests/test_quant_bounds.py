"""What a node may ask for: layers that can be counted, maps with something in them, numbers that are numbers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant

from . import models
from .qdq import conv_chain

LONG = "an axis may have 4,194,304 values at most"
NUMBERS = "its scales or sizes must be constants above 0 and of 32 bits, one for each of 4 axes"


def weights(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def resized(sizes=None, scales=None, kind=np.int64, **attributes) -> models.Builder:
    net = models.Builder((1, 2, 2))
    given = net.constant(np.array(scales, np.float32)) if scales else ""
    names = ["image", "", given] if sizes is None else ["image", "", given, net.constant(np.array(sizes, kind))]
    return net.join("Resize", *names, **attributes)


def batch(count: int) -> models.Builder:
    net = models.Builder((4, 6, 6))
    net.inputs[0].type.tensor_type.shape.dim[0].dim_value = count
    return net


def of_rank(*shape: int) -> models.Builder:
    return models.Builder((4, 1, 1)).relu().node("Reshape", np.array(shape, np.int64))


REFUSED = {
    "a stride of a transposed convolution": (
        lambda: models.Builder((2, 1, 1)).node("ConvTranspose", weights(2, 3, 2, 2), strides=[2**20, 2]),
        "node 'convtranspose1' (ConvTranspose): would become 2,097,152 layers; at most 1,024 work",
    ),
    "pads of a transposed convolution": (
        lambda: models.Builder((2, 2, 2)).node(
            "ConvTranspose", weights(2, 3, 2, 2), dilations=[2**31 - 1] * 2, pads=[2**30] * 4
        ),
        "layer 'convtranspose1' (Conv): its maps and windows take 70,368,744,177,664 MiB for one image; 1,024 MiB is"
        " the most, so use smaller images or fewer channels",
    ),
    "zeros around transposed weights": (
        lambda: models.Builder((256, 4096, 1)).node("ConvTranspose", weights(256, 64, 1, 1), pads=[4095, 0, 0, 0]),
        "node 'convtranspose1' (ConvTranspose): has pads or a size that take 4,095 rows or columns of zeros; leave them"
        " to a Slice",
    ),
    "a block of pixels": (
        lambda: models.Builder((1, 256, 256)).node("SpaceToDepth", blocksize=256),
        "node 'spacetodepth1' (SpaceToDepth): would become 65,536 layers; at most 1,024 work",
    ),
    "a block of three": (
        lambda: models.Builder((16, 2, 2)).node("DepthToSpace", block=[2, 2, 2]),
        "node 'depthtospace1' (DepthToSpace): block is [2, 2, 2]; it must be 2 values of at least 1",
    ),
    "phases of a dilated maximum": (
        lambda: models.Builder((1, 512, 512)).node("MaxPool", kernel_shape=[2, 2], dilations=[256, 256]),
        "node 'maxpool1' (MaxPool): would become 65,536 layers; at most 1,024 work",
    ),
    "slices of a maximum": (
        lambda: models.Builder((1, 2**20, 1, 1)).node("MaxPool", kernel_shape=[2**20 - 9, 1, 1]),
        "node 'maxpool1' (MaxPool): reads 10,485,670 slices of 1 channels in all its windows together; 2,048 slices,"
        " 4,194,304 channels are the most",
    ),
    "channels of slices": (
        lambda: models.Builder((2**16, 64, 1, 1)).node("AveragePool", kernel_shape=[2, 1, 1]),
        "node 'averagepool1' (AveragePool): reads 126 slices of 65,536 channels in all its windows together; 2,048"
        " slices, 4,194,304 channels are the most",
    ),
    "slices of a transposed convolution": (
        lambda: models.Builder((1, 500, 1, 1)).node("ConvTranspose", weights(1, 1, 500, 1, 1)),
        "node 'convtranspose1' (ConvTranspose): reads 250,000 slices of 1 channels in all its windows together; 2,048"
        " slices, 4,194,304 channels are the most",
    ),
    "no slices": (
        lambda: models.Builder((2, 3, 4, 4)).node("ConvTranspose", weights(2, 3, 2, 2, 2), pads=[2, 0, 0, 2, 0, 0]),
        "node 'convtranspose1' (ConvTranspose): makes 0 slices; its pads leave nothing",
    ),
    "channels of a joined volume": (
        lambda: models.Builder((2**12, 2**10, 1, 1)).join("Concat", "image", "image", axis=1),
        f"node 'concat1' (Concat): has shape [1, 8192, 1024, 1, 1]; {LONG}",
    ),
    "a resized map": (
        lambda: resized([1, 1, 2**23, 2]),
        f"node 'resize1' (Resize): has shape [1, 1, 8388608, 2]; {LONG}",
    ),
    "a factor of a linear one": (
        lambda: resized([1, 1, 4098, 2], mode="linear"),
        "node 'resize1' (Resize): would become 2,049 layers; at most 1,024 work",
    ),
    "sizes beyond 32 bits": (lambda: resized([1, 1, 2**62, 2]), f"node 'resize1' (Resize): {NUMBERS}"),
    "sizes of no number": (
        lambda: resized([1, 1, np.nan, 2], kind=np.float32),
        f"node 'resize1' (Resize): {NUMBERS}",
    ),
    "scales of no number": (lambda: resized(scales=[1, 1, np.nan, 1]), f"node 'resize1' (Resize): {NUMBERS}"),
    "scales without end": (lambda: resized(scales=[1, 1, np.inf, 1]), f"node 'resize1' (Resize): {NUMBERS}"),
    "scales that are text": (
        lambda: models.Builder((1, 2, 2), opset=7).node("Upsample", scales=b"abc"),
        "node 'upsample1' (Upsample): scales is b'abc'; it must be a list of numbers",
    ),
    "nothing of an axis": (
        lambda: models.Builder((4, 6, 1)).relu().node("Expand", np.array([1, 4, 6, 0])),
        "node 'expand1' (Expand): has shape [1, 4, 6, 0]; every size must be at least 1",
    ),
    "a constant of nothing": (
        lambda: models.Builder((4, 6, 1)).relu().node("Mul", np.zeros(0, np.float32)),
        "node 'mul1' (Mul): has shape [1, 4, 6, 0]; every size must be at least 1",
    ),
    "tiles": (
        lambda: models.Builder((1, 1, 1)).relu().node("Tile", np.array([1, 2**12, 2**13, 1])),
        "node 'tile1' (Tile): has shape [1, 4096, 8192, 1]; 24,403,223 values an image are the most, and 32 bits a"
        " size",
    ),
    "padded rows": (
        lambda: models.Builder((1, 2, 2)).node("Pad", np.array([0, 0, 2**22, 0, 0, 0, 0, 0]), mode="edge"),
        f"node 'pad1' (Pad): has shape [1, 1, 4194306, 2]; {LONG}",
    ),
    "padded where nothing is left": (
        lambda: models.Builder((1, 2, 2)).node("Pad", np.array([0, 0, -3, 0, 0, 0, 3, 0])),
        "node 'pad1' (Pad): pads are [0, 0, -3, 0, 0, 0, 3, 0]; only channels, rows and columns can be padded, of"
        " images and signals",
    ),
    "padded channels": (
        lambda: models.Builder((3000, 1, 1)).node("Pad", np.array([0, 1, 0, 0, 0, 0, 0, 0])),
        "node 'pad1' (Pad): pads 3,000 channels, which takes 9,003,000 weights; too many",
    ),
    "padded with what is not real": (
        lambda: models.Builder((1, 2, 2)).node("Pad", np.array([0, 0, 1, 1, 0, 0, 0, 0]), np.complex64(1)),
        "node 'pad1' (Pad): its value is complex64; it must be a real number",
    ),
    "a batch": (
        lambda: batch(2**31 - 1).node("Gather", np.array([0, 1]), axis=1),
        f"input 'image': has shape [2147483647, 4, 6, 6]; {LONG}",
    ),
    "many axes": (
        lambda: of_rank(*[1] * 32, 4).node("Sigmoid"),
        "node 'reshape1' (Reshape): makes a tensor of 33 axes; 1 to 32 work",
    ),
    "many axes of the host's": (
        lambda: of_rank(1, 4).node("Softmax").node("Unsqueeze", np.arange(1, 40)),
        "node 'unsqueeze1' (Unsqueeze): makes a tensor of 41 axes; 1 to 32 work",
    ),
    "a vector reduced to a number": (
        lambda: of_rank(4).node("ReduceSum", np.array([0]), keepdims=0).node("Add", np.float32(1)),
        "node 'reducesum1' (ReduceSum): its input has 1 dimensions; it must have 2 to 5",
    ),
    "no second axis": (
        lambda: of_rank(4).node("BatchNormalization", *weights(4, 4)),
        "node 'batchnormalization1' (BatchNormalization): its input has 1 dimensions; its channels are the second",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    make, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(make().model())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "constants",
    {
        "Slice": [np.array([0]), np.full(9999, 3), np.array([1])],
        "Tile": [np.full(9999, 3)],
        "Gather": [np.full(9999, 77)],
        "Reshape": [np.full(9999, 3)],
    }.items(),
    ids=lambda one: one[0],
)
def test_a_refusal_of_a_long_list_is_a_line_for_people(constants):
    operator, given = constants
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(models.Builder((3, 4, 4)).relu().node(operator, *given).model())
    said = str(caught.value)
    assert said.startswith(f"node '{operator.lower()}1' ({operator}): ")
    assert " ... " in said
    assert len(said) < 1500


def test_a_tensor_of_many_sizes_is_refused_in_a_line_for_people():
    model = models.Builder((3, 4, 4)).conv(3, 2, 1).model()
    for sizes in ([1] * 9999, [1] * 9999 + [-1]):
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(sizes)
        with pytest.raises(quant.ModelError) as caught:
            quant.load_float(model)
        assert str(caught.value).startswith("tensor 'conv1_0': ")
        assert len(str(caught.value)) < 1500


@pytest.mark.parametrize("operator", ["Add", "Gather", "MatMul", "Mul", "Pad", "Resize", "Split", "Tile"])
def test_a_tensor_without_axes_is_refused_before_anybody_reads_it(operator):
    net = models.Builder((1, 1, 1)).relu().node("Reshape", np.zeros(0, np.int64)).node(operator, np.float32(1))
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == "node 'reshape1' (Reshape): makes a tensor of 0 axes; 1 to 32 work"


def test_sizes_may_be_of_a_type_that_does_not_reach_32_bits():
    (layer,) = quant.load_float(resized([1, 1, 1, 2], kind=np.float16).model()).layers
    assert layer.rows == (0, 1, 1)


def test_a_tensor_of_the_most_axes_goes_through():
    network = quant.load_float(of_rank(*[1] * 31, 4).node("Sigmoid").model())
    images = np.random.default_rng(0).standard_normal((2, 4, 1, 1)).astype(np.float32)
    assert quant.quantize(network, images).outputs


def test_a_name_that_is_made_of_a_nodes_own_may_be_taken():
    """Layers that become of a node are named after it; another node may be called so already."""
    net = models.Builder((2, 4, 4)).node("ConvTranspose", weights(2, 3, 2, 2), strides=[2, 2])
    first = net.current
    net.at("image").conv(2, 3, (1, 1), pads=[0, 0, 4, 4])
    net.nodes[-1].output[0] = f"{first}/1"
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.join("Add", first, f"{first}/1").model())
    message = (
        "node 'conv1' (Conv): makes 'convtranspose1_out/1', as another layer does; rename one of them in the model"
    )
    assert str(caught.value) == message


def test_products_of_sixteen_bits_are_refused_before_they_are_listed():
    net = models.Builder((2, 3, 3)).conv(2, 2, 1)
    whole = net.current
    model = net.node("GlobalAveragePool").join("Mul", whole, net.current).model()
    with pytest.raises(quant.GraphError) as caught:
        quant.quantize(model, models.images(model, 2), quant.Settings(weight_bits=8, activation_bits=16))
    assert "has 16 bits; " in str(caught.value)


def test_a_normalization_without_end_is_refused():
    model = models.Builder((4, 2, 2)).node("LRN", size=3, alpha=3e38, beta=3e38, bias=1e-38).model()
    with pytest.raises(quant.ModelError) as caught:
        quant.quantize(model, models.images(model, 2))
    assert str(caught.value).startswith("node 'lrn1' (LRN): its output's scale ")


def test_scales_whose_product_overflows_are_refused():
    """Both maps are finite, and so is their product on these images, but not that of their scales."""
    net = models.Builder((2, 2, 2))
    weights = np.zeros((2, 1, 2, 1, 1), np.float32)
    weights[0, 0, 0], weights[1, 0, 1] = 1e28, 1e28
    net.node("Conv", weights[0]).at("image").node("Conv", weights[1]).join("Mul", "conv1_out", "conv2_out")
    images = np.zeros((2, 2, 2, 2), np.float32)
    images[0, 0], images[1, 1] = 1, 1
    with pytest.raises(quant.GraphError) as caught:
        quant.quantize(net.model(), images)
    assert "too far apart for float32; rescale the model's weights" in str(caught.value)


BEYOND = "leads to weights or biases beyond float32; rescale the model"


@pytest.mark.parametrize("side", [3, 9])
def test_factors_of_pixels_whose_product_is_beyond_float64_are_refused(side):
    factor = np.linspace(2e38, 3e38, 2 * side**2, dtype=np.float32).reshape(2, side, side)
    net = models.Builder((2, side, side)).relu()
    for _ in range(12):
        net.node("Mul", factor)
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(net.model())
    assert str(caught.value) == f"node 'mul12' (Mul): {BEYOND}"


def test_factors_beyond_float32_behind_a_quantized_convolution_are_refused():
    factor = np.full((4, 1, 1), 3e38, np.float32)
    model = conv_chain().node("Mul", factor).node("Mul", factor).qdq().model()
    with pytest.raises(quant.ModelError) as caught:
        quant.load(model)
    assert str(caught.value) == f"node 'mul2' (Mul): {BEYOND}"


@pytest.mark.parametrize("shape", [(1, 300), (17, 1000), (1, 1500)])
@pytest.mark.parametrize("operator", ["GlobalMaxPool", "GlobalAveragePool"])
def test_a_network_that_was_simplified_stays_as_it_is(operator, shape):
    network = quant.load_float(models.Builder((2, *shape)).node(operator).model())
    images = np.random.default_rng(0).standard_normal((2, 2, *shape)).astype(np.float32)
    layers = quant.quantize(network, images).layers
    assert [layer.name for layer in layers] == [layer.name for layer in network.layers]


@pytest.mark.parametrize("shape", [np.float64(2), np.array([0, 0, 0, 3, 4, 4]), np.array([0.0, 0.5, 3, 3, 4, 4])])
def test_an_oblong_block_of_a_quantized_file_is_read_only_if_it_is_one(shape):
    net = models.Builder((2, 4, 4)).node("ConvTranspose", weights(2, 3, 1, 3), strides=[1, 3])
    model = quant.to_onnx(quant.quantize(net.model(), models.images(net.model(), 2)))
    first = next(node for node in model.graph.node if node.op_type == "Reshape")
    (stored,) = [tensor for tensor in model.graph.initializer if tensor.name == first.input[1]]
    quant.load(model)
    stored.CopyFrom(onnx.numpy_helper.from_array(np.asarray(shape), stored.name))
    with pytest.raises(quant.ModelError, match=rf"^node '{first.name}' \(Reshape\): shape is "):
        quant.load(model)
