"""Layers of the quantized graph that put integers elsewhere and leave them as they are."""

from __future__ import annotations

from dataclasses import dataclass

Steps = tuple[int, int, int]
"""(first, step, count) of rows or columns."""


@dataclass(frozen=True)
class Selection:
    """``y[c, h, w] = x[channels[c], rows[h], columns[w]]``: a crop, a strided slice, a part, channels in another order.

    rows, columns : (first, step, count), step at least 1.  Input and output share scale and zero point.

    Channels that are not evenly spaced, ascending, come with whole rows and columns: each is one ONNX node.
    """

    name: str
    input: str
    output: str
    channels: tuple[int, ...]
    rows: Steps
    columns: Steps

    operator = "Selection"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)

    @property
    def spacing(self) -> int:
        """Channels from one to the next, at least 1; 0 if they are not evenly spaced."""
        gaps = {after - before for before, after in zip(self.channels, self.channels[1:], strict=False)} or {1}
        return max(gaps) if len(gaps) == 1 and min(gaps) > 0 else 0


@dataclass(frozen=True)
class DepthToSpace:
    """Channels side by side become rows and columns: ONNX DepthToSpace-13, mode DCR, with a block that may be oblong.

        y[c, h * block[0] + i, w * block[1] + j] = x[(i * block[1] + j) * outputs + c, h, w],  outputs = channels of y

    block : (rows, columns).  Input and output share scale and zero point.
    """

    name: str
    input: str
    output: str
    block: tuple[int, int]

    operator = "DepthToSpace"

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,)
