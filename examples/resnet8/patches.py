"""Small labelled pictures from photographs that Python packages carry: nothing is downloaded.

A picture is a 32x32 patch, cut at random from a 40x40 cell of one of ten photographs; its class is the photograph.  The
cells of a photograph do not overlap, and each belongs, by a seeded draw, to training, calibration or testing alone.  A
picture's brightness, contrast and saturation are drawn at random, or its colours alone would tell what it is.

``python -m examples.resnet8.patches OUT.npz`` cuts more pictures for testing than the example carries, 2,000.

Photographs: scikit-image's astronaut, hubble_deep_field (NASA, public domain), rocket (SpaceX, public domain), chelsea
(S. van der Walt), coffee (R. Michetti), retina (M. Häggström), camera (L. Varshney; CC0 all four), immunohistochemistry
(CMMI, no known restrictions); scikit-learn's china (danielbuechele) and flower (vultilion), both CC BY 2.0.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SEED = 2024
CELL, SIDE = 40, 32
CLASSES = ("astronaut", "camera", "chelsea", "china", "coffee", "flower", "hubble_deep_field", "immunohistochemistry",
           "retina", "rocket")  # fmt: skip
SHARES = {"training": 0.7, "calibration": 0.1, "testing": 0.2}
GRAY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601's weights of red, green and blue
Part = Literal["training", "calibration", "testing"]


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """(rows, columns, 3)"""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"))
    from skimage import color, data

    picture = getattr(data, name)()
    return np.asarray(picture if picture.ndim == 3 else color.gray2rgb(picture))


@cache
def cells(part: Part) -> tuple[NDArray[np.uint8], ...]:
    """For each class the cells of ``part``, (count, 40, 40, 3)."""
    random = np.random.default_rng(SEED)
    found = []
    for name in CLASSES:
        whole = photograph(name)
        down, across = whole.shape[0] // CELL, whole.shape[1] // CELL
        grid = whole[: down * CELL, : across * CELL].reshape(down, CELL, across, CELL, 3).swapaxes(1, 2)
        shuffled = random.permutation(grid.reshape(-1, CELL, CELL, 3))
        ends = np.rint(np.cumsum(list(SHARES.values())) * len(shuffled)).astype(int)
        found.append(dict(zip(SHARES, np.split(shuffled, ends[:-1]), strict=True))[part])
    return tuple(found)


def patches(
    part: Part, count: int, random: np.random.Generator, change: float = 1.0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``count`` pictures, (count, 3, 32, 32) of 0..1 in steps of 1/255, and their classes in turn, (count,).

    change : how far colours may change, of what they may in this example: with less a network is trained sooner
    """
    labels = np.arange(count) % len(CLASSES)
    pictures = np.empty((count, SIDE, SIDE, 3), np.float32)
    for index, label in enumerate(labels):
        choices = cells(part)[label]
        cell = choices[random.integers(len(choices))]
        top, left = random.integers(0, CELL - SIDE + 1, 2)
        pictures[index] = cell[top : top + SIDE, left : left + SIDE]
    pictures = np.where(random.random((count, 1, 1, 1)) < 0.5, pictures[:, :, ::-1], pictures)
    gray = (pictures @ GRAY)[..., None]
    mean = gray.mean((1, 2), keepdims=True)
    saturation, contrast, brightness = random.uniform(
        [[1 - change], [1 - 0.4 * change], [-50 * change]], [[1], [1 + 0.4 * change], [50 * change]], (3, count)
    )[:, :, None, None, None]
    pictures = gray + saturation * (pictures - gray)
    pictures = mean + contrast * (pictures - mean) + brightness
    pixels = np.rint(np.clip(pictures, 0, 255)).astype(np.float32) / np.float32(255)
    return pixels.transpose(0, 3, 1, 2), labels


def main() -> None:
    images, labels = patches("testing", 2000, np.random.default_rng(SEED + 1))
    np.savez_compressed(sys.argv[1], x=images, y=labels)


if __name__ == "__main__":
    main()
