"""What a model may ask for: numbers read from a file are held against this before anything is allocated by them.

Else a file of some hundred bytes could ask for terabytes.  ``docs/quantization.md`` says what it means for a user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod

from ..graph import AveragePool, Conv, Layer, MaxPool, Normalization, Shape
from ..graph.errors import ModelError
from ..networks.layers import (
    Average,
    Convolution,
    FloatLayer,
    LocalResponse,
    Pooling,
    TransposedConvolution,
    VolumeConvolution,
)
from ..networks.shapes import LONGEST

BUDGET = 2**30
"""Bytes that a model may take, beyond its own file, while it is read or computed on one image."""

LARGEST_FILE = 2**30
"""Bytes of a model's file, and of the files that hold its external data together."""

CONSTANT_BYTES = 32  # for a value computed at import: its eight, and those of what it is computed from and with
WINDOW_BYTES = 8  # for an element of a matrix of windows, which golden may hold in float64
MAP_BYTES = 4  # for a value of a feature map that is needed later, float32
MADE_BYTES = 40  # for a value of the map being made: functions and histograms compute in float64, in a few steps
INT32 = range(-(2**31), 2**31)


class Budget:
    """Counts the values that are computed at import: constants, and the weights of layers.

    ``stored`` is what the file holds of them, in bytes: a large one may have four values for each byte, so that weights
    of four bits can be unpacked, and all of them transposed or converted.
    """

    def __init__(self) -> None:
        self.stored = self.spent = 0

    def spend(self, what: str, values: int) -> None:
        """Count ``values`` more.  Raises ModelError, beginning with ``what``, if that is beyond the limit."""
        limit = max(BUDGET // CONSTANT_BYTES, 4 * self.stored)
        if self.spent + values > limit:
            before = f" after {self.spent:,} before" if self.spent else ""
            raise ModelError(
                f"{what}: takes {values:,} values{before}; constants and weights of a file of this size may have"
                f" {limit:,} together"
            )
        self.spent += values


def check_dimensions(what: str, dimensions: Iterable[int], value_bytes: int = MAP_BYTES + MADE_BYTES) -> None:
    """Raises ModelError, beginning with ``what``, if a map of these ``dimensions``, N first, exceeds the budget, or has
    nothing in it.

    value_bytes : what a value takes; by default of a map that is made
    """
    found = list(dimensions)
    if any(size not in INT32 for size in found) or prod(found[1:]) * value_bytes > BUDGET:
        raise ModelError(
            f"{what}: has shape {found}; {BUDGET // value_bytes:,} values an image are the most, and 32 bits a size"
        )
    if min(found, default=1) < 1:
        raise ModelError(f"{what}: has shape {found}; every size must be at least 1")
    if max([*found, prod(found[1:-2])]) > LONGEST:  # the product: a volume's channels, of all slices
        raise ModelError(f"{what}: has shape {found}; an axis may have {LONGEST:,} values at most")


def check_memory(sources: Iterable[str], layers: Iterable[Layer | FloatLayer], sizes: Mapping[str, Shape]) -> None:
    """Raises ModelError, naming the layer, where one image would take more than the budget.

    layers : in execution order;  sizes : of every tensor by name, those of the inputs ``sources`` included
    """
    layers = list(layers)
    left = Counter(name for layer in layers for name in layer.inputs)
    alive = set(sources)
    for layer in layers:
        alive.add(layer.output)
        kept = MAP_BYTES * sum(prod(sizes[name]) for name in alive)
        made = MADE_BYTES * prod(sizes[layer.output])
        needed = kept + max(made, WINDOW_BYTES * window_values(layer, sizes))
        if needed > BUDGET:
            raise ModelError(
                f"layer '{layer.name}' ({layer.operator}): its maps and windows take {needed / 2**20:,.0f} MiB for one"
                f" image; {BUDGET // 2**20:,} MiB is the most, so use smaller images or fewer channels"
            )
        left.subtract(layer.inputs)
        alive -= {name for name in layer.inputs if not left[name]}


def weights_of(layer: FloatLayer) -> int:
    """Weights of ``layer``, and of the layers that become of it; 0 if it has none."""
    if isinstance(layer, VolumeConvolution):
        each: int = layer.plane.weights.size // layer.slices
        return each * sum(len(taps) for taps in layer.taps)
    return int(layer.weights.size) if isinstance(layer, Convolution | TransposedConvolution) else 0


def window_values(layer: Layer | FloatLayer, sizes: Mapping[str, Shape]) -> int:
    """Elements of the padded input of ``layer`` and of all its windows, for one image; 0 if it has no windows."""
    channels, rows, columns = sizes[layer.inputs[0]]
    if isinstance(layer, VolumeConvolution):  # slice by slice
        return layer.plane.groups * prod(layer.plane.weights.shape[1:]) * prod(sizes[layer.output][1:])
    if isinstance(layer, Normalization | LocalResponse):
        return layer.size * channels * rows * columns
    if not isinstance(layer, Conv | Convolution | Pooling | MaxPool | Average | AveragePool):
        return 0
    kernel = layer.weights.shape[2:] if isinstance(layer, Conv | Convolution) else layer.kernel
    top, left, bottom, right = layer.pads
    padded = (rows + top + bottom) * (columns + left + right)
    return channels * (padded + prod(kernel) * prod(sizes[layer.output][1:]))
