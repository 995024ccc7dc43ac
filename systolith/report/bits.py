"""How narrow each layer's weights may be, and what size buys: two plots of a choice of bits."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from ..bit_choice import BitChoice, Sensitivity
from ..sensitivity import decibels
from .drawing import FAINT, INK, PALETTE, fitting, plain, plot, svg

MOST_NAMED = 40  # layers, up to which each has its name under the plot
NAME_PIXELS, LETTER = 84, 6  # of a name, turned, and of one letter


def sensitivity(layers: Sequence[Sensitivity]) -> str:
    """The noise that each layer's weights alone would add, by their bits, and the bits that each got."""
    widths = sorted({bits for one in layers for bits in one.noise})
    with plot(4.2) as figure:
        axes = figure.subplots()
        for number, bits in enumerate(widths):
            some = [(place, one.noise[bits]) for place, one in enumerate(layers) if bits in one.noise]
            places, heights = [place for place, _ in some], [decibels(noise) for _, noise in some]
            axes.plot(places, heights, "o-", color=PALETTE[number % len(PALETTE)], markersize=4, label=f"{bits} bits")
        chosen = [(place, decibels(one.noise[one.bits])) for place, one in enumerate(layers) if one.bits in one.noise]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "s", color="none", markeredgecolor=INK, markersize=9, label="chosen")
        axes.set_ylabel("signal to noise of the outputs, dB")
        if len(layers) <= MOST_NAMED:
            names = [plain(fitting(one.layer, LETTER * len(one.layer), NAME_PIXELS) or one.layer[:9]) for one in layers]
            axes.set_xticks(range(len(layers)), names, rotation=60, ha="right", rotation_mode="anchor")
        else:
            axes.set_xlabel("layer with weights")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=FAINT, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=len(widths) + 1, frameon=False)
        return svg(figure, "sensitivity", "noise of the outputs by the bits of each layer alone")


def size(choice: BitChoice) -> str:
    """Mean bits of the weights against the noise that is expected, and against losses where they were measured."""
    with plot(3.6) as figure:
        axes = figure.subplots()
        some = [(mean, decibels(noise)) for mean, noise in choice.path if noise > 0]
        if some:
            axes.plot(*zip(*some, strict=True), ".-", color=PALETTE[0], label="signal to noise expected, dB")
        axes.axvline(choice.mean, color=INK, linewidth=1, linestyle="--", label="chosen")
        axes.set_xlabel("bits of a weight, mean")
        axes.set_ylabel("dB")
        if choice.losses:
            other = axes.twinx()
            other.plot(*zip(*choice.losses, strict=True), "D", color=PALETTE[1], label=f"loss measured, {choice.unit}")
            other.set_ylabel(f"loss, {choice.unit}")
            other.spines[["top"]].set_visible(False)
        axes.grid(color=FAINT, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        return svg(figure, "size", "noise expected by the mean bits of the weights")
