"""The roofline of a network's layers (Williams, Waterman and Patterson 2009)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.transforms import Bbox

from .drawing import (
    FAINT,
    INK,
    PALETTE,
    PAPER,
    plain,
    plot,
    svg,
)
from .layers import LayerRow

Point = tuple[LayerRow, float, float]
PLACES = [(9, 0, "left", "center"), (-9, 0, "right", "center")] + [
    (x, y, align, "center") for y in (-12, 12) for x, align in ((9, "left"), (0, "center"), (-9, "right"))
]
"""Where a name may stand, by its point: points right and up, alignment."""


def roofline(layers: Sequence[LayerRow], bus_bytes: int) -> str:
    """MACs for each byte of DRAM traffic against MACs for each cycle, a point for each layer that has both."""
    points = [(row, row.macs / row.moved, row.pace) for row in layers if row.macs and row.moved]
    cells = layers[0].cells
    knee = cells / bus_bytes
    low = min([x for _, x, _ in points] + [knee]) / 2
    high = max([x for _, x, _ in points] + [knee]) * 3
    roof = [(low, low * bus_bytes), (knee, cells), (high, cells)]
    with plot(5.4) as figure:
        axes = figure.subplots()
        axes.loglog(*zip(*roof, strict=True), color=INK, linewidth=1.5, zorder=2)
        for kind, colour in (("convolution", PALETTE[0]), ("fully connected", PALETTE[1])):
            mine = [point for point in points if (point[0].operator == "Gemm") == (kind == "fully connected")]
            if mine:
                marks = axes.scatter([x for _, x, _ in mine], [y for _, _, y in mine], 36, colour, label=kind, zorder=4)
                marks.set_urls([f"#layer-{row.number}" for row, _, _ in mine])
        axes.set_xlim(low, high)
        axes.set_ylim(min([y for _, _, y in points] + [low * bus_bytes]) / 2, cells * 2)
        axes.set_xlabel("MACs for each byte of DRAM traffic")
        axes.set_ylabel("MACs for each cycle")
        axes.grid(color=FAINT, which="major", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        _name(figure, axes, points, roof, f"{cells:,} multipliers", f"bus, {bus_bytes} bytes a cycle")
        return svg(figure, "roofline", "MACs for each byte against MACs for each cycle")


def _name(
    figure: Figure, axes: Axes, points: Sequence[Point], roof: Sequence[tuple[float, float]], top: str, slope: str
) -> None:
    """The legend, the roof's two parts, and each layer beside its point where the name covers nothing that is drawn."""
    legend = axes.legend(loc="lower right", frameon=False)
    figure.draw_without_rendering()
    marks = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform([p[1:] for p in points])]
    line = axes.transData.transform(roof)
    above: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "zorder": 3, "bbox": PAPER}
    ceiling = axes.annotate(top, roof[-1], (-4, 5), ha="right", **above)
    (x, y), (right, height) = line[:2].tolist()
    middle = axes.transData.inverted().transform(((x + right) / 2, (y + height) / 2)).tolist()
    angle = math.degrees(math.atan2(height - y, right - x))
    along = axes.annotate(slope, middle, (-4, 5), ha="center", rotation=angle, rotation_mode="anchor", **above)
    taken = [*marks, *(item.get_window_extent() for item in (legend, ceiling, along))]
    for row, x, y in sorted(points, key=lambda point: -point[0].turn):
        for right, up, align, height in PLACES:
            place: dict[str, Any] = {"textcoords": "offset points", "ha": align, "va": height, "fontsize": 9}
            note = axes.annotate(plain(row.name), (x, y), (right, up), bbox=PAPER, zorder=3, **place)
            box = note.get_window_extent().padded(1)
            inside = axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and axes.bbox.y0 < box.y0
            if inside and not Path(line).intersects_bbox(box, filled=False) and not box.count_overlaps(taken):
                taken.append(box)
                break
            note.remove()
