"""How many images are computed at once, and how many are learned from: as many as memory and time allow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from ..networks.layers import Convolution, FloatGraph, Floats
from ..networks.shapes import shapes

BATCH_VALUES = 2**23  # floats of the largest tensor of one batch
MOST_IMAGES = 256
MOST_VALUES = 2**27  # floats of the maps that wait for a reader, both networks'
MOST_MACS = 2**40  # of one network on all images


def batch_size(network: FloatGraph) -> int:
    """Images whose largest tensor stays bounded, 1 to 64."""
    largest = max(rows * columns * channels for channels, rows, columns in shapes(network).values())
    return max(1, min(64, BATCH_VALUES // largest))


def some_images(network: FloatGraph, images: Mapping[str, Floats]) -> dict[str, Floats]:
    """As many of ``images``, evenly spaced and no two the same, as memory and time allow to learn from."""
    size = shapes(network)
    waiting, most, macs = set(network.inputs), 0, 1
    left = Counter(name for layer in network.layers for name in layer.inputs)
    for layer in network.layers:
        waiting.add(layer.output)
        most = max(most, sum(math.prod(size[name]) for name in waiting))
        left.subtract(layer.inputs)
        waiting -= {name for name in layer.inputs if not left[name]}
        if isinstance(layer, Convolution):
            macs += math.prod(size[layer.output]) * layer.weights[0].size
    seen: dict[tuple[bytes, ...], int] = {}
    for number, one in enumerate(zip(*images.values(), strict=True)):
        seen.setdefault(tuple(sha256(values.tobytes()).digest() for values in one), number)
    different = {name: values[list(seen.values())] for name, values in images.items()}
    wanted = max(1, min(len(seen), MOST_IMAGES, MOST_VALUES // (2 * most), MOST_MACS // macs))
    return evenly(different, wanted)


def evenly(images: Mapping[str, Floats], wanted: int) -> dict[str, Floats]:
    """So many of ``images``, evenly spaced, by input."""
    count = len(next(iter(images.values())))
    chosen = np.linspace(0, count - 1, wanted).astype(np.intp)
    return {name: values[chosen] for name, values in images.items()}
