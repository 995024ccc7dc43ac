"""What the accelerator must write, byte by byte, computed from golden's tensors before it runs.

All tensors of an image are laid one after another as the memory would hold them (rows, columns, channels,
elements ``q - offset`` little endian): the *expected vector*.  The monitor's stream and the memory are then two
index arrays into it, the same for every image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...quant.graph.errors import ConfigurationError


@dataclass(frozen=True)
class Placed:
    """One tensor in the expected vector: ``layer`` computes it, ``shape`` is (channels, rows, columns).

    image : which of a run's images; None for all of them, one below the other as more rows
    spread : where the layer's results begin in the tensor, and elements from row to row, and from column to column
    elements : if it holds those of one image of ``tensor`` in another order: which, and the shape ``of`` that has them
    """

    layer: str
    tensor: str
    first: int
    shape: tuple[int, int, int]
    element_bytes: int
    offset: int
    image: int | None = None
    spread: tuple[int, int, int] | None = None
    elements: NDArray[np.int64] | None = field(default=None, compare=False)
    of: tuple[int, int, int] = (0, 0, 0)

    @property
    def key(self) -> tuple[str, int | None, str]:
        """Which piece of memory it is: several layers may write one."""
        return self.tensor, self.image, "" if self.elements is None else self.layer

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape)) * self.element_bytes


@dataclass(frozen=True)
class Place:
    """An element of a layer's output, and the index of its first byte in the expected vector; ``image`` of the run."""

    image: int
    layer: str
    channel: int
    row: int
    column: int
    first: int
    element_bytes: int
    offset: int


