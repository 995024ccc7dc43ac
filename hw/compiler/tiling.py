"""The choice of a layer's tiling: the shape of its spatial tiles, the slices of its channels, and the parts of its
reduction, that fit best."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import MAXIMUM_KIB, Parameters
from .cost import Costs, Integers, Reals, Shapes, Traffic
from .cutting import Part, Partition, SpatialTile, finest, partitions, slicings, tile_count, whole
from .geometry import Geometry
from .sliding import rows_of_results
from .span import Span

PIECE = 2600
"""Cycles that a tile of the vector unit alone may take: so long the array, two channel tiles ahead, need not wait."""

PIECES = 6
"""Tiles, at least, of a layer of the vector unit alone: so most of it can be done before its source is whole."""

SHORT = 500
"""Cycles of a tile of the vector unit alone that is short enough: each costs some 50 for its tokens and transfers."""

LAST = 250
"""The same where the array's work is done by the time that the last tile can begin."""

CLOSE = 1.003
"""Tilings whose costs differ by less are equal; the smaller slots win, and leave room for the next layer's."""


@dataclass(frozen=True)
class Tiling:
    """A choice for one layer: its spatial tiles, the parts of its reduction, and what they take.

    shape, count : rows and columns of a tile's result at most, and how many tiles there are
    sliced, slices : channel tiles in a slice of its channels, 0 if all are loaded at once; and how many slices
    input_slices : of them, how many load channels of their own
    input_slot, operand_slot, output_slot : elements that the largest piece of a tile takes of each, 0 if it is resident
    cost : estimated cycles, to choose by;  array, bus, loader, ends : of these, as Costs has them
    tiles : all of them, in raster order, once it is placed
    bands : if not 0, the input comes in so many pieces of whole rows, each for all tiles of these rows
    pieces : of each tile of a relay that one after the other go through the accumulators
    """

    shape: Span
    count: int
    sliced: int
    slices: int
    input_slices: int
    parts: tuple[Part, ...]
    input_slot: int
    operand_slot: int
    output_slot: int
    cost: float
    array: float
    bus: float
    loader: float
    ends: float
    tiles: tuple[SpatialTile, ...] = ()
    bands: int = 0
    pieces: int = 1

    @property
    def loads(self) -> int:
        """Slots for the input: two if there is more than one piece of it."""
        pieces = self.bands or self.count * self.input_slices * len(self.parts)
        return 0 if not self.input_slot else 2 if pieces > 1 else 1

    @property
    def others(self) -> int:
        """Slots for the operand, and for the output."""
        return 2 if self.count * self.slices > 1 else 1

    @property
    def space(self) -> int:
        """Elements of all slots."""
        return self.loads * self.input_slot + self.others * (self.operand_slot + self.output_slot)


@dataclass(frozen=True, eq=False)
class _Fitted:
    """Of each shape, the index of the coarsest partition whose pieces fit, or -1; its largest piece, and its cost.

    bands : pieces of whole rows, where those are loaded
    """

    partition: Integers
    load: Integers
    cost: Reals
    bands: Integers


