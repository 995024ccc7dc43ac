"""Where a layer's results lie in its output tensor: all of it, or a part among others' results."""

from __future__ import annotations

from dataclasses import dataclass

from ...quant.graph import Pair, Shape


@dataclass(frozen=True)
class Spread:
    """Result (row, column) begins at element ``first + row * row_step + column * column_step`` of the tensor."""

    first: int
    row_step: int
    column_step: int

    @property
    def steps(self) -> Pair:
        """Elements from row to row, and from column to column."""
        return self.row_step, self.column_step

    def moved(self, old: Shape, new: Shape, place: Shape, channels: int) -> Spread | None:
        """Where ``channels`` results lie, from column to column, once a tensor of shape ``old`` is a part of ``new``.

        place : (channel, row, column) of ``new`` where it begins.  None if results would not lie side by side.
        """
        depth = new[0]
        pixel, channel = divmod(self.first, old[0])
        row, column = divmod(pixel, old[2])
        if depth != old[0] and channel + channels > old[0]:
            return None
        down, across = self.row_step // (old[0] * old[2]), self.column_step // old[0]  # whole ones, of every layer
        first = ((row + place[1]) * new[2] + column + place[2]) * depth + channel + place[0]
        return Spread(first, down * new[2] * depth, across * depth)


def dense(shape: Shape) -> Spread:
    """All of a tensor of ``shape``."""
    return Spread(0, shape[0] * shape[2], shape[0])


@dataclass(frozen=True)
class Rearranged:
    """How a tensor that the graph does not have holds one that it has: rows that take turns are its channels.

    Element (channel, row, column) is the other's ``channel // width * step + channel % width`` behind where ``spread``
    has (row, column).
    """

    spread: Spread
    width: int
    step: int
