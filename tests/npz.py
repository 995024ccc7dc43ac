"""The arrays of an .npz file that a test vouches for; the file is closed again."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def read(path: str | Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)