class Tilings:
    """All tilings of layers of one geometry and traffic: measured once, for any room."""

    def __init__(self, g: Geometry, p: Parameters, traffic: Traffic) -> None:
        g = g.taken if traffic.load else g
        self.g, self.p = g, p
        useful = traffic.store or traffic.operand or (traffic.load and g.groups > 1)
        self._slicings = [_Slicing(g, p, traffic, sliced) for sliced in (slicings(g, p) if useful else [0])]

    def fitting(self, space: int) -> Iterator[Tiling]:
        """Of each slicing and shape of tile, the tiling with the coarsest parts that fit ``space`` elements."""
        for slicing in self._slicings:
            fitted = slicing.fitted(space)
            yield from (slicing.tiling(fitted, int(shape)) for shape in np.flatnonzero(fitted.partition >= 0))

    def best(self, space: int, slack: float = CLOSE, *, whole: bool = False) -> Tiling | None:
        """The smallest of those that fit and cost at most ``slack`` times the cheapest, or None.

        whole : it has as few slices as these have, for memories like long spans
        Without the array, the widest, then largest tile that takes no more than PIECE cycles: others need not wait for
        it, and who reads its rows can begin soon.  Of several slicings, the one of least cost.
        """
        if not self.g.on_array:
            found = [tiling for slicing in self._slicings if (tiling := slicing.shortest(space)) is not None]
            return min(found, key=lambda tiling: (tiling.cost, tiling.space), default=None)
        fitted = [slicing.fitted(space) for slicing in self._slicings]
        cheapest = min(of.cost.min() for of in fitted)
        if cheapest == np.inf:
            return None
        near = [
            (slicing.shapes.slices if whole else 0, taken, cost, slicing, of, shape)
            for slicing, of in zip(self._slicings, fitted, strict=True)
            for taken, cost, shape in slicing.near(of, cheapest * slack)
        ]
        *_, slicing, of, shape = min(near, key=lambda found: found[:3])
        return slicing.tiling(of, shape)


