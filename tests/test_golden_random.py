"""Networks drawn at random: every integer equal to ONNX Runtime's, and every file read back as it was written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from systolith import quant

from . import models, oracle
from .test_quant_files import assert_same

Shape = tuple[int, int, int]
KINDS = ("conv", "conv", "norm", "clamp", "max", "average", "function", "lrn", "add", "concat", "drop")
FUNCTIONS = ("Sigmoid", "Tanh", "LeakyRelu", "HardSwish", "Elu", "Softplus", "Abs")


def draw(seed: int) -> onnx.ModelProto:
    """A dozen layers over a few tensors of 8 x 8 and smaller, each reading any that came before."""
    random = np.random.default_rng(seed)
    net = models.Builder((3, 8, 8), seed)
    known: dict[str, Shape] = {"image": (3, 8, 8)}
    for _ in range(12):
        names = list(known)
        name = names[int(random.integers(max(0, len(names) - 4), len(names)))]
        shape = _add(net, random, name, known)
        if shape is not None:
            known[net.current] = shape
    return _ended(net, random, known[net.current])


def _add(net: models.Builder, random: np.random.Generator, name: str, known: dict[str, Shape]) -> Shape | None:
    """One more layer that reads ``name``; the shape of what it makes, None if none was added."""
    channels, rows, columns = known[name]
    net.at(name)
    kind = random.choice(KINDS)
    if kind == "conv":
        outputs, kernel = int(random.integers(2, 7)), int(random.choice([1, 3]))
        net.conv(channels, outputs, kernel, pads=[kernel // 2] * 4)
        return outputs, rows, columns
    if kind in ("max", "average"):
        if rows < 3:
            return None
        attributes = {"ceil_mode": int(random.integers(2)), "pads": [int(random.integers(2))] * 4}
        stride = int(random.integers(1, 3))
        operator = "MaxPool" if kind == "max" else "AveragePool"
        if kind == "average":
            attributes["count_include_pad"] = int(random.integers(2))
        net.node(operator, kernel_shape=[3, 3], strides=[stride] * 2, **attributes)
        size = _pooled(rows, stride, attributes)
        return channels, size, _pooled(columns, stride, attributes)
    if kind == "add":
        alike = [other for other, shape in known.items() if shape == known[name]]
        net.join("Add", name, str(random.choice(alike)))
    elif kind == "concat":
        beside = [other for other, shape in known.items() if shape[1:] == (rows, columns)]
        parts = [name, *(str(other) for other in random.choice(beside, int(random.integers(1, 3))))]
        net.join("Concat", *parts, axis=1)
        return sum(known[part][0] for part in parts), rows, columns
    elif kind == "norm":
        net.norm(channels)
    elif kind == "clamp":
        net.relu() if random.integers(2) else net.relu6()
    elif kind == "function":
        net.node(str(random.choice(FUNCTIONS)))
    elif kind == "lrn":
        net.node("LRN", size=3, alpha=0.1, beta=0.75, bias=1.0)
    else:
        net.node("Dropout")
    return channels, rows, columns


def _pooled(length: int, stride: int, attributes: dict) -> int:
    pad = attributes["pads"][0]
    spare = length + 2 * pad - 3
    outputs = spare // stride + 1
    if attributes["ceil_mode"] and spare % stride and outputs * stride < length + pad:
        outputs += 1
    return outputs


def _ended(net: models.Builder, random: np.random.Generator, shape: Shape) -> onnx.ModelProto:
    """The last tensor as it is, or a classifier on it."""
    end = random.integers(3)
    if end == 0:
        net.node("GlobalAveragePool").flatten().gemm(shape[0], 4)
    elif end == 1:
        net.flatten().gemm(int(np.prod(shape)), 4)
    else:
        net.conv(shape[0], 3, 1)
    return net.model()


@pytest.mark.parametrize("seed", range(60))
def test_random_networks(seed):
    model = draw(seed)
    images = models.images(model, 5)
    settings = quant.Settings(["float", "pow2"][seed % 2], 8 - seed % 3, 8 - seed % 4)
    graph = quant.quantize(model, images, settings)
    oracle.assert_every_tensor_equal(graph, images)
    assert_same(quant.load(quant.to_onnx(graph)), graph)
