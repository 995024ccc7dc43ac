"""What a quantized model's tensors are while it is read: integers that a Q made, or reals that no Q has ended yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..graph import LARGEST_WEIGHT, Conv, FeatureMap, Pads, Shape, Sums
from ..graph.errors import ModelError
from ..networks.layers import INFINITY, Affine, Average, FloatLayer, Moving, Padding, as_float32
from ..onnx.budget import INT32
from .lookup import Lookup

FINEST = 2.0**-16  # of an output's step: where a bias that ONNX Runtime keeps in float is rounded, or finer
REPORTED = 2.0**-4  # of an output's step: what a bias may change by without a word

Wide = NDArray[np.float64]


@dataclass(frozen=True)
class Integers:
    """A map's integers; ``alone`` says that exactly one node reads them."""

    map: FeatureMap
    kind: str
    alone: bool


@dataclass(frozen=True, eq=False)
class Weighted:
    """A convolution whose bias is real: ``bias`` (outputs,) float64, in steps of its sums; ``conv`` has none.

    ``exact`` says that ONNX Runtime computes with the real bias; else it rounds that to the steps, and so do we.
    """

    conv: Conv
    bias: Wide
    exact: bool = False


@dataclass(frozen=True, eq=False)
class Reals:
    """``layer`` over ``sources``, then clamped to low..high by the node ``function``, then moved by ``moves``.

    layer : None for the reals of one map, and, without sources, for the model's input
    sources : reals only for a concatenation, each of which its Q ends
    shape : of what the layer makes, before it is moved
    moves : poolings, slices, ...; a Q commutes with them, and so with the clamp, wherever it stands among them
    alone : nobody else reads the source map;  name : of the model's input, if it is that
    """

    layer: Weighted | FloatLayer | Lookup | None
    sources: tuple[Reals | FeatureMap, ...]
    shape: Shape
    low: float = -INFINITY
    high: float = INFINITY
    function: str = ""
    moves: tuple[Moving, ...] = ()
    alone: bool = True
    name: str = ""

    @property
    def clamped(self) -> bool:
        return (self.low, self.high) != (-INFINITY, INFINITY)

    @property
    def map(self) -> FeatureMap | None:
        """The map whose reals these are, if nothing has changed them."""
        if self.layer is not None or self.clamped or self.moves or not self.sources:
            return None
        (source,) = self.sources
        assert isinstance(source, FeatureMap)
        return source


Value = Integers | Reals


def reals_of(source: FeatureMap, alone: bool = False) -> Reals:
    """The reals that the integers of ``source`` stand for."""
    return Reals(None, (source,), source.shape, alone=alone)


def maps_of(value: Reals) -> tuple[FeatureMap, ...]:
    """The maps that a layer reads which is no concatenation."""
    found = tuple(source for source in value.sources if isinstance(source, FeatureMap))
    assert len(found) == len(value.sources)
    return found


def on_map(value: Value, before: FeatureMap, after: FeatureMap) -> Value:
    """``value`` with ``after`` in the place of the map ``before``, which no layer has read."""
    if isinstance(value, Integers):
        return replace(value, map=after) if value.map is before else value
    return replace(value, sources=(after,), shape=after.shape) if value.sources == (before,) else value


def mean_of(value: Value) -> FeatureMap | None:
    """The map of which ``value`` is the mean of each channel; None if it is something else."""
    if not isinstance(value, Reals) or not isinstance(value.layer, Average) or value.clamped or value.moves:
        return None
    (source,) = maps_of(value)
    return source if value.layer.kernel == source.shape[1:] and not any(value.layer.pads) else None


def zeros_around(value: Value) -> Pads | None:
    """The zeros that a Pad put around a map, (top, left, bottom, right), if that is all that ``value`` is."""
    if not isinstance(value, Reals) or not isinstance(value.layer, Padding) or value.clamped or value.moves:
        return None
    return value.layer.pads


def scaled(layer: Weighted, source: FeatureMap, by: Affine, exact: bool) -> Weighted:
    """``by.scale[c] * y[c] + by.shift[c]`` of the real output y of ``layer`` over ``source``."""
    weights, signs = layer.conv.weights, np.sign(by.scale)
    steps = np.float64(source.scale) * layer.conv.weight_scales
    scales = as_float32(by, np.where(signs, layer.conv.weight_scales * np.abs(by.scale), layer.conv.weight_scales))
    conv = replace(layer.conv, weights=weights * signs.astype(np.int16)[:, None, None, None], weight_scales=scales)
    with np.errstate(all="ignore"):
        bias = (layer.bias * steps * by.scale + by.shift) / (np.float64(source.scale) * scales)
    return Weighted(conv, bias, exact)