class _Slicing:
    """The tilings with slices of so many channel tiles, measured partition by partition."""

    def __init__(self, g: Geometry, p: Parameters, traffic: Traffic, sliced: int) -> None:
        self.g, self.p, self.traffic = g, p, traffic
        self.shapes = shapes = Shapes(g, p, traffic, sliced)
        self._loaded = shapes.count * (shapes.slices if shapes.own_loads else 1)  # pieces of the input, in one part
        self._others = np.where(shapes.count * shapes.slices > 1, 2, 1) * (shapes.operand_slot + shapes.output_slot)
        parted = g.on_array and traffic.load and not sliced
        self._coming = partitions(g, p) if parted else iter([whole(g, p)])
        self._measured: list[tuple[Partition, Integers, Costs]] = []  # each shape's largest piece, and its costs

    def near(self, fitted: _Fitted, most: float) -> Iterator[tuple[int, float, int]]:
        """Elements of all slots, cost and shape of those that fit and cost no more than ``most``."""
        near = np.flatnonzero(fitted.cost <= most)
        if not len(near):
            return
        yield from zip(self._space(fitted)[near].tolist(), fitted.cost[near].tolist(), near.tolist(), strict=True)

    def shortest(self, space: int) -> Tiling | None:
        """See Tilings.best."""
        fitted = self.fitted(space)
        found = np.flatnonzero(fitted.partition >= 0)
        if not len(found):
            return None
        columns, tiles = self.shapes.columns, self.shapes.sliced or tile_count(self.g, self.p)
        cycles = tiles * rows_of_results(self.g, self.p, self.shapes.rows, columns)
        sixth = tiles * rows_of_results(self.g, self.p, *self.g.target[1:]) // PIECES
        most = LAST if self.traffic.trails else min(PIECE, max(SHORT, sixth))
        short = found[cycles[found] <= most].tolist()
        return self.tiling(
            fitted,
            max(short, key=lambda shape: (columns[shape], cycles[shape]))
            if short
            else min(found.tolist(), key=lambda shape: cycles[shape]),
        )

    def fitted(self, space: int) -> _Fitted:
        """Of each shape what fits ``space`` elements."""
        count = self._loaded
        room = space - self._others
        none = np.zeros(len(count), np.int64)
        fitted = _Fitted(none - 1, none.copy(), np.full(len(count), np.inf), none.copy())
        left = self.shapes.possible & (room >= 0)
        number = 0
        while left.any() and (measured := self._partition(number)):
            partition, load, costs = measured
            fits = left & (load <= room // np.where(count * len(partition) > 1, 2, 1))
            fitted.partition[fits], fitted.load[fits], fitted.cost[fits] = number, load[fits], costs.total[fits]
            left &= ~fits
            if number == 0 and not self.shapes.sliced:
                left &= self._smallest_load <= room // np.where(count > 1, 2, 1)  # the others never will
            number += 1
        if self._measured and self.g.on_array and self.traffic.load and not self.shapes.own_loads:
            load, costs = self._whole_rows
            bands = self.shapes.bands
            fits = self.shapes.possible & (load <= room // np.where(bands > 1, 2, 1))
            better = fits & (bands < count) & (costs.total < fitted.cost)
            fitted.partition[better], fitted.bands[better] = 0, bands[better]
            fitted.load[better], fitted.cost[better] = load[better], costs.total[better]
        return fitted

    @cached_property
    def _whole_rows(self) -> tuple[Integers, Costs]:
        """Of each shape, the largest piece and the cost if tiles of the same rows share one of whole rows."""
        return self.shapes.measured(self._measured[0][0], whole_rows=True)

    def _partition(self, number: int) -> tuple[Partition, Integers, Costs] | None:
        """The partition of this number, coarsest first, measured; None behind the last."""
        if number == len(self._measured):
            partition = next(self._coming, None)
            if partition is None:
                return None
            self._measured.append((partition, *self.shapes.measured(partition)))
        return self._measured[number]

    @cached_property
    def _smallest_load(self) -> Integers:
        """Of each shape, the largest piece where the reduction is cut as far as can be."""
        load, _ = self.shapes.measured(finest(self.g, self.p))
        return load

    def _space(self, fitted: _Fitted) -> Integers:
        """Elements of all slots: Tiling.space of each shape."""
        parts = np.array([len(partition) for partition, *_ in self._measured])[fitted.partition]
        pieces = np.where(fitted.bands > 0, fitted.bands, self._loaded * parts)
        slots: Integers = np.where(pieces > 1, 2, 1) * fitted.load + self._others
        return slots

    def tiling(self, fitted: _Fitted, shape: int) -> Tiling:
        shapes = self.shapes
        partition, _, costs = self._measured[fitted.partition[shape]]
        if fitted.bands[shape]:
            _, costs = self._whole_rows
        return Tiling(
            (int(shapes.rows[shape]), int(shapes.columns[shape])),
            int(shapes.count[shape]),
            shapes.sliced,
            shapes.slices,
            shapes.slices if shapes.own_loads else 1,
            partition.parts,
            int(fitted.load[shape]),
            int(shapes.operand_slot[shape]),
            int(shapes.output_slot[shape]),
            float(costs.total[shape]),
            float(costs.array[shape]),
            float(costs.bus[shape]),
            float(costs.loader[shape]),
            float(costs.ends[shape]),
            bands=int(fitted.bands[shape]),
        )


def refuse(name: str, g: Geometry, p: Parameters, traffic: Traffic, tables: int) -> ConfigurationError:
    """Why no tiling of layer ``name`` fits beside ``tables`` elements: the memory that is too small; what would do."""
    window = g.pool.kernel[0] * g.pool.kernel[1] if g.pool else 1
    if g.on_array and window > p.accumulator_depth:
        kib = -(-window * 8 * p.columns // 1024)
        return ConfigurationError(
            f"layer '{name}': one pooling window needs {window} accumulators a column, the accumulator memory of "
            f"{p.accumulator_kib} KiB holds {p.accumulator_depth}; {kib} KiB would do"
        )
    tilings = Tilings(g, p, traffic)

    def fits(kib: int) -> bool:
        return next(tilings.fitting(kib * 1024 // p.element_bytes - tables), None) is not None

    sizes = range(p.activation_kib + 1, MAXIMUM_KIB + 1)
    kib = sizes[bisect_left(sizes, True, key=fits)] if fits(MAXIMUM_KIB) else 0
    would_do = f"{kib} KiB would do" if kib else f"even {MAXIMUM_KIB} KiB would not do"
    return ConfigurationError(
        f"layer '{name}': no tile of it fits the activation memory of {p.activation_kib} KiB; {would_do}"
    )
