"""A view that no operator can read as it is becomes a map of its own: layers that only move values.

What rows and columns have to give to another axis goes to the channels, slice by slice; there it is put in order; what
rows and columns are to have comes out of the channels again, as pixels of a block, or joined below or beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ..graph import Shape, Steps
from ..networks.layers import Concatenation, FloatLayer, PixelShuffle, Slicing
from ..networks.picking import MOST
from .view import CHANNELS, COLUMNS, IMAGES, MAP_AXES, ROWS, View

MOST_CHANNELS = 2**22  # of all slices of an axis together
Label = int  # an atom of the view: its place among all of them


@dataclass
class _Moving:
    """The map on its way: ``axes`` has the labels that each of its axes is made of, outermost first."""

    name: str
    operator: str
    current: str
    sizes: dict[Label, int]
    axes: dict[int, list[Label]]
    layers: list[FloatLayer]

    @property
    def shape(self) -> Shape:
        channels, rows, columns = (self.extent(self.axes[axis]) for axis in (CHANNELS, ROWS, COLUMNS))
        return channels, rows, columns

    def extent(self, labels: list[Label]) -> int:
        return prod(self.sizes[label] for label in labels)

    def _next(self) -> tuple[str, str]:
        """The name of the next layer, and of what it makes."""
        name = f"{self.name}/{len(self.layers)}"
        return name, f"{name}_out"

    def _channels(self, times: int) -> tuple[int, ...]:
        """All channels, for as many slices as ``times``."""
        if self.shape[0] * times > MOST_CHANNELS:
            raise ValueError(f"takes {self.shape[0]:,} channels {times} times; at most {MOST_CHANNELS:,} work")
        return tuple(range(self.shape[0]))

    def slice(self, channels: tuple[int, ...], along: Mapping[int, Steps] | None = None) -> str:
        """``channels`` of those ROWS and COLUMNS that ``along`` says, else of all."""
        _, rows, columns = self.shape
        steps = {ROWS: (0, 1, rows), COLUMNS: (0, 1, columns), **(along or {})}
        name, output = self._next()
        names = name, self.operator, (self.current,), output
        self.layers.append(Slicing(*names, channels, steps[ROWS], steps[COLUMNS]))
        return output

    def join(self, parts: list[str], axis: int) -> None:
        if len(parts) > MOST:
            raise ValueError(f"joins {len(parts)} slices; at most {MOST} work")
        name, output = self._next()
        self.layers.append(Concatenation(name, self.operator, tuple(parts), output, axis))
        self.current = output

    def to_channels(self, axis: int, labels: list[Label], *, inner: bool) -> None:
        """``labels``, the innermost or outermost of ``axis`` (ROWS or COLUMNS), become the outermost channels."""
        count, length = self.extent(labels), self.shape[axis - 1]
        if count > MOST:
            raise ValueError(f"takes {count} slices; at most {MOST} work")
        channels = self._channels(count)
        kept = length // count
        parts = []
        for index in range(count):
            taken = (index, count, kept) if inner else (index * kept, 1, kept)
            parts.append(self.slice(channels, {axis: taken if kept > 1 else (taken[0], 1, 1)}))
        self.join(parts, CHANNELS)
        self.axes[axis] = [label for label in self.axes[axis] if label not in labels]
        self.axes[CHANNELS] = [*labels, *self.axes[CHANNELS]]

    def order_channels(self, wanted: list[Label]) -> None:
        """Channels in the order that ``wanted``, the same labels, says."""
        before = self.axes[CHANNELS]
        numbers = np.array(self._channels(1)).reshape([self.sizes[label] for label in before])
        order = numbers.transpose([before.index(label) for label in wanted]).reshape(-1)
        if (order[1:] > order[:-1]).all():
            self.axes[CHANNELS] = wanted
            return
        self.current = self.slice(tuple(order.tolist()))
        self.axes[CHANNELS] = wanted

    def shuffle(self, rows: list[Label], columns: list[Label]) -> None:
        """The outermost channels, ``rows`` and then ``columns``, become the innermost of those."""
        if not rows and not columns:
            return
        name, output = self._next()
        block = self.extent(rows), self.extent(columns)
        self.layers.append(PixelShuffle(name, self.operator, (self.current,), output, block))
        self.current = output
        self.axes[CHANNELS] = [label for label in self.axes[CHANNELS] if label not in (*rows, *columns)]
        self.axes[ROWS] = self.axes[ROWS] + rows
        self.axes[COLUMNS] = self.axes[COLUMNS] + columns

    def stack(self, axis: int, labels: list[Label]) -> None:
        """The outermost channels, ``labels``, become the outermost of ``axis``, ROWS or COLUMNS."""
        if not labels:
            return
        channels = self.shape[0]
        each = channels // self.extent(labels)
        parts = [self.slice(tuple(range(first, first + each))) for first in range(0, channels, each)]
        self.join(parts, axis)
        self.axes[CHANNELS] = [label for label in self.axes[CHANNELS] if label not in labels]
        self.axes[axis] = labels + self.axes[axis]


def arrange(view: View, name: str, operator: str) -> tuple[list[FloatLayer], str]:
    """Layers that make ``view``, of 2 to 4 axes, a map of its own, and that map's name.

    name, operator : of the node that reads it.  Raises ValueError, saying what would be too much, or cannot be.
    """
    atoms = view.atoms
    target: dict[int, list[Label]] = {axis: [] for axis in range(4)}
    label = 0
    for axis, part in zip(MAP_AXES[len(view.axes)], view.axes, strict=True):
        target[axis] = list(range(label, label + len(part)))
        label += len(part)
    source = {
        axis: sorted((n for n, atom in enumerate(atoms) if atom.axis == axis), key=lambda n: -atoms[n].step)
        for axis in range(4)
    }
    if source[IMAGES] != target[IMAGES]:
        raise ValueError("mixes the images of a batch")
    moving = _Moving(name, operator, view.map, {n: atom.size for n, atom in enumerate(atoms)}, source, [])
    outer, inner = {}, {}
    for axis in (ROWS, COLUMNS):
        stay = _staying(source[axis], target[axis])
        first = source[axis].index(stay[0]) if stay else len(source[axis])
        before, after = source[axis][:first], source[axis][first + len(stay) :]
        if before:
            moving.to_channels(axis, before, inner=False)
        if after:
            moving.to_channels(axis, after, inner=True)
        place = target[axis].index(stay[0]) if stay else 0
        outer[axis], inner[axis] = target[axis][:place], target[axis][place + len(stay) :]
    moving.order_channels([*inner[ROWS], *inner[COLUMNS], *outer[ROWS], *outer[COLUMNS], *target[CHANNELS]])
    moving.shuffle(inner[ROWS], inner[COLUMNS])
    for axis in (ROWS, COLUMNS):
        moving.stack(axis, outer[axis])
    return moving.layers, moving.current


def _staying(source: list[Label], target: list[Label]) -> list[Label]:
    """The longest run of labels that an axis has before and after, in one order."""
    best: list[Label] = []
    for first in range(len(source)):
        for last in range(first + 1, len(source) + 1):
            run = source[first:last]
            found = any(target[n : n + len(run)] == run for n in range(len(target)))
            if found and len(run) > len(best):
                best = run
    return best
