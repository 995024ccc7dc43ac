"""The plots of a report as SVG to stand inside HTML: a timeline of the four units, and the roofline of the layers."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from .facts import UNITS, LayerRow
from .timeline import (
    Bar,
    Interval,
    bars,
    busy_share,
)

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Paul Tol's "bright"
INK, FAINT = "#333333", "#dddddd"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "systolith",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": "#999999",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "path.simplify": False,
}
OFFSETS = ((9, "left"), (-9, "right"))
NAMES = {"vector": "vector unit"}


def timeline(found: Mapping[str, Sequence[Interval]], layers: Sequence[LayerRow], span: int) -> str:
    """When the loader, array, vector unit and storer are busy in 0 .. ``span`` cycles, a colour for each layer."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.1), layout="constrained")
        axes = figure.subplots()
        for place, unit in enumerate(reversed(UNITS)):
            intervals = found.get(unit, [])
            _draw(axes, place, bars(intervals, span))
            share = f"{busy_share(intervals, span):.0%} busy"
            axes.text(1.005, place, share, transform=axes.get_yaxis_transform(), va="center")
        _name_layers(axes, found.get("array", []), layers, span)
        axes.set_yticks(range(len(UNITS)), [NAMES.get(unit, unit) for unit in reversed(UNITS)])
        axes.set_ylim(-0.5, len(UNITS) - 0.1)
        axes.set_xlim(0, span)
        axes.set_xlabel("cycles")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        return _svg(figure, "timeline")


def _draw(axes: Axes, place: int, shown: Sequence[Bar]) -> None:
    """One path for each colour, so that thousands of bars stay a small file."""
    for colour, ink in enumerate(PALETTE):
        rectangles = [
            Path([(bar.start, low), (bar.end, low), (bar.end, high), (bar.start, high), (bar.start, low)], closed=True)
            for bar in shown
            if bar.layer % len(PALETTE) == colour
            for low, high in [(place - 0.35, place - 0.35 + 0.7 * bar.share)]
        ]
        if rectangles:
            axes.add_patch(PathPatch(Path.make_compound_path(*rectangles), facecolor=ink, linewidth=0))


def _name_layers(axes: Axes, array: Sequence[Interval], layers: Sequence[LayerRow], span: int) -> None:
    """The names of layers whose time in the array is long enough to write them above it."""
    extents: dict[int, tuple[int, int]] = {}
    for layer, start, end in array:
        first, last = extents.get(layer, (start, end))
        extents[layer] = min(first, start), max(last, end)
    for layer, (start, end) in extents.items():
        room = int((end - start) / span * 130)  # characters
        name = layers[layer].name
        if room >= min(len(name), 4):
            shown = name if len(name) <= room else name[: room - 1] + "…"
            axes.text((start + end) / 2, len(UNITS) - 0.55, _plain(shown), ha="center", va="bottom", fontsize=9)


def roofline(layers: Sequence[LayerRow], bus_bytes: int) -> str:
    """MACs per DRAM byte against MACs per cycle (Williams, Waterman and Patterson 2009), a point for each layer."""
    working = [row for row in layers if row.macs and row.cycles > 0]
    points = [(row, row.macs / row.moved, row.macs / row.cycles) for row in working if row.moved]
    cells = layers[0].cells
    knee = cells / bus_bytes
    low = min([x for _, x, _ in points] + [knee]) / 2
    high = max([x for _, x, _ in points] + [knee]) * 3
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 5.2), layout="constrained")
        axes = figure.subplots()
        axes.loglog([low, knee, high], [low * bus_bytes, cells, cells], color=INK, linewidth=1.5)
        axes.text(high, cells * 1.06, f"{cells:,} multipliers ", ha="right", va="bottom")
        for kind, colour in (("convolution", PALETTE[0]), ("fully connected", PALETTE[1])):
            mine = [point for point in points if (point[0].operator == "Gemm") == (kind == "fully connected")]
            if mine:
                marks = axes.scatter([x for _, x, _ in mine], [y for _, _, y in mine], 36, colour, label=kind, zorder=3)
                marks.set_urls([f"#layer-{row.number}" for row, _, _ in mine])
        axes.set_xlim(low, high)
        axes.set_ylim(top=cells * 2)
        axes.set_xlabel("MACs per byte of DRAM traffic")
        axes.set_ylabel("MACs per cycle")
        axes.grid(color=FAINT, which="major")
        axes.legend(loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        _name_slope(figure, axes, (low, low * bus_bytes), (knee, cells), f"bus, {bus_bytes} bytes a cycle")
        _name_points(figure, axes, points)
        return _svg(figure, "roofline")


def _name_slope(figure: Figure, axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """``text`` along the line from ``start`` to ``end``, above it, where no point can be."""
    figure.draw_without_rendering()
    (x, y), (right, top) = axes.transData.transform([start, end]).tolist()
    angle = math.degrees(math.atan2(top - y, right - x))
    middle = axes.transData.inverted().transform(((x + right) / 2, (y + top) / 2)).tolist()
    place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "bottom", "rotation_mode": "anchor"}
    axes.annotate(text, middle, (-3, 4), rotation=angle, **place)


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[LayerRow, float, float]]) -> None:
    """Each point's layer beside it, where that covers no point and no other name; the longest layers come first."""
    figure.draw_without_rendering()
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform([p[1:] for p in points])]
    for row, x, y in sorted(points, key=lambda point: -point[0].cycles):
        for offset, align in OFFSETS:
            place: dict[str, Any] = {"textcoords": "offset points", "ha": align, "va": "top", "fontsize": 9}
            note = axes.annotate(_plain(row.name), (x, y), (offset, 4), **place)
            box = note.get_window_extent()
            if axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            note.remove()


def _plain(name: str) -> str:
    """``name`` as it is: a dollar would start a formula."""
    return name.replace("$", r"\$")


def _svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element whose ids are its own within a page, without metadata and namespaces."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r"url\(#", f"url(#{name}-", element)
    element = re.sub(r'href="#(?!layer-)', f'href="#{name}-', element)
    return element.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
