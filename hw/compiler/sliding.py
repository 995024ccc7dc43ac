"""Reads and cycles of the vector unit for each result, and which averages' totals slide along a row.

A window that is read whole takes a read for each of its elements.  Where totals slide, a row's first window does, and
each further one takes the columns that the one before did not have.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..isa.parameters import SLIDING_ELEMENTS, Parameters
from .geometry import Geometry

Counts = TypeVar("Counts", NDArray[np.int64], int)


def whole_reads(g: Geometry) -> int:
    """Vectors that the vector unit reads for a result whose window is read whole."""
    window = g.pool.kernel[0] * g.pool.kernel[1] if g.pool else 1
    return window + g.adds


def slides(g: Geometry, p: Parameters) -> bool:
    """Whether totals slide: if the accelerator with ``p`` holds their columns, and it is faster."""
    if g.pool is None or not g.pool.runs or g.target[2] == 1:
        return False
    rows, columns = g.pool.kernel
    if columns > p.sliding or rows * columns > SLIDING_ELEMENTS:
        return False
    return max(_new_reads(g), p.lane_groups) < max(whole_reads(g), p.lane_groups)


def reads(g: Geometry, p: Parameters) -> int:
    """Vectors that the vector unit reads for each result; where totals slide, for each but a row's first."""
    return _new_reads(g) if slides(g, p) else whole_reads(g)


def interval(g: Geometry, p: Parameters) -> int:
    """Cycles from one result of the vector unit to the next in its row, if no read of a map waits for its bank."""
    return max(reads(g, p), p.lane_groups)


def lead(g: Geometry, p: Parameters) -> int:
    """Cycles that the first result of a row takes more than each further one."""
    return max(whole_reads(g), p.lane_groups) - interval(g, p)


def row_lead(g: Geometry, p: Parameters) -> int:
    """The same for all of a row whose results are cut where their windows count other numbers of elements."""
    return lead(g, p) * max(1, g.pool.runs if g.pool else 1)


def rows_of_results(g: Geometry, p: Parameters, rows: Counts, columns: Counts) -> Counts:
    """Cycles of the vector unit for ``rows`` of ``columns`` results of a channel tile."""
    return rows * (columns * interval(g, p) + row_lead(g, p))


def _new_reads(g: Geometry) -> int:
    """For a result whose window but for its new columns has been read."""
    assert g.pool is not None
    return g.pool.kernel[0] * g.pool.strides[1] + g.adds
