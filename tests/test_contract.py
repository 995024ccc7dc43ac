"""The contract: whatever ONNX Runtime's optimizations fuse, the file that is written means golden's integers.

Each operator is drawn from all that its attributes and its grids may be.  Scales are no powers of two, so that no sum
is a tie, which ONNX Runtime's float kernels round either way (docs/quantization.md).  Not here: normalizations, and
weighted layers and averages beyond 8 bits, which ONNX Runtime has in float only.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from systolith import golden, quant
from systolith.quant import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Selection,
    Sums,
    Table,
    Tensor,
)
from systolith.quant.arithmetic.tables import table
from systolith.quant.graph import LOOKUP, Pads, Pair, Shape, output_shape
from systolith.quant.networks.functions import DEFAULTS
from systolith.quant.networks.layers import Function

from . import models, oracle

UNSIGNED, SIGNED = [(0, 255), (0, 255), (0, 31), (3, 200)], [(-128, 127), (-127, 127), (-4, 3), (0, 100)]
WIDE = [(0, 65535), (-32768, 32767), (-2048, 2047), (5, 1000)]
GRAPHS = 24  # of each operator


class Drawn:
    """One graph under construction, of seeded random maps and windows."""

    def __init__(self, seed: int, bounds: list[Pair] | None = None) -> None:
        self.rng, self.numpy = random.Random(seed), np.random.default_rng(seed)
        self.bounds = bounds or self.rng.choice([UNSIGNED, SIGNED])
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []

    def shape(self, channels: int = 0) -> Shape:
        """Mostly small maps, often of one row."""
        rows = self.rng.choice([1, self.rng.randint(2, 9), self.rng.randint(2, 9)])
        return channels or self.rng.choice([1, 2, 3, 5]), rows, self.rng.randint(1, 11)

    def map(self, name: str, shape: Shape, like: FeatureMap | None = None) -> FeatureMap:
        """A map of ``shape``, on the grid of ``like`` if there is one."""
        low, high = (like.low, like.high) if like else self.rng.choice(self.bounds)
        zero_point = like.zero_point if like else self.rng.choice([low, high, self.rng.randint(low, high)])
        scale = like.scale if like else np.float32(self.rng.uniform(1, 6) / (high - low))
        made = self.tensors[name] = FeatureMap(name, shape, scale, zero_point, low, high)
        return made

    def window(self, shape: Shape, dilates: bool = False) -> tuple[Pair, Pair, Pads, Pair]:
        """Kernel, strides, pads and dilations of a window that fits into ``shape``."""
        while True:
            kernel, strides = ((self.rng.randint(1, most), self.rng.randint(1, most)) for most in (5, 4))
            dilations = (self.rng.randint(1, 3), self.rng.randint(1, 3)) if dilates else (1, 1)
            padded = self.rng.random() < 0.7
            top, left, bottom, right = (self.rng.randint(0, size - 1) if padded else 0 for size in kernel * 2)
            room = shape[1] + top + bottom, shape[2] + left + right
            if all(room[n] > dilations[n] * (kernel[n] - 1) for n in (0, 1)):
                return kernel, strides, (top, left, bottom, right), dilations

    def add(self, layer: Layer, like: FeatureMap | None = None) -> None:
        """Add ``layer``, and draw its output if it is not there."""
        self.layers.append(layer)
        if layer.output not in self.tensors:
            self.map(layer.output, output_shape(layer, tuple(self.tensors[name].shape for name in layer.inputs)), like)

    def graph(self) -> Graph:
        return quant.check(Graph(("x",), (self.layers[-1].output,), tuple(self.layers), self.tensors))

    def weighted(self, operator: str, shape: Shape, kernel: Pair, groups: int = 1, **window: object) -> None:
        """A convolution, or a Gemm, from x to y; in three of ten y is its sums."""
        source, outputs = self.map("x", shape), groups * self.rng.randint(1, 3)
        most = 2 ** (self.rng.choice([2, 4, 6, 8, 8]) - 1) - 1
        weights = self.numpy.integers(-most, most + 1, (outputs, shape[0] // groups, *kernel)).astype(np.int16)
        scales = (self.numpy.uniform(0.2, 2, outputs) / (most * weights[0].size ** 0.5)).astype(np.float32)
        bias = self.numpy.integers(-3000, 3000, outputs)
        layer = Conv("layer", operator, "x", "y", weights, scales, bias, groups=groups, **window)
        if self.rng.random() < 0.3:
            self.tensors["y"] = Sums("y", output_shape(layer, (shape,)), source.scale * scales)
        self.add(layer)

    def copied(self, name: str, like: FeatureMap | None = None) -> None:
        """A convolution from x to ``name`` that multiplies each channel, clamped differently."""
        channels = self.map("x", self.shape()).shape[0] if "x" not in self.tensors else self.tensors["x"].shape[0]
        weights = np.full((channels, 1, 1, 1), 127, np.int16)
        scales = self.numpy.uniform(0.003, 0.012, channels).astype(np.float32)
        layer = Conv(f"to_{name}", "Conv", "x", name, weights, scales, np.zeros(channels, np.int64), groups=channels)
        self.add(layer, like)


def conv(drawn: Drawn) -> None:
    groups = drawn.rng.choice([1, 1, 2, 3])
    shape = drawn.shape(groups * drawn.rng.choice([1, 1, 2, 3]))
    kernel, strides, pads, dilations = drawn.window(shape, dilates=True)
    drawn.weighted("Conv", shape, kernel, groups, strides=strides, pads=pads, dilations=dilations)


def gemm(drawn: Drawn) -> None:
    shape = drawn.shape(1)  # a sum that float32 tells from its neighbours
    drawn.weighted("Gemm", shape, (shape[1], shape[2]))


def max_pool(drawn: Drawn) -> None:
    source = drawn.map("x", drawn.shape())
    drawn.add(MaxPool("layer", "x", "y", *drawn.window(source.shape)[:3]), source)


def average_pool(drawn: Drawn) -> None:
    shape = drawn.map("x", drawn.shape()).shape
    kernel, strides, pads, _ = drawn.window(shape)
    counts = drawn.rng.random() < 0.6
    ceil = (drawn.rng.randint(0, pads[2]), drawn.rng.randint(0, pads[3])) if counts else (0, 0)
    drawn.add(AveragePool("layer", "x", "y", kernel, strides, pads, counts, ceil))


def global_average(drawn: Drawn) -> None:
    shape = drawn.map("x", drawn.shape()).shape
    drawn.add(AveragePool("layer", "x", "y", (shape[1], shape[2])))


def add(drawn: Drawn) -> None:
    drawn.copied("w")
    drawn.add(Add("layer", drawn.rng.choice([("x", "w"), ("w", "x"), ("x", "x")]), "y"))
    if "w" not in drawn.layers[-1].inputs:
        del drawn.layers[0], drawn.tensors["w"]


def concat(drawn: Drawn) -> None:
    """Of maps on one grid, on several, and on the output's."""
    source = drawn.map("x", drawn.shape())
    drawn.copied("w", drawn.rng.choice([source, None]))
    drawn.copied("v")
    names = [*drawn.rng.choices("xwv", k=2), "v", "w"][drawn.rng.choice([0, 2]) :]
    names += sorted({"w", "v"} - set(names))
    drawn.add(Concat("layer", tuple(names), "y", drawn.rng.randint(1, 3)), drawn.rng.choice([source, None]))


