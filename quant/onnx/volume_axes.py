"""The axes of a volume's node: what it does to rows and columns is an image's node; what it does to slices, windows.

A volume is a map whose channels are those of slice after slice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx

from ..graph import Pads, Pair, window_outputs
from . import windowed
from .context import Context
from .file import MOST_PARTS, Array, Attributes, refuse
from .windows import window_pair

OF_EACH_AXIS = ("dilations", "kernel_shape", "output_padding", "output_shape", "strides")
"""Attributes with a value for each axis; ``pads`` have two."""

MOST_TAPS = 2048
"""Slices that the windows of a node may read together: those of a maximum are layers."""

MOST_CHANNELS = 2**22
"""Channels of those slices, which are selected one by one."""

DEPTH, WITHIN = slice(0, 1), slice(1, 3)  # of the axes D, H, W
Taps = tuple[Pair, ...]  # (slice of the input, slice of the kernel)


@dataclass(frozen=True)
class Windows:
    """Windows along ``depth`` slices; ``ceil`` is how far ceil_mode lets the last reach beyond the pad ``after``."""

    depth: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    ceil: int = 0

    def taps(self, context: Context) -> tuple[Taps, ...]:
        """For each window its slices inside.  Raises ModelError, naming the node, if none fits."""
        after = self.after + self.ceil
        count = window_outputs(self.depth, self.kernel, self.stride, self.before, after, self.dilation)
        if count < 1:
            raise refuse(
                context.node,
                f"kernel of {self.kernel} slices is larger than its padded input of {self.depth}; use a deeper volume",
            )
        check_count(context, count)
        read = sum(len(self._within(number, 0, self.depth)) for number in range(count))
        check_taps(context, read)
        return tuple(
            tuple((self._first(number) + tap * self.dilation, tap) for tap in self._within(number, 0, self.depth))
            for number in range(count)
        )

    def counted(self, number: int) -> int:
        """Slices of window ``number`` inside the volume and its pads."""
        return len(self._within(number, -self.before, self.depth + self.after))

    def _first(self, number: int) -> int:
        return number * self.stride - self.before

    def _within(self, number: int, low: int, high: int) -> range:
        """Which of its slices window ``number`` has from slice ``low`` of the volume on and before ``high``."""
        before, end = ((self._first(number) - place) // self.dilation for place in (low, high))
        return range(max(0, -before), min(self.kernel, -end))


def check_count(context: Context, count: int) -> None:
    """Raises ModelError, naming the node, if it makes more slices than there may be layers of it, or none."""
    if count < 1:
        raise refuse(context.node, f"makes {count:,} slices; its pads leave nothing")
    if count > MOST_PARTS:
        raise refuse(context.node, f"makes {count:,} slices; at most {MOST_PARTS:,} work")


def check_taps(context: Context, read: int) -> None:
    """Raises ModelError, naming the node, if its windows ``read`` too many slices together."""
    channels = read * context.dimensions[1]
    if read > MOST_TAPS or channels > MOST_CHANNELS:
        raise refuse(
            context.node,
            f"reads {read:,} slices of {context.dimensions[1]:,} channels in all its windows together; {MOST_TAPS:,}"
            f" slices, {MOST_CHANNELS:,} channels are the most",
        )


def plane_of(context: Context, channels: int = 0, weights: Array | None = None) -> Context:
    """The node on images of as many ``channels`` as all slices have, or those given; ``weights`` are its constant."""
    batch, own, depth, rows, columns = context.dimensions
    made = replace(
        context, node=_cut(context, WITHIN), sizes={context.current: (batch, channels or own * depth, rows, columns)}
    )
    if weights is None:
        return made
    known = {name: context.constants[name] for name in context.node.input if name in context.constants}
    return replace(made, constants={**known, context.node.input[1]: weights})


def depth_of(context: Context, kernel: int) -> tuple[Attributes, int, int]:
    """Attributes of the node along the slices, its stride and its dilation.

    Raises ModelError, naming the node, if its kernel_shape is not of ``kernel`` slices.
    """
    attributes = Attributes(_cut(context, DEPTH))
    (found,) = attributes.integers("kernel_shape", (kernel,), 1)
    if found != kernel:
        raise refuse(context.node, f"kernel_shape has {found} slices, but its weights {kernel}; they must agree")
    (_, stride), (_, dilation) = (window_pair(attributes, name, 1) for name in ("strides", "dilations"))
    return attributes, stride, dilation


def windows_of(context: Context) -> Windows:
    """Windows of a pooling along the slices."""
    batch, _, depth, *_ = context.dimensions
    signal = replace(context, node=_cut(context, DEPTH), sizes={context.current: (batch, 1, depth)})
    found: tuple[Pair, Pair, Pads, Pair, Pair] = windowed.pooling_window(signal, Attributes(signal.node))
    kernel, strides, pads, ceil, dilations = found
    return Windows(depth, kernel[1], strides[1], dilations[1], pads[1], pads[3], ceil[1])


def _cut(context: Context, taken: slice) -> onnx.NodeProto:
    """The node with attributes for some of its three axes only."""
    node, attributes = onnx.NodeProto(), Attributes(context.node)
    node.CopyFrom(context.node)
    del node.attribute[:]
    for item in context.node.attribute:
        if item.name not in (*OF_EACH_AXIS, "pads"):
            node.attribute.append(item)
            continue
        sides = 2 if item.name == "pads" else 1
        values = attributes.integers(item.name, (0,) * 3 * sides, 0)
        kept = [value for side in range(sides) for value in values[3 * side : 3 * side + 3][taken]]
        node.attribute.append(onnx.helper.make_attribute(item.name, kept))
    return node
