"""Feature maps of a report: a few channels of a few layers as PNG pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import golden, quant
from ..quant.graph.ports import real_name

MOST_LAYERS, MOST_CHANNELS, MOST_PIXELS = 6, 8, 96


@dataclass(frozen=True)
class Picture:
    """One channel, or the whole input, as a data URI; ``what`` names it."""

    what: str
    uri: str


@dataclass(frozen=True)
class Maps:
    """Pictures of one tensor: its layer's name and its size, (channels, rows, columns)."""

    layer: str
    shape: tuple[int, int, int]
    pictures: tuple[Picture, ...]


def feature_maps(graph: quant.Graph, image: Mapping[str, NDArray[np.float32]], outputs: Sequence[str]) -> list[Maps]:
    """One ``image`` of each input, then maps of up to six of ``outputs``, first and last among them.

    image : of each input by name, (1, channels, rows, columns)
    outputs : tensors of the graph, in order;  the channels shown are those that vary most
    """
    wide = [name for name in outputs if min(graph.tensors[name].shape[1:]) > 1]
    chosen = [wide[at] for at in _spread(len(wide), MOST_LAYERS)]
    found = golden.run(graph, golden.quantize_inputs(graph, image), only=chosen)
    makers = {layer.output: layer.name for layer in graph.layers}
    firsts = [
        Maps("input" if len(image) == 1 else real_name(name), graph.map_of(name).shape, (_input(image[name][0]),))
        for name in graph.inputs
    ]
    return [*firsts, *(Maps(makers[name], graph.tensors[name].shape, _channels(found[name][0])) for name in chosen)]


def _spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of 0 .. count - 1, evenly, both ends included."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most)).tolist()}) if count else []


def _channels(values: NDArray[Any]) -> tuple[Picture, ...]:
    varied = values.reshape(len(values), -1).astype(np.float64).std(axis=1)
    order = np.sort(np.argsort(-varied, kind="stable")[:MOST_CHANNELS])
    return tuple(Picture(f"channel {channel}", png(values[channel])) for channel in order.tolist())


def _input(image: NDArray[np.float32]) -> Picture:
    """Three channels as red, green and blue, otherwise the first."""
    if len(image) == 3:
        return Picture("red, green, blue", png(image.transpose(1, 2, 0)))
    return Picture("channel 0", png(image[0]))


def png(values: NDArray[Any]) -> str:
    """(rows, columns) or (rows, columns, 3) as a data URI: least value black, largest white, thinned if it is large."""
    step = -(-max(values.shape[:2]) // MOST_PIXELS)
    thinned = values[::step, ::step].astype(np.float64)
    low, high = thinned.min(), thinned.max()
    shades = np.rint((thinned - low) / (high - low or 1) * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(shades).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
