"""What an image left: the memory's bytes, and the monitor's events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def event_type(width: int) -> np.dtype[np.void]:
    """One monitor event: cycle, address, count (valid bytes), data (width bytes, zero beyond count)."""
    return np.dtype([("cycle", "<u8"), ("address", "<u4"), ("count", "<u4"), ("data", "u1", (width,))])


@dataclass
class Contents:
    """Memory after an image: bytes, which of them were written, and the cycle of each bus word's last write."""

    data: NDArray[np.uint8]
    written: NDArray[np.bool_]
    stamps: NDArray[np.uint64]
