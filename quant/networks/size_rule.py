"""The size rule of convolution and pooling: ``(W - F + 2P) / S + 1`` must be whole and positive."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..graph import Pair
from ..graph.errors import ModelError


def window_counts(layer: str, size: Pair, kernel: Pair, stride: int, padding: int) -> Pair:
    """Windows down and across a ``size`` of (rows, columns): ``(W - F + 2P) / S + 1`` of each.

    Raises ModelError, naming ``layer`` and the strides, paddings and input sizes nearest to these that would fit, where
    the windows do not end with the padded input, or one is larger than it.
    Source: CS231n, Convolutional Networks, "Spatial arrangement"; Dumoulin and Visin 2016, relationship 5.
    """
    if fits(size, kernel, stride, padding):
        rows, columns = ((w - f + 2 * padding) // stride + 1 for w, f in zip(size, kernel, strict=True))
        return rows, columns
    raise ModelError(_refusal(layer, size, kernel, stride, padding))


def fits(size: Pair, kernel: Pair, stride: int, padding: int) -> bool:
    """Whether the rule gives a whole number of windows, at least one, down and across."""
    spans = [w - f + 2 * padding for w, f in zip(size, kernel, strict=True)]
    return all(span >= 0 and span % stride == 0 for span in spans)


def _refusal(layer: str, size: Pair, kernel: Pair, stride: int, padding: int) -> str:
    wrong = 1 if not fits((size[1],) * 2, (kernel[1],) * 2, stride, padding) else 0
    what, w, f = ("rows", "columns")[wrong], size[wrong], kernel[wrong]
    found = (w - f + 2 * padding) / stride + 1
    advice = [
        _advice("stride", stride, range(1, max(size) + 2 * padding + 1), lambda s: fits(size, kernel, s, padding)),
        _advice("padding", padding, range(max(kernel)), lambda p: fits(size, kernel, stride, p)),
        _inputs(size, kernel, stride, padding),
    ]
    return (
        f"{layer}: {w} {what} with a {kernel[0]}x{kernel[1]} kernel, stride {stride} and padding {padding} give"
        f" ({w} - {f} + {2 * padding})/{stride} + 1 = {found:.4g}; {', '.join(filter(None, advice))} would fit"
    )


def _advice(what: str, now: int, candidates: Iterable[int], fit: Callable[[int], bool]) -> str:
    """The nearest fitting values below and above ``now``, or nothing."""
    near = _nearest(now, [value for value in candidates if fit(value)])
    return f"{what} {' or '.join(map(str, near))}" if near else ""


def _inputs(size: Pair, kernel: Pair, stride: int, padding: int) -> str:
    """The nearest inputs at most and at least as large, both sides of which fit."""
    sides = []
    for w, f in zip(size, kernel, strict=True):
        good = [v for v in range(1, w + f + stride) if fits((v, v), (f, f), stride, padding)]
        near = _nearest(w, good)
        sides.append((near[0], near[-1]))
    pairs = dict.fromkeys(zip(*sides, strict=True))
    return f"or an input of {' or '.join(f'{rows}x{columns}' for rows, columns in pairs)}"


def _nearest(now: int, good: list[int]) -> list[int]:
    """``now`` if it is good, else the nearest below and above it."""
    if now in good:
        return [now]
    below, above = [v for v in good if v < now], [v for v in good if v > now]
    return below[-1:] + above[:1]
