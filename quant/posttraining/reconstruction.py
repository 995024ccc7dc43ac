"""The float network and the quantized one side by side on some images, layer by layer, as the latter comes to be.

So each layer learns its integers from what it will read, errors of the layers before included (as Y. Li et al.,
"BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", 2021, does by block).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..graph import FeatureMap, Tensor
from ..networks.execute import compute, windows_of
from ..networks.layers import INFINITY, Convolution, FloatGraph, Floats, Simple
from .learned import Samples
from .weights import QuantizedWeights

POSITIONS = 8192  # of a layer's outputs that it learns from


class Reconstruction:
    """Tensors of both networks on the same images, while somebody still reads them.

    images : float32, (N, C, rows, columns), by input
    """

    def __init__(self, network: FloatGraph, images: Mapping[str, Floats], seed: int) -> None:
        self._left = Counter(name for layer in network.layers for name in layer.inputs)
        self._random = np.random.default_rng(seed)
        self._floats = dict(images)
        self._quantized: dict[str, Floats] = {}
        self._sums: dict[str, Floats] = {}  # what a convolution makes before its activation function, until it is made

    def start(self, name: str, source: Tensor) -> None:
        """The input ``name`` is quantized to ``source``."""
        self._quantized[name] = on_grid(self._floats[name], source)

    def samples(self, layer: Convolution) -> Samples:
        """What ``layer`` reads, quantized, and should make, at POSITIONS of its outputs or all."""
        plain = replace(layer, low=-INFINITY, high=INFINITY)
        exact = self._sums[layer.output] = compute(plain, [self._floats[layer.inputs[0]]])
        count, outputs, rows, columns = exact.shape
        places = np.arange(count * rows * columns)
        if len(places) > POSITIONS:
            places = np.sort(self._random.choice(len(places), POSITIONS, replace=False))
        overlap = max(1.0, math.prod(layer.weights.shape[2:]) / math.prod(layer.strides))  # windows that share a value
        where = np.unravel_index(places, (count, rows, columns))
        made = exact[where[0], :, where[1], where[2]]
        seen = windows_of(layer, self._quantized[layer.inputs[0]])[where[0], :, where[1], where[2]]
        return Samples(
            seen.reshape(len(places), layer.groups, -1).swapaxes(0, 1),
            made.reshape(len(places), layer.groups, outputs // layer.groups).swapaxes(0, 1),
            count,
            len(places) / (1 + (overlap - 1) * len(places) / exact[:, 0].size),
        )

    def made(self, layer: Simple, target: Tensor, integers: QuantizedWeights | None, source: FeatureMap) -> None:
        """``layer``, with ``integers`` if it has weights, makes ``target``; ``source`` is what it reads first."""
        self._floats[layer.output] = self._made_in_float(layer)
        rounded: Simple = layer
        if isinstance(layer, Convolution) and integers is not None:
            weights = (integers.weights * integers.scales[:, None, None, None]).astype(np.float32)
            bias = (integers.bias * (np.float64(source.scale) * integers.scales)).astype(np.float32)
            rounded = replace(layer, weights=weights, bias=bias)
        values = compute(rounded, [self._quantized[name] for name in layer.inputs])
        self._quantized[layer.output] = on_grid(values, target)
        for name in layer.inputs:
            self._left[name] -= 1
            if not self._left[name]:
                self._floats.pop(name, None)
                self._quantized.pop(name, None)

    def _made_in_float(self, layer: Simple) -> Floats:
        if isinstance(layer, Convolution) and layer.output in self._sums:
            return np.clip(self._sums.pop(layer.output), np.float32(layer.low), np.float32(layer.high))
        return compute(layer, [self._floats[name] for name in layer.inputs])


def on_grid(values: Floats, target: Tensor) -> Floats:
    """What the integers of ``target`` nearest to ``values`` stand for; raw sums are left as they are."""
    if not isinstance(target, FeatureMap):
        return values
    steps = np.rint(values / target.scale)
    np.clip(steps, target.low - target.zero_point, target.high - target.zero_point, out=steps)
    return np.asarray(steps * target.scale, np.float32)