def function(drawn: Drawn) -> None:
    """Of those that have a value everywhere."""
    source = drawn.map("x", drawn.shape())
    target = drawn.map("y", source.shape)
    while True:
        operator = drawn.rng.choice(sorted(set(DEFAULTS) - {"Clip", "Relu"}))
        attributes = {
            name: value if isinstance(value, str) else float(np.float32(drawn.rng.uniform(0.05, 2)))
            for name, value in DEFAULTS[operator].items()
        }
        with contextlib.suppress(quant.ModelError):
            return drawn.add(tabled(operator, attributes, source, target))


def clamp(drawn: Drawn) -> None:
    source = drawn.map("x", drawn.shape())
    low, high = (float(np.float32(drawn.rng.uniform(*between))) for between in ((-2, 0), (0, 2)))
    operator, attributes = drawn.rng.choice([("Relu", {}), ("Clip", {"min": low, "max": high})])
    drawn.add(tabled(operator, attributes, source, drawn.map("y", source.shape)))


def tabled(operator: str, attributes: dict[str, float | str], source: FeatureMap, target: FeatureMap) -> Table:
    values = table(Function("layer", operator, ("x",), "y", attributes), source, target)
    return Table("layer", operator, "x", "y", values, attributes)


def lookup(drawn: Drawn) -> None:
    """Any values at all."""
    source = drawn.map("x", drawn.shape())
    target = drawn.map("y", source.shape)
    values = drawn.numpy.integers(target.low, target.high + 1, source.high - source.low + 1).astype(np.int32)
    drawn.add(Table("layer", LOOKUP, "x", "y", values))


