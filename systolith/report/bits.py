"""How narrow each layer's weights may be, and each grid's maps, and what size buys: plots of a choice of bits."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from ..bit_choice import BitChoice, Path, Sensitivity
from ..sensitivity import decibels
from .drawing import FAINT, INK, PALETTE, fitting, plain, plot, svg

MOST_NAMED = 40  # layers, up to which each has its name under the plot
NAME_PIXELS, LETTER = 84, 6  # of a name, turned, and of one letter


def sensitivity(layers: Sequence[Sensitivity], what: str) -> str:
    """The noise that each layer's ``what``, "weights" or "maps", alone would add, by bits; the bits that each got."""
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
        axes.set_ylabel(f"dB of the outputs by {what} alone")
        if len(layers) <= MOST_NAMED:
            names = [plain(fitting(one.layer, LETTER * len(one.layer), NAME_PIXELS) or one.layer[:9]) for one in layers]
            axes.set_xticks(range(len(layers)), names, rotation=60, ha="right", rotation_mode="anchor")
        else:
            axes.set_xlabel("layer with weights" if what == "weights" else "layer that writes the map")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=FAINT, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=len(widths) + 1, frameon=False)
        return svg(figure, f"sensitivity-{what}", f"noise of the outputs by the bits of each layer's {what} alone")


def size(choice: BitChoice) -> str:
    """Mean bits against the noise that is expected, of what was chosen, and against losses where they were measured."""
    with plot(3.6) as figure:
        axes = figure.subplots()
        for number, (what, mean, path) in enumerate(_descents(choice)):
            colour, of = PALETTE[number], f" of {what}" if choice.maps else ""
            some = [(bits, decibels(noise)) for bits, noise in path if noise > 0]
            if some:
                axes.plot(*zip(*some, strict=True), ".-", color=colour, label=f"signal to noise expected{of}, dB")
            line = colour if choice.maps else INK
            axes.axvline(mean, color=line, linewidth=1, linestyle="--", label=f"chosen{of}")
        axes.set_xlabel("bits, mean" if choice.maps else "bits of a weight, mean")
        axes.set_ylabel("dB")
        if choice.losses:
            other = axes.twinx()
            other.plot(*zip(*choice.losses, strict=True), "D", color=PALETTE[2], label=f"loss measured, {choice.unit}")
            other.set_ylabel(f"loss, {choice.unit}")
            other.spines[["top"]].set_visible(False)
        axes.grid(color=FAINT, zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        return svg(figure, "size", "noise expected by the mean bits")


def _descents(choice: BitChoice) -> list[tuple[str, float, Path]]:
    """What was narrowed, in words, its mean bits as chosen, and the path there."""
    maps = choice.maps
    if maps is None:
        return [("weights", choice.mean, choice.path)]
    if maps.together is not None:
        return [("weights and maps", maps.together, choice.path)]
    both = [("weights", choice.mean, choice.path), ("maps", maps.mean, maps.path)]
    return [descent for descent in both if descent[2]]
