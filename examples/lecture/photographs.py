"""Real photographs to calibrate and to try the lecture's networks on: crops of those that scikit-image ships."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")  # inside scikit-image's package: nothing is downloaded
MEAN = (123.68, 116.779, 103.939)  # of ImageNet's pixels, red, green, blue: Simonyan and Zisserman 2014


def photographs(count: int, size: int = 224, seed: int = 0) -> NDArray[np.float32]:
    """``count`` random square crops, resized: float32, (count, 3, size, size), RGB, about -124..151.

    Pixels keep their range of 0 to 255 and lose ImageNet's mean, as the networks of 2012 to 2015 take them: their local
    response normalizations do nothing to values of about 1.
    """
    from skimage import data, transform

    random = np.random.default_rng(seed)
    found = np.empty((count, 3, size, size), np.float32)
    for index in range(count):
        picture = getattr(data, PHOTOGRAPHS[index % len(PHOTOGRAPHS)])()
        side = int(random.integers(min(picture.shape[:2]) // 2, min(picture.shape[:2]) + 1))
        top, left = (int(random.integers(0, length - side + 1)) for length in picture.shape[:2])
        crop = transform.resize(picture[top : top + side, left : left + side], (size, size), anti_aliasing=True)
        found[index] = (255 * crop - MEAN).transpose(2, 0, 1)
    return found
