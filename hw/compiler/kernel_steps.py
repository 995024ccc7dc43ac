"""How the array walks through a kernel: the passes along its rows and columns, and what each takes of the source."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from ..isa.parameters import LINE_LATENCY, Parameters
from .geometry import Geometry
from .span import Span

LONGEST_STEP = 255
"""Rows from one step along the kernel's rows to the next that an instruction can say."""


@dataclass(frozen=True)
class Steps:
    """Passes along one axis of the kernel.

    count : passes;  step : source rows or columns from one to the next
    taps : of the kernel, that one pass takes, but for the last;  dilation : source rows or columns from tap to tap
    stride : source rows or columns from result to result;  size : the kernel's taps
    phases : passes that one after the other take the same taps, for columns of their own
    windows_apart : source rows or columns from window to window of a pass: every one if taps share windows
    """

    count: int
    taps: int
    dilation: int
    stride: int
    size: int
    phases: int = 1

    @property
    def step(self) -> int:
        return self.taps * self.dilation

    @property
    def windows_apart(self) -> int:
        return 1 if self.taps > 1 else self.stride

    @property
    def reach(self) -> int:
        """Source rows or columns from the first to the last tap of one pass."""
        return (self.taps - 1) * self.dilation

    def reaching(self, steps: Span) -> Span:
        """Source rows or columns, half open, from the result's first tap on, that ``steps`` take."""
        first, last = steps[0] // self.phases, ceil(steps[1] / self.phases)
        return first * self.step, (min(last * self.taps, self.size) - 1) * self.dilation + 1

    def sources(self, results: Span, steps: Span, pad: int) -> Span:
        """Source rows or columns, half open, that ``steps`` take for ``results``."""
        first, last = self.reaching(steps)
        return results[0] * self.stride - pad + first, (results[1] - 1) * self.stride - pad + last


def sliding(size: int, taps: int, dilation: int, stride: int, phases: int = 1) -> Steps:
    """Steps of a kernel of ``size`` taps, as many as ``taps`` at once."""
    return Steps(ceil(size / taps) * phases, min(taps, size), dilation, stride, size, phases)


@dataclass(frozen=True)
class Kernel:
    """Both axes; ``depthwise``: each column of the array convolves a channel of its own."""

    rows: Steps
    columns: Steps
    depthwise: bool

    def windows(self, axis: int, results: int) -> int:
        """Rows, or columns, of windows in a pass for ``results`` rows or columns of results."""
        it = (self.rows, self.columns)[axis]
        return (results - 1) * (it.stride // it.windows_apart) + it.reach + 1

    def pass_windows(self, results: tuple[int, ...]) -> int:
        """Windows in a pass for (rows, columns) of results: its cycles, if the weights are there."""
        return self.windows(0, results[0]) * self.windows(1, results[1])


def plain(g: Geometry) -> Kernel:
    """A tap a pass, or where windows take whole pixels, a kernel row."""
    columns = 1 if g.whole_pixels else g.kernel[1]
    rows = sliding(g.kernel[0], 1, g.dilations[0], g.strides[0])
    return Kernel(rows, sliding(columns, 1, g.dilations[1], g.strides[1]), depthwise=False)


def depthwise(g: Geometry, p: Parameters) -> Kernel | None:
    """As many taps of a kernel row, and kernel rows, as a column of the array holds; None where it cannot.

    Columns that share a multiplier see one channel: they take turns, the second in windows that begin a channel later.
    """
    if not p.line_buffer or not g.on_array or g.groups == 1 or g.inputs != 1 or g.outputs != g.groups:
        return None
    if g.dilations[1] >= p.line_taps or p.kernel_lines * g.dilations[0] > LONGEST_STEP:
        return None
    rows = sliding(g.kernel[0], p.kernel_lines, g.dilations[0], g.strides[0])
    taps, phases = (p.line_taps - 1) // g.dilations[1] + 1, 2 if p.paired else 1
    if phases > 1 and taps < g.kernel[1]:
        return None
    return Kernel(rows, sliding(g.kernel[1], taps, g.dilations[1], g.strides[1], phases), depthwise=True)


@lru_cache(maxsize=1024)
def kernel(g: Geometry, p: Parameters) -> Kernel:
    """The way that takes fewer cycles for the whole map, weights included."""
    usual, other = plain(g), depthwise(g, p)
    if other is None or not any(lines_fit(other, other.windows(1, n + 1), p) for n in range(g.convolved[2])):
        return usual
    return min(usual, other, key=lambda k: _cycles(g, p, k))


def line_delay(k: Kernel, columns: int, p: Parameters) -> int:
    """Cycles from a line to the next, less its memory's own, with ``columns`` columns of windows."""
    return columns * k.rows.dilation + p.line_taps - LINE_LATENCY


def lines_fit(k: Kernel, columns: int, p: Parameters) -> bool:
    """Whether the line buffer is as long as that, and shows the second line before a pass needs it."""
    if k.rows.taps == 1:
        return True
    return columns * k.rows.dilation >= p.line_taps - 2 and line_delay(k, columns, p) < p.line_buffer


def _cycles(g: Geometry, p: Parameters, k: Kernel) -> int:
    return k.rows.count * k.columns.count * max(k.pass_windows(g.convolved[1:]), p.pass_cycles)


def depthwise_fields(k: Kernel, columns: int, p: Parameters) -> dict[str, int]:
    """Of PASSES, what tells a pass with ``columns`` columns of windows that not all of them give results."""
    if not k.depthwise:
        return {}
    down, across = k.rows, k.columns
    return {
        "depthwise": 1,
        "delay": line_delay(k, columns, p) if down.taps > 1 else 1,
        "skip": down.reach,
        "row_stride": down.stride // down.windows_apart - 1,
        "column_stride": across.stride // across.windows_apart - 1,
        "tail": across.reach,
    }
