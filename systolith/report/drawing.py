"""What all plots of a report share: colours, style, text that no line strikes through, SVG to stand inside HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377")  # Paul Tol's "bright"
TINTS = ("#dae4ee", "#fbe0e4", "#d3e7d6", "#f5f1da", "#e0f5fc", "#eed6e4")
"""The same, faint."""
INK, FAINT = "#333333", "#dddddd"
WIDTH = 13
"""Of every plot, inches of 72 pixels; the page scales them."""
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
"""Behind a text: no line of the grid strikes through it."""
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

Rectangle = tuple[float, float, float, float]  # left, right, bottom, top


@contextmanager
def plot(height: float) -> Iterator[Figure]:
    """An empty figure of ``height`` inches in the report's style."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=(WIDTH, height), layout="constrained")


def fill(axes: Axes, rectangles: Iterable[Rectangle], colour: str, edge: float = 0.0) -> None:
    """All rectangles as one path, so that thousands stay a small file; ``edge`` is the width of a white outline."""
    paths = [
        Path([(left, low), (right, low), (right, high), (left, high), (left, low)], closed=True)
        for left, right, low, high in rectangles
    ]
    if paths:
        patch = PathPatch(Path.make_compound_path(*paths), facecolor=colour, edgecolor="white", linewidth=edge)
        axes.add_patch(patch)


def fitting(name: str, width: float, room: float, least: int = 9) -> str:
    """``name``, whose text is ``width`` pixels wide, cut to fit ``room``; empty if ``least`` characters do not fit."""
    if width <= room:
        return name
    characters = int(len(name) * room / width) - 1
    return name[:characters] + "…" if characters >= least else ""


def text_width(figure: Figure, text: str, size: float) -> float:
    """Pixels that ``text`` takes in ``size`` points."""
    probe = figure.text(0, 0, plain(text), fontsize=size)
    width = probe.get_window_extent().width
    probe.remove()
    return float(width)


def plain(name: str) -> str:
    """``name`` as it is: a dollar would start a formula."""
    return name.replace("$", r"\$")


def svg(figure: Figure, name: str, what: str) -> str:
    """The figure as an <svg> element whose ids are its own within a page, without metadata and namespaces.

    name : of the ids;  what : the picture in words
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    element = text[text.index("<svg") :]
    element = re.sub(r' xmlns(:\w+)?="[^"]*"', "", element)
    element = re.sub(r'\bid="', f'id="{name}-', element)
    element = re.sub(r"url\(#", f"url(#{name}-", element)
    element = re.sub(r'href="#(?!layer-)', f'href="#{name}-', element)
    return element.replace("<svg", f'<svg role="img" aria-label="{what}"', 1)
