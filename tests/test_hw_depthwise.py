"""Depthwise convolutions in columns with a channel each: the circuits, the plans, and when a plan takes them."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import pytest

from systolith.hw.compiler.kernel_steps import kernel
from systolith.quant import ConfigurationError, Graph, Settings, load_float, quantize

from .hw_networks import check_against_golden, planned
from .models import Builder, images

SIZES = {
    "16x16": {"rows": 16, "columns": 16, "bus_bytes": 16},
    "8x8, all cut": {"rows": 8, "columns": 8, "activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1},
    "4x4, one line": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 2, "accumulator_kib": 1},
    "9x5": {"rows": 9, "columns": 5, "activation_kib": 2, "accumulator_kib": 1},
    "16x16, pairs": {"rows": 16, "columns": 16, "bus_bytes": 16, "target": "ecp5", "columns_per_multiplier": 2},
    "15x6, pairs": {"rows": 15, "columns": 6, "activation_kib": 2, "target": "ecp5", "columns_per_multiplier": 2},
    "16x16, threes of 4 bits": {
        **{"rows": 16, "columns": 16, "target": "ecp5", "columns_per_multiplier": 3},
        **{"weight_bits": 4, "activation_bits": 4},
    },
    "15x7, an iCE40's halves": {"rows": 15, "columns": 7, "activation_kib": 2, "target": "ice40"},
    "12x20, two bytes": {"rows": 12, "columns": 20, "activation_bits": 11, "activation_kib": 4},
}


def network(seed: int, bits: int = 8, weight_bits: int = 8) -> Graph:
    """A depthwise convolution of random shape between two of 1x1, sometimes pooled, sometimes a branch of a sum."""
    rng = random.Random(seed)
    channels = rng.choice([3, 5, 8, 17, 24])
    size = rng.randint(5, 12), rng.randint(5, 12)
    kernel_size = rng.choice([(3, 3), (3, 3), (5, 5), (7, 7), (1, 3), (3, 1), (2, 4), (5, 3)])
    dilations = rng.choice([(1, 1), (1, 1), (2, 2), (1, 2)])
    reach = [(k - 1) * d for k, d in zip(kernel_size, dilations, strict=True)]
    pads = [rng.choice([r // 2, r // 2, rng.randint(0, r)]) for r in reach]
    pads = [max(p, r - s + 1) for p, r, s in zip(pads, reach, size, strict=True)]
    strides = rng.choice([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1)])
    net = Builder((4, *size), seed=seed)
    net.conv(4, channels, 1).relu()
    before = net.current
    attributes = {"group": channels, "strides": strides, "dilations": dilations, "pads": [*pads, *pads]}
    net.conv(channels, channels, kernel_size, **attributes)
    after = [(s + 2 * p - r - 1) // t + 1 for s, p, r, t in zip(size, pads, reach, strides, strict=True)]
    if rng.random() < 0.5:
        net.relu6()
    if after == list(size) and bits <= 8 and rng.random() < 0.5:
        net.join("Add", before, net.current)
    elif min(after) >= 2 and rng.random() < 0.3:
        net.pool()
    return quantized(net.conv(channels, 6, 1), bits, weight_bits)


def quantized(net: Builder, bits: int = 8, weight_bits: int = 8) -> Graph:
    model = net.model()
    with TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "model.onnx")
        graph = load_float(Path(folder) / "model.onnx")
    settings = Settings(weight_bits=weight_bits, activation_bits=bits, ranges="minmax")
    return quantize(graph, images(model, 4), settings)


@pytest.mark.parametrize("line_buffer", [64, 16])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_depthwise_layers_compute_what_golden_does(sizes, line_buffer):
    taken = 0
    for seed in range(12):
        graph = network(seed, sizes.get("activation_bits", 8), sizes.get("weight_bits", 8))
        try:
            made = planned(graph, line_buffer=line_buffer, **sizes)
        except ConfigurationError as error:
            assert "would do" in str(error)  # noqa: PT017
            continue
        taken += sum(kernel(layer.geometry, made.parameters).depthwise for layer in made.layers)
        check_against_golden(made, seed)
    assert taken >= 4


@pytest.mark.parametrize(
    ("size", "rows", "steps"),
    [(16, 5, [[0, 2, 4], [1, 3]]), (16, 7, None), (8, 3, [[0, 2], [1]]), (8, 5, None), (4, 3, None)],
)
def test_with_a_stride_only_rows_that_a_pass_needs_enter_where_its_lines_hold_every_other_tap(size, rows, steps):
    """Half as many windows a pass.  With one line a pass takes a single tap anyway; four are more than three lines."""
    net = Builder((4, 16, 12), seed=1).conv(4, 8, 1)
    net.conv(8, 8, (rows, 3), group=8, strides=(2, 2), pads=[rows // 2, 1, rows // 2, 1])
    made = planned(quantized(net), rows=size, columns=size, line_buffer=64)
    check_against_golden(made)
    (k,) = (kernel(it.geometry, made.parameters) for it in made.layers if it.groups > 1)
    taps = [[tap for line in range(k.rows.taps) if (tap := k.rows.tap(n, line)) < rows] for n in range(k.rows.count)]
    assert (k.rows.windows_apart == 2 and k.rows.taps > 1) == (steps is not None)
    if steps is not None:
        assert taps == steps
        assert k.windows(0, 8) == 8 + k.rows.taps - 1