@dataclass(frozen=True, eq=False)
class Expectation:
    """Where each byte of the expected vector must appear.

    layers : names of the program's layers;  makers : int32, (events,): the layer that writes each event
    stream : int32, (events, monitor bytes): index for each byte of each event, ``size`` beyond its count
    counts : uint32, (events,): valid bytes of each event
    memory : int32, (memory bytes - start,): index for each byte of DRAM from ``start`` on, -1 where nothing may be
        written; below it nothing may
    """

    tensors: tuple[Placed, ...]
    size: int
    layers: tuple[str, ...]
    makers: NDArray[np.int32]
    stream: NDArray[np.int32]
    counts: NDArray[np.uint32]
    start: int
    memory: NDArray[np.int32]
    batch: int = 1

    def locate(self, index: int) -> Place:
        """The element that byte ``index`` of the expected vector belongs to."""
        placed = next(item for item in self.tensors if item.first <= index < item.first + item.size)
        channels, _, columns = placed.shape
        element = (index - placed.first) // placed.element_bytes
        first = placed.first + element * placed.element_bytes
        if placed.elements is not None:
            element, (channels, _, columns) = int(placed.elements[element]), placed.of
        pixel, channel = divmod(element, channels)
        row, column = divmod(pixel, columns)
        image = placed.image or 0
        if placed.image is None:
            image, row = divmod(row, (placed.shape if placed.elements is None else placed.of)[1] // self.batch)
        return Place(image, placed.layer, channel, row, column, first, placed.element_bytes, placed.offset)

    def elements(self, index: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """First byte of the element that each byte ``index`` of the expected vector belongs to."""
        firsts = np.array([item.first for item in self.tensors])
        widths = np.array([item.element_bytes for item in self.tensors])
        which = np.searchsorted(firsts, index, side="right") - 1
        return np.asarray(index - (index - firsts[which]) % widths[which], np.int64)

    def vectors(self, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Expected vectors of all runs, (runs, size + 1); the last byte is 0, for what lies beyond a count.

        ``tensors``: integers of each tensor by name, (images, channels, rows, columns), ``batch`` images a run.
        """
        runs = len(next(iter(tensors.values()))) // self.batch
        vectors = np.zeros((runs, self.size + 1), np.uint8)
        for placed in self.tensors:
            images = np.asarray(tensors[placed.tensor])
            images = images.reshape(runs, self.batch, *images.shape[1:])
            if placed.elements is not None:
                flat = images[:, placed.image or 0].transpose(0, 2, 3, 1).reshape(runs, -1)
                channels, rows, columns = placed.shape
                content = flat[:, placed.elements].reshape(runs, rows, columns, channels).transpose(0, 3, 1, 2)
            elif placed.image is None:
                content = images.transpose(0, 2, 1, 3, 4).reshape(runs, *placed.shape)
            else:
                content = images[:, placed.image]
            vectors[:, placed.first : placed.first + placed.size] = encode(content, placed.element_bytes, placed.offset)
        return vectors


def rearranged(shape: tuple[int, int, int], spread: tuple[int, int, int], width: int, step: int) -> NDArray[np.int64]:
    """Which elements of a tensor another of ``shape``, (channels, rows, columns), holds, in its own order.

    Its channels are groups of ``width``, the first of which lies where ``spread`` says, the next ``step`` behind it.
    """
    channel, row, column = (np.arange(count) for count in shape)
    first, down, across = spread
    inside = channel // width * step + channel % width
    return (first + row[:, None, None] * down + column[:, None] * across + inside).reshape(-1)


def encode(tensor: NDArray[Any], element_bytes: int, offset: int) -> NDArray[np.uint8]:
    """(images, channels, rows, columns) integers as memory holds them, (images, bytes)."""
    dense = np.ascontiguousarray(tensor.transpose(0, 2, 3, 1)).astype(np.int64) - offset
    reach = 1 << (8 * element_bytes - 1)
    if dense.size and (dense.min() < -reach or dense.max() >= reach):
        span = f"{dense.min()}..{dense.max()}"
        raise ConfigurationError(f"values {span} do not fit {element_bytes} bytes with offset {offset}")
    return dense.astype(f"<i{element_bytes}").reshape(len(tensor), -1).view(np.uint8)


def expectation(
    layers: list[Placed],
    writes: Sequence[tuple[int, ...]],
    in_memory: list[tuple[int, int]],
    monitor_bytes: int,
    memory_bytes: int,
    start: int = 0,
    batch: int = 1,
) -> Expectation:
    """Lay out the tensors and the two index arrays.

    layers : one Placed for each layer, in order (``first`` is set here)
    writes : [layer, row0, rows, column0, columns, channel0, channels, group] in time order, as in the manifest
    in_memory : (layer, address) of each tensor that ends in DRAM, in the order in which they are written
    start : the first byte of DRAM that may be written;  batch : images in one run
    """
    tensors: dict[tuple[str, int | None, str], Placed] = {}
    first = 0
    for item in layers:
        if item.key not in tensors:
            tensors[item.key] = replace(item, first=first)
            first += item.size
    placed = [replace(item, first=tensors[item.key].first) for item in layers]
    streams = [_events(placed[entry[0]], entry, monitor_bytes, first) for entry in writes]
    stream = np.concatenate(streams) if streams else np.zeros((0, monitor_bytes), np.int32)
    memory = np.full(memory_bytes - start, -1, np.int32)
    for layer, address in in_memory:
        item = placed[layer]
        if address < start or address + item.size > memory_bytes:
            raise ConfigurationError(f"layer '{item.layer}': its output is outside the memory of {memory_bytes} bytes")
        memory[address - start : address - start + item.size] = np.arange(item.first, item.first + item.size)
    return Expectation(
        tensors=tuple(tensors.values()),
        size=first,
        layers=tuple(item.layer for item in layers),
        makers=np.repeat([entry[0] for entry in writes], [len(s) for s in streams]).astype(np.int32),
        stream=stream,
        counts=(stream != first).sum(axis=1).astype(np.uint32),
        start=start,
        memory=memory,
        batch=batch,
    )


def _events(placed: Placed, entry: tuple[int, ...], monitor_bytes: int, beyond: int) -> NDArray[np.int32]:
    _, row0, rows, column0, columns, channel0, channels, group = entry
    bytes_each = placed.element_bytes
    if group * bytes_each > monitor_bytes:
        raise ConfigurationError(
            f"layer '{placed.layer}': groups of {group} elements do not fit a monitor of {monitor_bytes} bytes"
        )
    depth, height, width = placed.shape
    first, down, across = placed.spread or (0, width * depth, depth)
    last = first + (row0 + rows - 1) * down + (column0 + columns - 1) * across + channel0 + channels
    if last > depth * height * width:
        raise ConfigurationError(f"layer '{placed.layer}': writes {entry} lie outside its output {placed.shape}")
    own_rows, own_columns = np.arange(row0, row0 + rows), np.arange(column0, column0 + columns)
    pixels = first + (own_rows[:, None] * down + own_columns * across).reshape(-1)
    starts = np.arange(channel0, channel0 + channels, group)
    lane = np.arange(monitor_bytes)
    channel = starts[:, None] + lane // bytes_each
    valid = (lane < group * bytes_each) & (channel < channel0 + channels)
    index = placed.first + (pixels[:, None, None] + channel) * bytes_each + lane % bytes_each
    return np.where(valid, index, beyond).reshape(-1, monitor_bytes).astype(np.int32)
