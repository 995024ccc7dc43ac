"""Cross-layer equalization: every channel of a feature map reaches as far as the others.

A convolution's output channel may be scaled by any positive factor if the layers that read it divide it away again:
Relu, poolings, sums, joins and selections of channels pass it on.  Where a map has few integers, on one grid, a channel
that reaches a tenth as far as the widest has a tenth of them.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019, which balances
the weights of two layers; weights that are learned, with a scale for each output, bear it that maps alone are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ..networks.execute import run_float
from ..networks.layers import (
    INFINITY,
    Addition,
    Average,
    Clamped,
    Concatenation,
    Convolution,
    Extreme,
    FloatGraph,
    Floats,
    Function,
    LocalResponse,
    PixelShuffle,
    Pooling,
    Product,
    Simple,
    Slicing,
    as_float32,
    renamed,
    simple,
)
from ..networks.shapes import shapes
from .sampling import batch_size, some_images
from .settings import Settings
from .widths import has_narrow_maps

QUANTILE = 0.999
"""Of a channel's magnitudes: what it reaches, but for outliers, which a grid of few integers cuts off."""
SMALLEST_SHARE = 1 / 64
"""Of what a map's widest channel reaches: what reaches less is taken to reach so far."""
MOST_IMAGES = 64  # that are looked at
MOST_VALUES = 4096  # of a channel that are looked at, of one image

Places = NDArray[np.intp]


def equalized_if_narrow(network: FloatGraph, images: Mapping[str, Floats], settings: Settings) -> FloatGraph:
    """A simplified ``network`` as ``settings`` want it before its ranges are looked at.

    Its channels are equalized where maps of fewer than 8 bits, on one grid each, would leave some of them few.
    """
    if settings.effort == "fast" or not has_narrow_maps(network, settings):
        return network
    some, size = some_images(network, images), batch_size(network)
    count = min(MOST_IMAGES, len(next(iter(some.values()))))
    starts = range(0, count, size)
    batches = [{name: values[at : min(at + size, count)] for name, values in some.items()} for at in starts]
    return equalized(network, batches)


def equalized(network: FloatGraph, images: Sequence[Mapping[str, Floats]]) -> FloatGraph:
    """A simplified ``network`` that computes the same, all channels that can be scaled reaching equally far.

    images : batches, by input, float32 (N, C, rows, columns)
    Maps that are scaled are renamed, since their values are no longer the model's.
    """
    channels = _Channels(network)
    factors = channels.factors(_reach(network, images, channels))
    layers = []
    for layer in map(simple, network.layers):
        if isinstance(layer, Convolution):
            made, read = factors[channels.of(layer.output)], factors[channels.of(layer.inputs[0])]
            outputs, inputs = layer.weights.shape[:2]
            first = np.arange(outputs) // (outputs // layer.groups) * inputs
            seen = read[first[:, None] + np.arange(inputs)]
            weights = layer.weights * (made[:, None] / seen)[:, :, None, None]
            layer = replace(layer, weights=as_float32(layer, weights), bias=as_float32(layer, layer.bias * made))
        layers.append(layer)
    scaled = [name for name in channels.names if (factors[channels.of(name)] != 1).any()]
    return renamed(network.with_layers(layers), _fresh(scaled, channels.names))


class _Channels:
    """All channels of a network's maps, one after another, and which of them must be scaled alike."""

    def __init__(self, network: FloatGraph) -> None:
        size = shapes(network)
        ends = list(accumulate(count for count, _, _ in size.values()))
        self._places = {name: slice(end - size[name][0], end) for name, end in zip(size, ends, strict=True)}
        self._alike = np.arange(ends[-1])  # the channel that stands for each one's class, or one nearer to it
        self._fixed = np.zeros(ends[-1], np.bool_)
        for name in (*network.inputs, *network.outputs):
            self._fixed[self.of(name)] = True
        for layer in map(simple, network.layers):
            self._add(layer)

    @property
    def names(self) -> list[str]:
        return list(self._places)

    def of(self, name: str) -> slice:
        """The channels of the map ``name``."""
        return self._places[name]

    def factors(self, reach: NDArray[np.float64]) -> NDArray[np.float64]:
        """What to multiply each channel by; ``reach`` is how far each reaches."""
        classes = self._classes()
        floor = np.zeros_like(reach)
        for place in self._places.values():
            floor[place] = reach[place].max() * SMALLEST_SHARE
        most, fixed = np.zeros_like(reach), np.zeros(reach.shape, np.bool_)
        np.maximum.at(most, classes, np.maximum(reach, floor))
        np.logical_or.at(fixed, classes, self._fixed)
        free = ~fixed[classes] & (most[classes] > 0)
        return np.where(free, 1 / np.where(free, most[classes], 1), 1.0)

    def _add(self, layer: Simple) -> None:
        """What ``layer`` says of the channels that it reads and makes."""
        made = np.arange(self.of(layer.output).start, self.of(layer.output).stop)
        read = [np.arange(self.of(name).start, self.of(name).stop) for name in layer.inputs]
        if isinstance(layer, Clamped) and (layer.high != INFINITY or layer.low not in (0, -INFINITY)):
            self._fixed[made] = True
        match layer:
            case Convolution():
                return  # its weights take any factor
            case Pooling() | Average() | Addition() | Extreme():
                pairs = [(made, some) for some in read]
            case Slicing():
                pairs = [(made, read[0][np.array(layer.channels)])]
            case Concatenation() if layer.axis == 1:
                pairs = [(made, np.concatenate(read))]
            case Concatenation():
                pairs = [(made, some) for some in read]
            case Product() | Function() | LocalResponse() | PixelShuffle():
                self._fixed[np.concatenate([made, *read])] = True
                return
            case unknown:
                assert_never(unknown)
        for one, other in pairs:
            for a, b in zip(one, other, strict=True):
                self._alike[self._root(a)] = self._root(b)

    def _root(self, channel: np.intp) -> np.intp:
        while self._alike[channel] != channel:
            self._alike[channel] = channel = self._alike[self._alike[channel]]
        return channel

    def _classes(self) -> Places:
        return np.array([self._root(channel) for channel in np.arange(len(self._alike))])


def _reach(network: FloatGraph, images: Sequence[Mapping[str, Floats]], channels: _Channels) -> NDArray[np.float64]:
    """QUANTILE of each channel's magnitudes, the mean of the batches'."""
    total = np.zeros(channels.of(channels.names[-1]).stop)
    for batch in images:
        for name, values in run_float(network, batch):
            each = np.abs(values).reshape(*values.shape[:2], -1)
            each = each[:, :, :: -(-each.shape[2] // MOST_VALUES)].swapaxes(0, 1).reshape(values.shape[1], -1)
            total[channels.of(name)] += np.quantile(each, QUANTILE, axis=1)
    return total / max(1, len(images))


def _fresh(names: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """A new name for each of ``names``, none of those ``taken``."""
    found: dict[str, str] = {}
    for name in names:
        new = f"{name}_equalized"
        while new in taken or new in found.values():
            new += "_"
        found[name] = new
    return found
