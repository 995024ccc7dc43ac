"""Resize and Upsample: nearest values are copies of rows and columns, linear ones weights that repeat."""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

from ..graph import Pair, Shape
from ..networks.layers import (
    Concatenation,
    Convolution,
    FloatLayer,
    TransposedConvolution,
)
from ..networks.picking import AXES, MOST, enlarge, pick
from .budget import INT32, check_dimensions
from .context import Context
from .file import Attributes, check_parts, describe, refuse, shown
from .rearranging import Composed
from .view import ROWS

COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
Places = NDArray[np.float32]


def resize(context: Context) -> Composed:
    """Nearest at any size; linear at whole factors (ONNX Resize-19, as far as it is a selection or fixed weights)."""
    context.data_is_first()
    node, attributes = context.node, Attributes(context.node)
    mode = attributes.text("mode", "nearest", "linear")
    coordinates = "asymmetric"
    rounding = "simple"
    if context.opset >= 11:
        coordinates = attributes.text("coordinate_transformation_mode", *COORDINATES)
        rounding = attributes.text("nearest_mode", *ROUNDINGS)
    if attributes.integer("antialias", 0) and mode == "linear":
        raise refuse(node, "antialias is 1; only 0 works")
    for name in ("cubic_coeff_a", "exclude_outside", "extrapolation_value"):
        attributes.raw(name, None)  # of other modes
    first = 2 if context.opset >= 11 else 1
    return _resized(context, attributes, mode, coordinates, rounding, first)


def upsample(context: Context) -> Composed:
    attributes = Attributes(context.node)
    mode = attributes.text("mode", "nearest", "linear")
    return _resized(context, attributes, mode, "asymmetric", "floor", 1)


def _resized(
    context: Context, attributes: Attributes, mode: str, coordinates: str, rounding: str, index: int
) -> Composed:
    """``index``: of the input ``scales``, behind which comes ``sizes``."""
    node, sizes = context.node, context.dimensions
    scales, after = _scales(context, attributes, coordinates, index)
    attributes.finish()
    if min(after) < 1:
        raise refuse(node, f"resizes {list(sizes)} to {after}; something must be left")
    check_dimensions(describe(node), after)
    shape = context.image()
    images, *whole = context.along(after, 1)
    if (images, whole[0]) != (sizes[0], shape[0]):
        raise refuse(node, f"resizes {list(sizes)} to {after}; only rows and columns can be resized")
    rows, target = context.along(scales, 1.0)[ROWS:], (whole[1], whole[2])
    places = [_places(coordinates, shape[1 + n], target[n], rows[n]) for n in (0, 1)]
    if mode == "nearest":
        made = _nearest(context, shape, [_rounded(p, rounding, s) for p, s in zip(places, rows, strict=True)])
    else:
        made = _linear(context, shape, target, places)
    return made, {context.output: context.own(tuple(after))}


def _scales(context: Context, attributes: Attributes, coordinates: str, index: int) -> tuple[list[float], list[int]]:
    """The factor of each axis, and each axis after it.  ``index`` as in ``_resized``."""
    node, sizes = context.node, context.dimensions
    listed = attributes.raw("scales", None)
    if not isinstance(listed, list | None):
        raise refuse(node, f"scales is {shown(listed)}; it must be a list of numbers")
    scales = np.array(listed, np.float32) if listed else context.constant(index, "scales")
    wanted = context.constant(index + 1, "sizes")
    axes = context.axes(attributes, 99, len(sizes)) if attributes.raw("axes", None) else list(range(len(sizes)))
    policy = attributes.text("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller")
    by_sizes = scales is None or not scales.size
    given = wanted if by_sizes else scales
    if (
        given is None
        or given.ndim != 1
        or len(given) != len(axes)
        or given.dtype.kind not in "iuf"
        or not (given.astype(np.float64) > 0).all()
        or not (given.astype(np.float64) < INT32.stop).all()
    ):
        raise refuse(
            node, f"its scales or sizes must be constants above 0 and of 32 bits, one for each of {len(axes)} axes"
        )
    factors, after = [1.0] * len(sizes), list(sizes)
    if by_sizes and policy != "stretch":  # one factor for all axes, that of the least or the most
        ratios = [value / sizes[axis] for axis, value in zip(axes, given.tolist(), strict=True)]
        factor = min(ratios) if policy == "not_larger" else max(ratios)
        for axis in axes:
            after[axis], factors[axis] = floor(factor * sizes[axis] + 0.5), factor
        return factors, after
    for axis, value in zip(axes, given.tolist(), strict=True):
        if by_sizes:
            after[axis], factors[axis] = int(value), float(np.float32(value) / np.float32(sizes[axis]))
            continue
        length = np.float32(value) * np.float32(sizes[axis])
        after[axis], factors[axis] = floor(length), value
        if length != after[axis] and coordinates == "align_corners":
            raise refuse(
                node,
                f"has align_corners and {length:g} of {sizes[axis]} values, which ONNX and its runtimes take"
                " differently; give sizes in place of scales",
            )
    return factors, after