def selection(drawn: Drawn) -> None:
    """Of channels, and of rows and columns at steps."""
    source = drawn.map("x", drawn.shape())
    channels = tuple(drawn.rng.randrange(source.shape[0]) for _ in range(drawn.rng.randint(1, 5)))
    spans = []
    for size in source.shape[1:]:
        first, step = drawn.rng.randrange(size), drawn.rng.randint(1, 3)
        spans.append((first, step, drawn.rng.randint(1, (size - 1 - first) // step + 1)))
    if drawn.rng.random() < 0.5:  # one that is a Slice, channels at one step
        channels = tuple(range(0, source.shape[0], drawn.rng.randint(1, 2)))
    else:
        spans = [(0, 1, size) for size in source.shape[1:]]
    drawn.add(Selection("layer", "x", "y", channels, *spans), source)


def depth_to_space(drawn: Drawn) -> None:
    block = drawn.rng.choice([(2, 2), (3, 3), (1, 2), (3, 2), (2, 1)])
    source = drawn.map("x", drawn.shape(block[0] * block[1] * drawn.rng.randint(1, 2)))
    drawn.add(DepthToSpace("layer", "x", "y", block), source)


DRAW = [
    conv,
    gemm,
    max_pool,
    average_pool,
    global_average,
    add,
    concat,
    function,
    clamp,
    lookup,
    selection,
    depth_to_space,
]


def assert_one_meaning(graph: Graph, seed: int) -> None:
    """Golden, ONNX Runtime at every level and the graph that is read back agree on every integer."""
    source, target = graph.map_of("x"), graph.tensors["y"]
    values = np.random.default_rng(seed).integers(source.low, source.high + 1, (2, *source.shape))
    images = ((values - source.zero_point) * source.scale).astype(np.float32)
    model = quant.to_onnx(graph)
    _, expected = golden.output(graph, images)
    for level in oracle.LEVELS:
        found = oracle.session(model, level).run(None, {model.graph.input[0].name: images})[0]
        if isinstance(target, Sums):
            steps = found.reshape(-1, *target.shape) / target.scales[:, None, None].astype(np.float64)
        else:
            steps = found / target.scale + target.zero_point
        np.testing.assert_array_equal(np.rint(steps).reshape(expected.shape), expected, f"seed {seed}, {level}")
    np.testing.assert_array_equal(golden.output(quant.load(model), images)[1], expected)


@pytest.mark.parametrize("draw", DRAW)
def test_each_level_of_optimization_gives_goldens_integers(draw: Callable[[Drawn], None]):
    for seed in range(GRAPHS):
        drawn = Drawn(seed)
        draw(drawn)
        assert_one_meaning(drawn.graph(), seed)


@pytest.mark.parametrize("draw", [max_pool, selection, depth_to_space])
def test_wide_maps_that_are_only_moved(draw: Callable[[Drawn], None]):
    for seed in range(GRAPHS):
        drawn = Drawn(seed, WIDE)
        draw(drawn)
        assert_one_meaning(drawn.graph(), seed)


GRID, OTHER = (np.float32(0.0301), np.uint8(7)), (np.float32(0.0177), np.uint8(11))
ZEROS = np.array([0, 0, 1, 1, 0, 0, 1, 1])
MEAN = {"kernel_shape": [3, 3], "strides": [2, 2]}


def quantized(build: Callable[[models.Builder], object]) -> onnx.ModelProto:
    """A quantized model of a 2x8x7 image: what ``build`` adds, between its DequantizeLinear and a QuantizeLinear."""
    net = models.Builder((2, 8, 7)).node("QuantizeLinear", *GRID).node("DequantizeLinear", *GRID)
    build(net)
    return net.node("QuantizeLinear", *OTHER).node("DequantizeLinear", *OTHER).model()


@pytest.mark.parametrize(
    "mean",
    [
        {},
        {"ceil_mode": 1},
        {"ceil_mode": 1, "count_include_pad": 1},
        {"pads": [0, 0, 1, 0]},
        {"pads": [1, 0, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [10, 9]},
    ],
)
def test_zeros_of_a_pad_before_an_average_count(mean):
    assert_read_as_it_is(quantized(lambda net: net.node("Pad", ZEROS).node("AveragePool", **(MEAN | mean))))


def test_a_pad_that_is_quantized_itself():
    assert_read_as_it_is(quantized(lambda net: net.node("Pad", ZEROS)))
    assert_read_as_it_is(quantized(lambda net: net.node("Pad", ZEROS).pool(3, 2)))


def assert_read_as_it_is(model: onnx.ModelProto) -> None:
    """The graph in ``model`` computes the model's integers, and survives being written."""
    graph = quant.load(model)
    images = models.images(model, 3)
    for level in oracle.LEVELS:
        found = oracle.session(model, level).run(None, {"image": images})[0]
        np.testing.assert_array_equal(golden.output(graph, images)[0], found, level)
    values = golden.quantize_input(graph, images)
    for again, expected in zip(
        golden.run(quant.load(quant.to_onnx(graph)), values).values(), golden.run(graph, values).values(), strict=True
    ):
        np.testing.assert_array_equal(again, expected)


REFUSED = {
    "means of two meanings": (
        lambda net: net.node("AveragePool", **MEAN, pads=[1] * 4, ceil_mode=1, count_include_pad=1),
        "node 'averagepool1' (AveragePool): has ceil_mode and count_include_pad, and windows that hang over its pads:"
        " ONNX Runtime divides by what they count or by the whole kernel, as it optimizes; put the pads into a Pad node"
        " between it and the DequantizeLinear before it",
    ),
    "pads that count around others that do not": (
        lambda net: net.node("Pad", ZEROS).node("AveragePool", **MEAN, pads=[1, 0, 0, 0]),
        "node 'averagepool1' (AveragePool): has pads [1, 0, 0, 0] that do not count around a Pad's zeros, which do",
    ),
    "a Pad before a convolution": (
        lambda net: net.node("Pad", ZEROS).node("Conv", np.ones((1, 2, 1, 1), np.float32)),
        "node 'conv1' (Conv): reads 'pad1_out', which is not quantized; it needs QuantizeLinear and DequantizeLinear"
        " before",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    build, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load(quantized(build))
    assert str(caught.value) == message
