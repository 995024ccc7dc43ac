"""Between the model's arrays and maps in memory: docs/program.md, "Memory", in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph.errors import DataError
from ..quant.graph.host import HostStep, apply_steps

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Unfolding:
    """Which rows of an image lie side by side in each row of the input: ``r * stride - top + k * dilation``.

    shape : the image, (channels, rows, columns);  rows : of the input;  zero_point : what rows outside the image hold
    """

    shape: Shape
    rows: int
    kernel_rows: int
    stride: int
    dilation: int
    top: int
    zero_point: int


@dataclass(frozen=True)
class Port:
    """An input or output of the network.

    name, array_shape, steps : the model's array, its shape without the batch, and what the host does between both
    address, size : in bytes, of its map, or sums, of all images of a run
    shape : (channels, rows, columns) of an image's
    element_bytes, offset : memory holds ``q - offset``, little endian, rows x columns x channels
    scales : of the whole map, or of each channel of sums, to which ``shifts`` are added, if any
    """

    name: str
    array_shape: Shape
    steps: tuple[HostStep, ...]
    address: int
    size: int
    shape: Shape
    element_bytes: int
    offset: int
    scales: tuple[float, ...]
    shifts: tuple[float, ...] | None
    zero_point: int
    low: int
    high: int
    unfolding: Unfolding | None

    @property
    def image(self) -> Shape:
        """What ``quantized`` makes of an image, (channels, rows, columns)."""
        return self.unfolding.shape if self.unfolding else self.shape

    def checked(self, images: Any, arranged: bool) -> NDArray[np.float32]:
        """``images`` as float32, (N, *array_shape), or (N, *image) if they are ``arranged``.

        Axes of one may be missing.  Raises DataError for other shapes and types, and for what is not finite.
        """
        values = np.asarray(images)
        if values.dtype.kind not in "biuf":
            raise DataError(f"'{self.name}' has type {values.dtype}; it must be real numbers, best float32")
        shape = self.image if arranged else self.array_shape
        if not values.ndim or not len(values) or _without_ones(values.shape[1:]) != _without_ones(shape):
            found, takes = _volume(values.shape), _volume(("N", *shape))
            raise DataError(f"'{self.name}' has shape {found}; the model takes {takes}, one image at least")
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        if not np.isfinite(values).all():
            raise DataError(f"'{self.name}' holds a value that is not a finite float32")
        return values.reshape(len(values), *shape)

    def quantized(self, images: NDArray[np.float32], arranged: bool) -> NDArray[np.int64]:
        """The integers, (N, *image), of what ``checked`` returned."""
        values = images if arranged else apply_steps(self.steps, images)
        scale, zero = np.float32(self.scales[0]), self.zero_point
        with np.errstate(over="ignore", under="ignore"):
            steps = np.clip(values / scale, np.float32(self.low - zero), np.float32(self.high - zero))
        return np.rint(steps).astype(np.int64) + zero

    def encoded(self, integers: NDArray[np.int64]) -> bytes:
        """The bytes of the map of all images of a run, whose ``integers``, (N, *image), these are."""
        if self.unfolding:
            integers = unfolded(integers, self.unfolding)
        stored = integers.transpose(0, 2, 3, 1) - self.offset
        return stored.astype(f"<i{self.element_bytes}").tobytes()

    def decoded(self, data: bytes) -> NDArray[np.int64]:
        """The integers, (N, *shape), in the bytes of all images of a run."""
        channels, rows, columns = self.shape
        stored = np.frombuffer(data, f"<i{self.element_bytes}").reshape(-1, rows, columns, channels)
        return stored.astype(np.int64).transpose(0, 3, 1, 2) + self.offset

    def reals(self, integers: NDArray[np.int64]) -> NDArray[Any]:
        """What the model outputs, (N, *array_shape), for the integers (N, *shape): float32, int64 behind an ArgMax."""
        scales = np.array(self.scales, np.float32).reshape(-1, 1, 1)
        values = (integers - self.zero_point).astype(np.float32) * scales
        if self.shifts is not None:
            values += np.array(self.shifts, np.float32).reshape(-1, 1, 1)
        if self.steps:
            return apply_steps(self.steps, values)
        return values.reshape(len(values), *self.array_shape)


def unfolded(images: NDArray[np.int64], how: Unfolding) -> NDArray[np.int64]:
    """Integers of images, (N, channels, rows, columns), as (N, kernel rows * channels, ``how.rows``, columns)."""
    count, channels, rows, columns = images.shape
    made = np.full((count, how.kernel_rows, channels, how.rows, columns), how.zero_point, np.int64)
    for kernel in range(how.kernel_rows):
        source = np.arange(how.rows) * how.stride + kernel * how.dilation - how.top
        there = (source >= 0) & (source < rows)
        made[:, kernel, :, there] = images[:, :, source[there]].transpose(2, 0, 1, 3)
    return made.reshape(count, -1, how.rows, columns)


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _volume(shape: tuple[Any, ...]) -> str:
    return "x".join(map(str, shape)) or "of one number"