def by_channel(layer: Affine | Padding, source: FeatureMap) -> Weighted:
    """A convolution that leaves each channel of ``source`` as it is, to be ``scaled`` or padded."""
    channels = source.shape[0]
    ones = np.ones((channels, 1, 1, 1), np.int16)
    conv = Conv(
        layer.name,
        "Conv",
        source.name,
        "",
        ones,
        np.ones(channels, np.float32),
        np.zeros(channels, np.int64),
        groups=channels,
    )
    return Weighted(conv, np.zeros(channels))


def finished(layer: Weighted, source: FeatureMap, target: FeatureMap) -> Conv:
    """``layer``, which makes ``target``, with its bias in integers.

    Where ONNX Runtime does not round the bias, weights are made 2**n times larger, and their scale smaller, until it
    hardly matters: as far as 16 bits and int32 sums go.  What changes by more than REPORTED of a step is logged.
    Raises ModelError if the bias does not fit int32.
    """
    conv, bias = layer.conv, layer.bias
    reach = max(abs(source.low - source.zero_point), abs(source.high - source.zero_point))
    if not np.abs(np.rint(bias)).max(initial=0) <= INT32[-1]:
        raise ModelError(
            f"layer '{conv.name}': its bias does not fit int32 at the scale of its sums; use larger weight scales"
        )
    sums = np.abs(conv.weights).sum(axis=(1, 2, 3), dtype=np.int64) * reach + np.abs(bias)
    each = np.float64(source.scale) * conv.weight_scales / np.float64(target.scale)
    factors = np.ones(len(bias), np.int64)
    if layer.exact:
        factors = _factors(bias, each, np.abs(conv.weights).max(axis=(1, 2, 3), initial=0), sums)
    steps = np.rint(bias * factors)
    changed = np.abs(bias - steps / factors) * each
    worst = int(np.argmax(changed))
    if changed[worst] > REPORTED:
        logging.getLogger(__name__).warning(
            "layer '%s': its float bias is rounded to the scale of its sums; that changes its output by up to %.2g"
            " steps, in channel %d",
            *(conv.name, changed[worst], worst),
        )
    return replace(
        conv,
        weights=(conv.weights * factors[:, None, None, None]).astype(np.int16),
        weight_scales=(conv.weight_scales / factors).astype(np.float32),
        bias=steps.astype(np.int64),
    )


def handed_out(layer: Weighted, source: FeatureMap, name: str, shape: Shape) -> tuple[Conv, Sums]:
    """``layer`` as the last, which no Q ends: sums, to which the host adds a bias that is no integer of theirs."""
    scales = source.scale * layer.conv.weight_scales
    if not np.isfinite(layer.bias).all():
        raise ModelError(f"layer '{layer.conv.name}': the scale of its sums is 0 as float32; use larger scales")
    steps = np.rint(layer.bias)
    exact = np.abs(steps - layer.bias) <= 1e-6 * np.abs(steps)  # up to a float32's rounding
    if exact.all() and np.abs(steps).max(initial=0) <= INT32[-1]:
        return replace(layer.conv, bias=steps.astype(np.int64)), Sums(name, shape, scales)
    shifts = layer.bias * (np.float64(source.scale) * layer.conv.weight_scales)
    if not np.abs(shifts).max() <= np.finfo(np.float32).max:
        raise ModelError(f"layer '{layer.conv.name}': its bias is beyond float32; rescale the model's weights")
    return layer.conv, Sums(name, shape, scales, shifts.astype(np.float32))


def _factors(bias: Wide, each: Wide, largest: NDArray[np.int16], sums: Wide) -> NDArray[np.int64]:
    """For each channel the smallest power of two that makes rounding ``bias`` times it matter less than FINEST.

    each : what a step of the sums is to the output;  largest : weight;  sums : largest magnitude of each channel's
    """
    factors = np.ones(len(bias), np.int64)
    for _ in range(15):
        coarse = np.abs(bias * factors - np.rint(bias * factors)) * each > FINEST * factors
        fits = (largest * factors * 2 <= LARGEST_WEIGHT) & (sums * factors * 2 < INT32[-1])
        factors = np.where(coarse & fits, 2 * factors, factors)
    return factors