def _places(coordinates: str, before: int, after: int, scale: float) -> Places:
    """Where each of ``after`` values lies among ``before``, in float32 as ONNX Runtime computes it."""
    x, factor, half = np.arange(after, dtype=np.float32), np.float32(scale), np.float32(0.5)
    if coordinates == "asymmetric":
        return x / factor
    if coordinates == "tf_half_pixel_for_nn":
        return (x + half) / factor
    if coordinates == "align_corners":
        return np.zeros_like(x) if after == 1 else x * np.float32(before - 1) / np.float32(after - 1)
    if coordinates == "pytorch_half_pixel" and after == 1:
        return np.zeros_like(x)
    offset = np.float32(0)
    if coordinates == "half_pixel_symmetric":
        offset = np.float32(before) * half * (np.float32(1) - np.float32(after) / (factor * np.float32(before)))
    return offset + (x + half) / factor - half


def _rounded(places: Places, rounding: str, scale: float) -> list[int]:
    half = np.float32(0.5)
    if rounding == "round_prefer_floor":
        found = np.ceil(places - half)
    elif rounding == "round_prefer_ceil":
        found = np.floor(places + half)
    elif rounding == "ceil" or (rounding == "simple" and scale < 1):  # simple: opset 10
        found = np.ceil(places)
    else:
        found = np.floor(places)
    return [int(place) for place in found]


