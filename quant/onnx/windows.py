"""What ONNX says about windows: auto_pad, ceil_mode and explicit pads all become (top, left, bottom, right)."""

from __future__ import annotations

from ..graph import Pads, Pair, window_outputs
from .file import Attributes, refuse


def window_pair(attributes: Attributes, name: str, spatial: int) -> Pair:
    """``name`` (kernel_shape, strides, dilations; 1 where left out) for (rows, columns); ``spatial`` 1 is one row."""
    found = (1, *attributes.integers(name, (1,) * spatial, 1))
    return found[-2], found[-1]


def pads_of(attributes: Attributes, size: Pair, kernel: Pair, strides: Pair, dilations: Pair, spatial: int = 2) -> Pads:
    """Padding (top, left, bottom, right) of a window over a map of ``size`` (rows, columns): ONNX Conv-22, auto_pad."""
    explicit = attributes.integers("pads", (0,) * (2 * spatial), 0)
    mode = attributes.text("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if mode == "NOTSET":
        before, after = (0, *explicit[:spatial])[-2:], (0, *explicit[spatial:])[-2:]
        return before[0], before[1], after[0], after[1]
    if mode == "VALID":
        return 0, 0, 0, 0
    rows, columns = (
        _same(*axis, upper=mode == "SAME_UPPER") for axis in zip(size, kernel, strides, dilations, strict=True)
    )
    return rows[0], columns[0], rows[1], columns[1]


def _same(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> Pair:
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    less, more = total // 2, total - total // 2
    return (less, more) if upper else (more, less)


def ceil_pads(size: Pair, kernel: Pair, strides: Pair, pads: Pads) -> Pads:
    """``pads`` grown below and right so that the rounded-down outputs are ONNX MaxPool's with ceil_mode.

    A last window that would start in the padding after the map is ignored (ONNX MaxPool-22).
    """
    top, left, bottom, right = pads
    return (
        top,
        left,
        _ceil_after(size[0], kernel[0], strides[0], top, bottom),
        _ceil_after(size[1], kernel[1], strides[1], left, right),
    )


def _ceil_after(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    outputs = -(-(size + before + after - kernel) // stride) + 1
    if (outputs - 1) * stride >= size + before:
        outputs -= 1
    if outputs <= window_outputs(size, kernel, stride, before, after):
        return after
    return (outputs - 1) * stride + kernel - size - before


def transposed_window(
    attributes: Attributes, size: Pair, kernel: Pair, strides: Pair, dilations: Pair, spatial: int
) -> tuple[Pair, Pair]:
    """Pads (top, left) and size (rows, columns) of what a ConvTranspose makes of a map of ``size`` (ONNX -22).

    Raises ModelError where output_padding or output_shape ask for as much behind the last kernel as a stride, or more:
    a larger map would have made that, and ONNX Runtime refuses it.
    """
    explicit = attributes.integers("pads", (0,) * (2 * spatial), 0)
    extra = (0, *attributes.integers("output_padding", (0,) * spatial, 0))[-2:]
    mode = attributes.text("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    wanted = attributes.listed("output_shape")
    before, after = ([0, 0], [0, 0]) if mode == "VALID" else ([0, *explicit[:spatial]], [0, *explicit[spatial:]])
    pads, result = [], []
    for axis in (0, 1):
        extent = dilations[axis] * (kernel[axis] - 1) + 1
        reached = strides[axis] * (size[axis] - 1) + extent
        full = reached + extra[axis]
        asked = [1, *wanted][axis - 2] if wanted and axis >= 2 - spatial else None
        beyond = max(extra[axis], (asked or 0) - reached)
        if beyond >= strides[axis]:
            raise refuse(
                attributes.node,
                f"makes {beyond} places along an axis that no kernel reaches, at a stride of {strides[axis]}; give an "
                "output_padding below the stride, and no larger output_shape",
            )
        if mode.startswith("SAME") and asked is None:
            asked = size[axis] * strides[axis]
        if axis < 2 - spatial or asked is None:
            pads.append(before[axis - 2])
            result.append(full - before[axis - 2] - after[axis - 2])
        else:
            total = max(0, full - asked)
            pads.append(total // 2 if mode == "SAME_UPPER" else total - total // 2)
            result.append(asked)
    return (pads[0], pads[1]), (result[0], result[1])
