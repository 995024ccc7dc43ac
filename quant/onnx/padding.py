"""Pad in all its modes: zeros, what no maximum takes, the map's own values; fewer rows where pads are negative."""

from __future__ import annotations

import numpy as np

from ..networks.layers import Convolution, FloatLayer, Padding
from ..networks.picking import MOST, pick
from .budget import check_dimensions
from .context import Context
from .file import Attributes, describe, refuse
from .rearranging import Composed
from .view import CHANNELS, MOST_SPREAD

LOWEST = float(np.finfo(np.float32).min)


def pad(context: Context) -> Composed:
    context.data_is_first()
    node, sizes = context.node, context.dimensions
    rank = len(sizes)
    attributes = Attributes(node)
    mode = attributes.text("mode", "constant", "reflect", "edge", "wrap")
    value = attributes.real("value", 0.0)
    amounts = context.integers(attributes, "pads", 11) or []
    order = context.axes(attributes, 18, rank, 3) if context.opset >= 18 else []
    order = order or list(range(rank))
    attributes.finish()
    given = context.constant(2, "value") if context.opset >= 11 else None
    if given is not None and given.size:
        if given.dtype.kind not in "iuf":
            raise refuse(node, f"its value is {given.dtype}; it must be a real number")
        value = float(given.flat[0])
    if mode == "constant" and value != 0 and not value <= LOWEST:
        raise refuse(node, f"pads with {value:g}; only 0 works, and -inf before a MaxPool")
    if len(amounts) != 2 * len(order):
        raise refuse(node, f"pads are {amounts}; there must be two for each of {len(order)} axes")
    before, after = [0] * rank, [0] * rank
    for axis, first, last in zip(order, amounts[: len(order)], amounts[len(order) :], strict=True):
        before[axis], after[axis] = first, last
    grown = tuple(size + first + last for size, first, last in zip(sizes, before, after, strict=True))
    kept = min(size + min(first, 0) + min(last, 0) for size, first, last in zip(sizes, before, after, strict=True))
    if before[0] or after[0] or min(*grown, kept) < 1 or rank == 2:
        raise refuse(node, f"pads are {amounts}; only channels, rows and columns can be padded, of images and signals")
    check_dimensions(describe(node), grown)
    return _padded(context, mode, value, list(zip(before, after, strict=True))), {context.output: context.own(grown)}


def _padded(context: Context, mode: str, value: float, pads: list[tuple[int, int]]) -> list[FloatLayer]:
    """Layers that pad each axis of the dimensions by ``pads``, (before, after)."""
    shape = context.image()
    around = context.along(pads, (0, 0))[CHANNELS:]
    name, operator, source, output = context.name, context.operator, context.current, context.output
    constant = mode == "constant"
    own = [(min(first, 0), min(last, 0)) if constant else (first, last) for first, last in around]
    made: list[FloatLayer] = []
    if any(map(any, own)):
        indices = {n: _indices(context, mode, shape[n], own[n]) for n in range(3) if any(own[n])}
        output = f"{context.output}/cropped" if constant and _positive(around) else context.output
        cropped = f"{name}/cropped" if constant and _positive(around) else name
        try:
            made += pick(cropped, operator, source, output, shape, indices)
        except ValueError as error:
            raise refuse(context.node, f"pads with {error} of evenly spaced values; at most {MOST} work") from error
        source = output
        channels, rows, columns = (size + sum(amount) for size, amount in zip(shape, own, strict=True))
        shape = channels, rows, columns
    if not constant or not _positive(around):
        return made or [Padding(name, operator, (source,), context.output, (0, 0, 0, 0))]
    grown = [(max(first, 0), max(last, 0)) for first, last in around]
    output = context.output
    if any(grown[0]):  # channels of 0
        if value != 0:
            raise refuse(context.node, f"pads the channels with {value:g}; only 0 works there")
        if (values := shape[0] * (shape[0] + sum(grown[0]))) > MOST_SPREAD:
            raise refuse(context.node, f"pads {shape[0]:,} channels, which takes {values:,} weights; too many")
        output = f"{context.output}/channels" if _positive(grown[1:]) else context.output
        weights = np.pad(np.eye(shape[0], dtype=np.float32), (grown[0], (0, 0)))[:, :, None, None]
        bias = np.zeros(len(weights), np.float32)
        made.append(Convolution(f"{name}/channels", "Conv", (source,), output, weights, bias))
        source = output
    if _positive(grown[1:]):
        (top, bottom), (left, right) = grown[1:]
        found = top, left, bottom, right
        made.append(Padding(name, operator, (source,), context.output, found, 0.0 if value == 0 else -np.inf))
    return made


def _positive(around: list[tuple[int, int]]) -> bool:
    return any(max(amounts) > 0 for amounts in around)


def _indices(context: Context, mode: str, length: int, pads: tuple[int, int]) -> list[int]:
    """Of an axis of ``length`` values, those that lie there once it is padded (ONNX Pad-19)."""
    places = range(-pads[0], length + pads[1])
    if mode == "reflect":
        period = max(1, 2 * (length - 1))
        return [min(place % period, period - place % period) for place in places]
    if mode == "wrap":
        return [place % length for place in places]
    return [min(max(place, 0), length - 1) for place in places]  # edge, and what a negative pad takes away
