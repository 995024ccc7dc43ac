"""Values of a map at any indices along its axes, as layers that take evenly spaced ones and join them; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..graph import Pair, Shape, Steps
from .layers import Concatenation, FloatLayer, PixelShuffle, Slicing

AXES = ("channels", "rows", "columns")
MOST = 64
"""Pieces of evenly spaced rows or columns that a map may be joined of."""


def evenly(indices: Sequence[int], most: int | None = None) -> list[Steps]:
    """``indices`` as runs (first, step, count), each step at least 1; after one more than ``most`` it stops."""
    found: list[Steps] = []
    for index in indices:
        first, step, count = found[-1] if found else (0, 0, 0)
        gap = index - first - step * (count - 1) if count > 1 else index - first
        if count == 1 and gap >= 1:
            found[-1] = first, gap, 2
        elif count > 1 and gap == step:
            found[-1] = first, step, count + 1
        else:
            found.append((index, 1, 1))
            if most is not None and len(found) > most:
                break
    return found


def pick(
    name: str, operator: str, source: str, output: str, shape: Shape, indices: Mapping[int, Sequence[int]]
) -> list[FloatLayer]:
    """Layers that make ``output`` of ``source``, a map of ``shape``: along axis 0 (channels), 1 (rows) or 2 (columns),
    its values at ``indices``, in that order; an axis that is left out stays.

    Raises ValueError for more than MOST pieces.
    """
    runs = {axis: evenly(places, None if axis else 1) for axis, places in indices.items()}
    wanted = {axis: found for axis, found in runs.items() if found != [(0, 1, shape[axis])]}
    if all(len(found) == 1 for found in wanted.values()) or set(wanted) == {0}:
        return [_slicing((name, operator, (source,), output), shape, {axis: indices[axis] for axis in wanted})]
    made: list[FloatLayer] = []
    for axis, found in wanted.items():
        if axis and len(found) > MOST:
            raise ValueError(f"{len(found)} pieces")
        whole = output if axis == list(wanted)[-1] else f"{output}/{AXES[axis]}"
        if axis == 0 or len(found) == 1:
            made.append(_slicing((f"{name}/{AXES[axis]}", operator, (source,), whole), shape, {axis: indices[axis]}))
        else:
            parts = [f"{whole}/{number}" for number in range(len(found))]
            for number, (first, step, count) in enumerate(found):
                if (first, step, count) == (0, 1, shape[axis]):
                    parts[number] = source
                    continue
                names = f"{name}/{AXES[axis]}/{number}", operator, (source,), parts[number]
                made.append(_slicing(names, shape, {axis: range(first, first + step * count, step)}))
            made.append(Concatenation(f"{name}/{AXES[axis]}", operator, tuple(parts), whole, axis + 1))
        source = whole
        channels, rows, columns = (len(indices[axis]) if n == axis else size for n, size in enumerate(shape))
        shape = channels, rows, columns
    return made


def enlarge(name: str, operator: str, source: str, output: str, shape: Shape, block: Pair) -> list[FloatLayer]:
    """Layers that make ``output`` of ``source``, a map of ``shape``: each pixel ``block`` (rows, columns) times."""
    copies = list(range(shape[0])) * (block[0] * block[1])
    made = pick(f"{name}/copies", operator, source, f"{output}/copies", shape, {0: copies})
    return [*made, PixelShuffle(name, operator, (f"{output}/copies",), output, block)]


def repeat(
    name: str, operator: str, source: str, output: str, shape: Shape, times: tuple[int, int, int]
) -> list[FloatLayer]:
    """Layers that make ``output`` of ``source``, a map of ``shape``: that so many ``times`` along each axis.

    Axes of 1 are enlarged one after the other, which takes fewer channels on the way than both at once.
    Raises ValueError for more than MOST pieces, which axes of several rows or columns take.
    """
    alone = [axis for axis in (2, 1) if shape[axis] == 1 and times[axis] > 1]
    wanted = {
        axis: list(range(shape[axis])) * times[axis] for axis in range(3) if times[axis] > 1 and axis not in alone
    }
    made: list[FloatLayer] = []
    if wanted or not alone:
        joined = f"{output}/joined" if alone else output
        made += pick(f"{name}/joined" if alone else name, operator, source, joined, shape, wanted)
        source = joined
    channels, rows, columns = (len(wanted[axis]) if axis in wanted else shape[axis] for axis in range(3))
    for axis in alone:
        last = axis == alone[-1]
        whole, called = (output, name) if last else (f"{output}/{AXES[axis]}", f"{name}/{AXES[axis]}")
        block = (times[1], 1) if axis == 1 else (1, times[2])
        made += enlarge(called, operator, source, whole, (channels, rows, columns), block)
        source, rows, columns = whole, rows * block[0], columns * block[1]
    return made


def interleave(
    name: str, operator: str, parts: Sequence[str], output: str, shape: Shape, block: Pair
) -> list[FloatLayer]:
    """Layers that make ``output``, a map of ``shape``, of ``parts``: what one each has at (0, 0) of all blocks of
    ``block`` (rows, columns), at (0, 1) and so on.  What blocks have below and beside the map falls away.
    """
    channels, *size = shape
    rows, columns = (-(-length // times) * times for length, times in zip(size, block, strict=True))
    joined, whole = f"{output}/parts", output if size == [rows, columns] else f"{output}/blocks"
    made: list[FloatLayer] = [
        Concatenation(f"{name}/parts", operator, tuple(parts), joined),
        PixelShuffle(f"{name}/blocks", operator, (joined,), whole, block),
    ]
    if whole != output:
        kept = {axis: range(shape[axis]) for axis in (1, 2)}
        made += pick(name, operator, whole, output, (channels, rows, columns), kept)
    return made


def _slicing(
    names: tuple[str, str, tuple[str, ...], str], shape: Shape, indices: Mapping[int, Sequence[int]]
) -> Slicing:
    """``indices`` along rows and columns are evenly spaced."""
    (rows,), (columns,) = (evenly(indices[n]) if n in indices else [(0, 1, shape[n])] for n in (1, 2))
    return Slicing(*names, tuple(indices.get(0, range(shape[0]))), rows, columns)
