"""The activation memory as a picture, by layer and address, and beneath it how full the accumulators are."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ..hw.manifest import Block
from ..quant.graph.ports import real_name
from .drawing import (
    INK,
    PALETTE,
    Rectangle,
    fill,
    fitting,
    plain,
    plot,
    settle,
    svg,
    text_width,
)
from .layers import LayerRow
from .memory import Occupancy

SLOTS = {"input": "#d0d0d0", "operand": "#a8a8a8", "output": "#7c7c7c", "tables": "#404040"}
LABELS = {
    "input": "input slots",
    "operand": "slots of what is added",
    "output": "output slots",
    "tables": "lookup tables",
}
NAME_INKS = ("white", INK, "white", INK, INK, "white")
"""To be read on the palette's colours."""
NAME_SIZE = 8
SEEN = 120
"""Of the memory's height, a part that can be seen."""
FEW = 60
"""Layers, up to which blocks are outlined."""


def memory(occupied: Occupancy, layers: Sequence[LayerRow], half_depth: int) -> str:
    """Which maps and slots lie where during each layer, and the part of a half of the accumulators that it fills."""
    with plot(4.6) as figure:
        chart, sums = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        edge = 0.5 if occupied.layers <= FEW else 0.0
        for what, colour in SLOTS.items():
            fill(chart, [_drawn(b, occupied.capacity) for b in occupied.blocks if b.what == what], colour, edge)
        maps = [block for block in occupied.blocks if block.what == "map"]
        for number, colour in enumerate(PALETTE):
            mine = [block for block in maps if block.first % len(PALETTE) == number]
            fill(chart, [_drawn(block, occupied.capacity) for block in mine], colour, edge)
        chart.set_ylim(0, occupied.capacity / 1024)
        chart.set_ylabel("activations, KiB")
        bars = [(row.number + 0.55, row.number + 1.45, 0.0, 100 * row.positions / half_depth) for row in layers]
        fill(sums, [bar for bar in bars if bar[3]], PALETTE[0])
        sums.set_ylim(0, 100)
        sums.set_yticks([0, 50, 100])
        sums.set_ylabel("sums, %")
        sums.set_xlabel("layer, by its number in the table of layers")
        sums.set_xlim(0.5, occupied.layers + 0.5)
        sums.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=25))
        for axes in (chart, sums):
            axes.spines[["top", "right"]].set_visible(False)
        there = {block.what for block in occupied.blocks}
        keys = [Patch(facecolor=PALETTE[0], label="maps, the colour of the layer that makes them")]
        keys += [Patch(facecolor=SLOTS[what], label=LABELS[what]) for what in SLOTS if what in there]
        figure.legend(handles=keys, loc="outside upper left", ncols=len(keys), frameon=False)
        settle(figure)
        for block in maps:
            _name(figure, chart, block, occupied.capacity)
        return svg(figure, "memory", "what lies in the activation memory during each layer")


def _drawn(block: Block, capacity: int) -> Rectangle:
    """Where the block lies, as high as can be seen: in a large memory small ones would be thinner than a line."""
    least = capacity / SEEN
    low = max(0, min(block.address, capacity - least))
    high = max(block.address + block.bytes, low + least)
    return block.first + 0.5, block.last + 1.5, low / 1024, high / 1024


def _name(figure: Figure, axes: Axes, block: Block, capacity: int) -> None:
    """The map's name inside it, if there is room."""
    left, right, low, high = _drawn(block, capacity)
    (x, y), (end, top) = axes.transData.transform([(left, low), (right, high)]).tolist()
    name = real_name(block.name)
    shown = fitting(name, text_width(figure, name, NAME_SIZE), end - x - 6)
    if shown and top - y > 1.8 * NAME_SIZE:
        place = (left + right) / 2, (low + high) / 2
        ink = NAME_INKS[block.first % len(PALETTE)]
        axes.text(*place, plain(shown), ha="center", va="center", fontsize=NAME_SIZE, color=ink)
