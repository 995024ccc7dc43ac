"""Convolutions of volumes become convolutions of images: for each slice of the result one, over the slices it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..graph import Pair, Shape
from .layers import (
    Concatenation,
    Convolution,
    FloatGraph,
    FloatLayer,
    Floats,
    PixelShuffle,
    Pooling,
    VolumeConvolution,
)
from .picking import pick
from .shapes import shapes


def channels_of(slices: Sequence[int], channels: int) -> tuple[int, ...]:
    """Where the ``slices`` of a volume of so many ``channels`` lie among those of its map."""
    return tuple(number * channels + channel for number in slices for channel in range(channels))


def lower_volumes(graph: FloatGraph) -> FloatGraph:
    """Slices in the padding are left out, and what the kernel has for them: every multiplication is one of the model's.

    Slices that follow one another are channels that do, which a convolution reads where they lie.  A maximum over rows
    and columns is taken of each slice for itself, behind the convolution that makes it.
    """
    sizes, private = shapes(graph), graph.private()
    found: list[FloatLayer] = []
    slices: dict[str, tuple[str, ...]] = {}  # of what only one layer reads
    for layer in graph.layers:
        if isinstance(layer, VolumeConvolution):
            found += _Lowering(layer, sizes[layer.inputs[0]]).layers()
        elif isinstance(layer, Pooling) and layer.inputs[0] in slices:
            found.pop(next(n for n, made in enumerate(found) if made.output == layer.inputs[0]))
            parts = [
                replace(layer, name=f"{layer.name}/{n}", inputs=(name,), output=f"{layer.output}/{n}")
                for n, name in enumerate(slices[layer.inputs[0]])
            ]
            found += [*parts, Concatenation(layer.name, "Concat", tuple(part.output for part in parts), layer.output)]
        else:
            found.append(layer)
        if layer.output in private and isinstance(layer, VolumeConvolution) and isinstance(found[-1], Concatenation):
            slices[layer.output] = found[-1].inputs
    return graph.with_layers(found)


class _Lowering:
    """``layer`` over a map of ``shape``."""

    def __init__(self, layer: VolumeConvolution, shape: Shape) -> None:
        self.layer, self.shape = layer, shape
        self.groups = layer.plane.groups
        self.inputs = layer.plane.weights.shape[1] // layer.slices  # of a group, in each slice
        self.made: list[FloatLayer] = []
        self.taken: dict[tuple[str, tuple[int, ...]], str] = {}
        self.weights: dict[tuple[str, tuple[int, ...]], Floats] = {}

    def layers(self) -> list[FloatLayer]:
        layer = self.layer
        parts = []
        for number, taps in enumerate(layer.taps):
            single = len(layer.taps) == 1
            name = layer.name if single else f"{layer.name}/{number}"
            parts.append(layer.output if single else f"{layer.output}/{number}")
            self._slice(name, parts[-1], taps)
        if len(parts) > 1:
            self.made.append(Concatenation(layer.name, "Concat", tuple(parts), layer.output))
        return self.made

    def _slice(self, name: str, output: str, taps: Sequence[Pair]) -> None:
        """One slice of the result: ``taps`` has its slices of the input, and those of the kernel that they meet."""
        places, kernel = tuple(place for place, _ in taps) or (0,), tuple(tap for _, tap in taps)
        plane = replace(self.layer.plane, name=name, output=output, low=self.layer.low, high=self.layer.high)
        if self.groups == 1 or len(places) == 1:
            plane = replace(plane, inputs=(self._read(places, "slices"),), weights=self._chosen(kernel, "slices"))
        elif isinstance(plane, Convolution) and plane.dilations[0] == 1:
            plane = self._interleaved(plane, places, kernel)
        else:
            plane = replace(plane, inputs=(self._read(places, "groups"),), weights=self._chosen(kernel, "slices"))
        self.made.append(plane)

    def _interleaved(self, plane: Convolution, places: tuple[int, ...], kernel: tuple[int, ...]) -> Convolution:
        """``plane`` over a map of which each row is followed by that of the next slice: groups stay together."""
        count = len(places)
        source = self._read(places, "slices")
        if ("rows", places) not in self.taken:
            self.taken["rows", places] = output = f"{plane.output}/rows"
            self.made.append(PixelShuffle(f"{plane.name}/rows", self.layer.operator, (source,), output, (count, 1)))
        top, left, bottom, right = plane.pads
        return replace(
            plane,
            inputs=(self.taken["rows", places],),
            weights=self._chosen(kernel, "rows"),
            strides=(plane.strides[0] * count, plane.strides[1]),
            pads=(top * count, left, bottom * count, right),
        )

    def _read(self, places: tuple[int, ...], order: str) -> str:
        """The map of the slices at ``places``, one after another, or ``order`` "groups" by group."""
        layer, channels = self.layer, self.inputs * self.groups
        if (order, places) not in self.taken:
            wanted = np.array(channels_of(places, channels)).reshape(len(places), self.groups, self.inputs)
            wanted = wanted if order == "slices" else wanted.transpose(1, 0, 2)
            kept, (source,) = wanted.reshape(-1).tolist(), layer.inputs
            taken = f"{layer.output}/{order}{len(self.taken)}"
            if kept == [*range(self.shape[0])]:
                taken = source
            else:
                name = f"{layer.name}/{order}{len(self.taken)}"
                self.made += pick(name, layer.operator, source, taken, self.shape, {0: kept})
            self.taken[order, places] = taken
        return self.taken[order, places]

    def _chosen(self, kernel: tuple[int, ...], order: str) -> Floats:
        """Weights of the ``kernel``'s slices, one array for all results that have the same; of none, they are 0."""
        if (order, kernel) not in self.weights:
            whole = self.layer.plane.weights
            outputs, _, rows, columns = whole.shape
            apart = whole.reshape(outputs, self.layer.slices, self.inputs, rows, columns)
            apart = apart[:, kernel] if kernel else np.zeros_like(apart[:, :1])
            if order == "rows":
                apart = apart.transpose(0, 2, 3, 1, 4).reshape(outputs, self.inputs, -1, columns)
            self.weights[order, kernel] = np.ascontiguousarray(apart.reshape(outputs, -1, *apart.shape[-2:]))
        return self.weights[order, kernel]
