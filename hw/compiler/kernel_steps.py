"""How the array walks through a kernel: the passes along its rows and columns, and what each takes of the source."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from ..isa.parameters import LINE_LATENCY, Parameters
from .geometry import Geometry
from .packing import packing_fields, pass_cycles
from .span import Span

LONGEST_STEP = 255
"""Rows from one step along the kernel's rows to the next that an instruction can say."""


@dataclass(frozen=True)
class Steps:
    """Passes along one axis of the kernel.

    count : passes;  step : source rows or columns from one's first tap to the next's
    taps : of the kernel, that one pass takes, at most;  spacing : source rows or columns from tap to tap of a pass
    dilation : from tap to tap of the kernel, of ``size`` taps;  stride : from result to result
    windows_apart : from window to window of a pass
    phases : passes that one after the other take the same taps, for columns of their own
    """

    count: int
    step: int
    taps: int
    spacing: int
    dilation: int
    size: int
    stride: int
    windows_apart: int
    phases: int = 1

    @property
    def reach(self) -> int:
        """Windows from that of the first to that of the last tap of one pass."""
        return (self.taps - 1) * self.spacing // self.windows_apart

    @property
    def span(self) -> int:
        """Source rows or columns from the kernel's first tap to its last, and one."""
        return (self.size - 1) * self.dilation + 1

    def tap(self, step: int, number: int) -> int:
        """Which of the kernel's taps is that of this ``number`` in a pass; ``size`` or more is none."""
        return (step // self.phases * self.step + number * self.spacing) // self.dilation

    def reaching(self, steps: Span) -> Span:
        """Source rows or columns, half open, from the result's first tap on, that ``steps`` take."""
        first, last = (steps[0] // self.phases) * self.step, (ceil(steps[1] / self.phases) - 1) * self.step
        return first, min(last + (self.taps - 1) * self.spacing + 1, self.span)

    def sources(self, results: Span, steps: Span, pad: int) -> Span:
        """Source rows or columns, half open, that ``steps`` take for ``results``."""
        first, last = self.reaching(steps)
        return results[0] * self.stride - pad + first, (results[1] - 1) * self.stride - pad + last


def sliding(size: int, taps: int, dilation: int, stride: int, phases: int = 1) -> Steps:
    """Steps of a kernel of ``size`` taps, as many as ``taps`` at once: these share windows, so all of them enter."""
    taps = min(taps, size)
    apart = 1 if taps > 1 else stride
    return Steps(ceil(size / taps) * phases, taps * dilation, taps, dilation, dilation, size, stride, apart, phases)


def striding(size: int, taps: int, stride: int) -> Steps | None:
    """A step for each remainder of taps divided by the stride: only the windows that these meet enter.  None if they
    are more than ``taps``, or where it is the same as ``sliding``.
    """
    most = ceil(size / stride)
    if stride == 1 or most == 1 or most > taps:
        return None
    return Steps(stride, 1, most, stride, 1, size, stride, stride)


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


def depthwise(g: Geometry, p: Parameters) -> list[Kernel]:
    """As many taps of a kernel row, and kernel rows, as a column of the array holds, in all ways; none where it cannot.

    Columns that share a multiplier see one channel: they take turns, each in windows that begin a channel later.
    """
    if not p.line_buffer or not g.on_array or g.groups == 1 or g.inputs != 1 or g.outputs != g.groups:
        return []
    if g.dilations[1] >= p.line_taps or p.kernel_lines * g.dilations[0] > LONGEST_STEP:
        return []
    rows = [sliding(g.kernel[0], p.kernel_lines, g.dilations[0], g.strides[0])]
    if g.dilations[0] == 1 and (steps := striding(g.kernel[0], p.kernel_lines, g.strides[0])):
        rows.append(steps)
    taps, phases = (p.line_taps - 1) // g.dilations[1] + 1, p.columns_per_multiplier
    if phases > 1 and taps < g.kernel[1]:
        return []
    columns = sliding(g.kernel[1], taps, g.dilations[1], g.strides[1], phases)
    return [Kernel(steps, columns, depthwise=True) for steps in rows]


@lru_cache(maxsize=1024)
def kernel(g: Geometry, p: Parameters) -> Kernel:
    """The way that takes fewer cycles for the whole map, weights included."""
    widths = [n + 1 for n in range(g.convolved[2])]
    others = [k for k in depthwise(g, p) if any(lines_fit(k, k.windows(1, width), p) for width in widths)]
    return min([plain(g), *others], key=lambda k: _cycles(g, p, k))


def line_delay(k: Kernel, columns: int, p: Parameters) -> int:
    """Cycles from a line to the next, less its memory's own, with ``columns`` columns of windows."""
    return columns * _rows_apart(k) + p.line_taps - LINE_LATENCY


def _rows_apart(k: Kernel) -> int:
    """Rows of windows from a line's to the next line's."""
    return k.rows.spacing // k.rows.windows_apart


def lines_fit(k: Kernel, columns: int, p: Parameters) -> bool:
    """Whether the line buffer is as long as that, and shows the second line before a pass needs it."""
    if k.rows.taps == 1:
        return True
    return columns * _rows_apart(k) >= p.line_taps - 2 and line_delay(k, columns, p) < p.line_buffer


def _cycles(g: Geometry, p: Parameters, k: Kernel) -> int:
    return k.rows.count * k.columns.count * max(k.pass_windows(g.convolved[1:]), pass_cycles(g, p))


def pass_fields(g: Geometry, k: Kernel, columns: int, p: Parameters) -> dict[str, int]:
    """Of PACKED_PASSES, how many rows a word of weights carries, and of a depthwise pass with ``columns`` columns of
    windows, that not all of them give results.
    """
    if not k.depthwise:
        return packing_fields(g, p)
    down, across = k.rows, k.columns
    return {
        **packing_fields(g, p),
        "depthwise": 1,
        "delay": line_delay(k, columns, p) if down.taps > 1 else 1,
        "skip": down.reach,
        "row_stride": down.stride // down.windows_apart - 1,
        "column_stride": across.stride // across.windows_apart - 1,
        "tail": across.reach,
    }
