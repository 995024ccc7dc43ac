"""How an input of the model lies in memory where that is not its map's order: an image with its channels last, say."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Layout:
    """The map of an input is ``x.reshape(cut).transpose(order)``, in the map's shape; both leave out the batch.

    dimensions : of the model's input, without the batch;  cut : sizes;  order : of the axes of those, from 0
    """

    dimensions: tuple[int, ...]
    cut: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """``dimensions`` as (channels, rows, columns), as data come: a signal has one row."""
        channels, *size = self.dimensions
        rows, columns = [1, 1, *size][-2:]
        return channels, rows, columns

    def to_map(self, images: NDArray[np.float32], shape: Shape) -> NDArray[np.float32]:
        """``images``, (N, *any) of the model's input, as (N, *shape) of the map."""
        assert images[:1].size == prod(shape)
        parts = images.reshape(-1, *self.cut).transpose(0, *(axis + 1 for axis in self.order))
        return np.ascontiguousarray(parts.reshape(-1, *shape))
