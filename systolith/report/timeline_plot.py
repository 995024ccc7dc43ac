"""The timeline as a picture: a row for each unit, a colour for each layer, as high as the unit works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..hw.manifest import Work
from .drawing import (
    PALETTE,
    TINTS,
    fill,
    fitting,
    plain,
    plot,
    svg,
    text_width,
)
from .layers import LayerRow
from .timeline import (
    UNITS,
    Bar,
    bars,
    working_share,
)

NAMES = {"vector": "vector unit"}
HEIGHT = 0.7
NAME_SIZE = 9


def timeline(found: Mapping[str, Sequence[Work]], layers: Sequence[LayerRow], span: int) -> str:
    """What array, vector unit, loader and storer are on in 0 .. ``span`` cycles, and how much of it they work."""
    with plot(3.3) as figure:
        axes = figure.subplots()
        for place, unit in enumerate(reversed(UNITS)):
            intervals = found[unit]
            _draw(axes, place - HEIGHT / 2, bars(intervals, span))
            share = f"works {working_share(intervals, span):.1%}"
            axes.text(1.005, place, share, transform=axes.get_yaxis_transform(), va="center")
        axes.set_yticks(range(len(UNITS)), [NAMES.get(unit, unit) for unit in reversed(UNITS)])
        axes.set_ylim(-0.5, len(UNITS) - 0.2)
        axes.set_xlim(0, span)
        axes.set_xlabel("cycles")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        _name_layers(figure, axes, found["array"], layers)
        return svg(figure, "timeline", "what each unit works on over time")


def _draw(axes: Axes, low: float, shown: Sequence[Bar]) -> None:
    for colour, (ink, tint) in enumerate(zip(PALETTE, TINTS, strict=True)):
        mine = [bar for bar in shown if bar.layer % len(PALETTE) == colour]
        fill(axes, [(bar.start, bar.end, low, low + HEIGHT) for bar in mine], tint)
        fill(axes, [(bar.start, bar.end, low, low + HEIGHT * bar.share) for bar in mine], ink)


def _name_layers(figure: Figure, axes: Axes, array: Sequence[Work], layers: Sequence[LayerRow]) -> None:
    """The names of layers whose time in the array is long enough to write them above it."""
    figure.draw_without_rendering()  # from now on it is known where a cycle lies
    extents: dict[int, tuple[int, int]] = {}
    for layer, start, end, _ in array:
        first, last = extents.get(layer, (start, end))
        extents[layer] = min(first, start), max(last, end)
    for layer, (start, end) in extents.items():
        (left, _), (right, _) = axes.transData.transform([(start, 0), (end, 0)])
        name = layers[layer].name
        shown = fitting(name, text_width(figure, name, NAME_SIZE), right - left - 4)
        if shown:
            place = (start + end) / 2, len(UNITS) - 0.6
            axes.text(*place, plain(shown), ha="center", va="bottom", fontsize=NAME_SIZE)