def _nearest(context: Context, shape: Shape, indices: list[list[int]]) -> list[FloatLayer]:
    """Where an axis becomes a whole number of times as long, its values are repeated by a PixelShuffle."""
    clipped = {n + 1: [min(max(i, 0), shape[1 + n] - 1) for i in found] for n, found in enumerate(indices)}
    block = [1, 1]
    for axis, places in list(clipped.items()):
        times = len(places) // shape[axis]
        if times > 1 and places == [place // times for place in range(shape[axis] * times)]:
            block[axis - 1] = times
            clipped[axis] = list(range(shape[axis]))
    source, made = context.current, []
    name, operator, output = context.name, context.operator, context.output
    repeated = block != [1, 1]
    if not repeated or any(len(clipped[n]) != shape[n] for n in (1, 2)):
        picked = f"{output}/picked" if repeated else output
        try:
            made += pick(f"{name}/picked" if repeated else name, operator, source, picked, shape, clipped)
        except ValueError as error:
            raise refuse(
                context.node,
                f"takes rows or columns in {error} of evenly spaced ones; at most {MOST} work, and any whole factor",
            ) from error
        source = picked
    if repeated:
        before = shape[0], len(clipped[1]), len(clipped[2])
        made += enlarge(name, operator, source, output, before, (block[0], block[1]))
    return made


def _linear(context: Context, shape: Shape, target: Pair, places: list[Places]) -> list[FloatLayer]:
    """Axes whose distances repeat at once, each other one by itself."""
    made: list[FloatLayer] = []
    source, channels = context.current, shape[0]
    size = [shape[1], shape[2]]
    odd = [n for n in (0, 1) if target[n] != size[n] and _repeated(places[n], size[n]) is None]
    rest = [n for n in (0, 1) if n not in odd and target[n] != size[n]]
    for n in odd:
        last = n == odd[-1] and not rest
        output = context.output if last else f"{context.output}/{AXES[1 + n]}"
        made += _one_by_one(context, source, output, (channels, size[0], size[1]), 1 + n, places[n])
        source, size[n] = output, target[n]
    if rest or not made:
        begins = [_repeated(places[n], size[n]) or 0.0 if n in rest else 0.0 for n in (0, 1)]
        made += _repeating(context, source, (channels, size[0], size[1]), target, begins)
    return made


def _repeated(places: Places, length: int) -> float | None:
    """Where the first result lies, if a whole number of them lies at the same distances from every input."""
    times = len(places) // length
    if times * length != len(places) or not -1 < places[0] < 1:
        return None
    begin = float(np.rint(float(places[0]) * 2 * times) / (2 * times))
    even = np.abs(places - (begin + np.arange(len(places)) / times)).max() < 1e-3
    return begin if even else None


def _one_by_one(
    context: Context, source: str, output: str, shape: Shape, axis: int, places: Places
) -> list[FloatLayer]:
    """Rows or columns, each of two neighbours with weights of its own, joined."""
    if len(places) > MOST:
        raise refuse(
            context.node,
            f"interpolates {len(places)} values at distances that all differ; at most {MOST} work, and any at whole"
            " factors without align_corners: export it with align_corners=False, or with mode nearest",
        )
    made: list[FloatLayer] = []
    parts = []
    kernel = (2, 1) if axis == 1 else (1, 2)
    for number, place in enumerate(np.clip(places.astype(np.float64), 0, shape[axis] - 1)):
        first = min(int(place), shape[axis] - 1)
        share = float(place - first)
        part, name = f"{output}/{number}", f"{context.name}/{AXES[axis]}/{number}"
        both = share > 0
        taken = f"{part}/taken" if both else part
        indices = {axis: range(first, first + 1 + both)}
        made += pick(f"{name}/taken" if both else name, context.operator, source, taken, shape, indices)
        if both:
            weights = np.tile(np.array([1 - share, share], np.float32).reshape(1, 1, *kernel), (shape[0], 1, 1, 1))
            zeros = np.zeros(shape[0], np.float32)
            made.append(Convolution(name, "Conv", (taken,), part, weights, zeros, groups=shape[0]))
        parts.append(part)
    made.append(Concatenation(f"{context.name}/{AXES[axis]}", context.operator, tuple(parts), output, axis + 1))
    return made


def _repeating(context: Context, source: str, shape: Shape, target: Pair, begins: list[float]) -> list[FloatLayer]:
    """A transposed depthwise convolution over the map and, where values beyond its edges count, these repeated.

    Its weights along an axis are ``1 - |x|``, x being the distance from the input to the result, in inputs.
    """
    check_parts(context.node, (target[0] // shape[1]) * (target[1] // shape[2]))
    kernels, pads, strides = [], [], []
    edges: dict[int, list[int]] = {}
    for axis, begin in enumerate(begins):
        length, times = shape[1 + axis], target[axis] // shape[1 + axis]
        first = -int(np.ceil((1 + begin) * times)) + 1  # of the results that input 0 counts in, relative to it
        last = int(np.ceil((1 - begin) * times)) - 1
        before, after = int(begin < 0), int(begin + (target[axis] - 1) / times > length - 1)
        kernels.append(1 - np.abs(begin + np.arange(first, last + 1) / times))
        strides.append(times)
        pads.append(times * before - first)
        if before or after:
            edges[axis + 1] = [0] * before + list(range(length)) + [length - 1] * after
    made: list[FloatLayer] = []
    channels = shape[0]
    if edges:
        edged = f"{context.output}/edges"
        made += pick(f"{context.name}/edges", context.operator, source, edged, shape, edges)
        source = edged
    weights = np.multiply.outer(kernels[0], kernels[1]).astype(np.float32)
    made.append(
        TransposedConvolution(
            context.name,
            context.operator,
            (source,),
            context.output,
            np.tile(weights, (channels, 1, 1, 1)),
            np.zeros(channels, np.float32),
            target,
            (strides[0], strides[1]),
            (pads[0], pads[1]),
            groups=channels,
        )
    )
    return made
