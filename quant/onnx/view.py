"""How an ONNX tensor sees a feature map: Reshape, Transpose and their like are algebra, and nothing is moved.

An axis of the tensor is made of *atoms*, outermost first: each walks along one axis of the map by a step of its own.
N x H x W x C of a map of C x H x W has one atom an axis; flattened, an axis of three; a channel shuffle cuts the
channels into two atoms and swaps them.  An axis of size 1 has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..graph.errors import ModelError
from .file import Array

Dimensions = tuple[int, ...]
IMAGES, CHANNELS, ROWS, COLUMNS = range(4)
MAP_AXES = {2: (IMAGES, CHANNELS), 3: (IMAGES, CHANNELS, COLUMNS), 4: (IMAGES, CHANNELS, ROWS, COLUMNS)}
"""What the axes of a map's own tensor are, by their number: (N, K), (N, C, L), (N, C, H, W)."""

VOLUME = 5
"""Axes of a volume, (N, C, D, H, W): a map of as many channels as all its slices have, never the map's own tensor."""

MOST_SPREAD = 2**22
"""Values that a constant may take which has fewer of its own."""


@dataclass(frozen=True)
class Atom:
    """``size`` places, at least 2, ``step`` apart, along ``axis`` of the map: IMAGES, CHANNELS, ROWS or COLUMNS."""

    axis: int
    size: int
    step: int


Axis = tuple[Atom, ...]


@dataclass(frozen=True)
class View:
    """A tensor whose values are those of ``map``, each once; ``axes`` says where."""

    map: str
    axes: tuple[Axis, ...]

    @property
    def dimensions(self) -> Dimensions:
        return tuple(prod(atom.size for atom in axis) for axis in self.axes)

    @property
    def atoms(self) -> list[Atom]:
        """All of them, as the tensor's values lie."""
        return [atom for axis in self.axes for atom in axis]

    @property
    def shape(self) -> Dimensions:
        """The map's own sizes, (N, C, H, W)."""
        return tuple(prod(atom.size for atom in self.atoms if atom.axis == axis) for axis in range(4))

    @property
    def is_plain(self) -> bool:
        """Whether the tensor is the map itself, as (N, K), (N, C, L) or (N, C, H, W)."""
        return len(self.axes) in MAP_AXES and self.axes == plain(self.map, self.dimensions).axes

    @property
    def places(self) -> tuple[int, ...] | None:
        """Which of the map's axes each of the tensor's is, as a whole; None if one is cut, joined or not known."""
        named = [axis[0].axis for axis in self.axes if axis]
        left = iter([axis for axis in range(4) if axis not in named])
        if len(self.axes) > 4 or len(set(named)) < sum(len(axis) for axis in self.axes):
            return None
        found = tuple(axis[0].axis if axis else next(left) for axis in self.axes)
        return found if found[0] == IMAGES else None

    def slices_as_channels(self) -> View:
        """A volume's (N, C, D, H, W) as (N, D * C, H, W), slice after slice, which is how a map holds it."""
        batch, channels, slices, rows, columns = self.dimensions
        found = self.transposed((0, 2, 1, 3, 4)).reshaped((batch, slices * channels, rows, columns))
        assert found is not None  # joins axes, and cuts none
        return found

    def transposed(self, order: Sequence[int]) -> View:
        """Axis ``n`` is what axis ``order[n]`` was."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def reshaped(self, wanted: Sequence[int]) -> View | None:
        """The tensor with axes of the sizes ``wanted``, as many values; None where they would cut across atoms."""
        left = self.atoms
        axes = []
        for size in wanted:
            axis: list[Atom] = []
            while size > 1:
                if not left:
                    return None
                atom = left.pop(0)
                if size % atom.size and atom.size % size:
                    return None
                taken = min(size, atom.size)
                inner = atom.size // taken
                axis.append(Atom(atom.axis, taken, atom.step * inner))
                if inner > 1:
                    left.insert(0, Atom(atom.axis, inner, atom.step))
                size //= taken
            axes.append(_merged(axis))
        return None if left else replace(self, axes=tuple(axes))

    def cut(self) -> tuple[Dimensions, list[int]]:
        """The sizes of all atoms, and the order that puts the map's axes in a row, the outermost atom of each first."""
        atoms = self.atoms
        order = sorted(range(len(atoms)), key=lambda n: (atoms[n].axis, -atoms[n].step))
        return tuple(atom.size for atom in atoms), order

    def to_map(self, values: Array, rank: int) -> Array:
        """``values`` that broadcast to the tensor, in the map's own axes, of which there are ``rank``: what lies where.

        An axis along which they are all the same has size 1.
        """
        shape = (1,) * (len(self.axes) - values.ndim) + values.shape
        sizes: list[int] = []  # of the values along each atom: its own, or 1
        for axis, size in zip(self.axes, shape, strict=True):
            whole = prod(atom.size for atom in axis) == size
            sizes += [atom.size if whole else 1 for atom in axis]
        full, order = self.cut()
        moved = values.reshape(sizes).transpose(order)
        wanted: list[int] = []
        spread: list[int] = []
        for number in MAP_AXES[rank]:
            places = [n for n in order if self.atoms[n].axis == number]
            same = all(sizes[n] == 1 for n in places)
            spread += [1 if same else full[n] for n in places]
            wanted.append(prod(1 if same else full[n] for n in places))
        if prod(spread) > max(MOST_SPREAD, values.size):
            raise ModelError(f"tensor '{self.map}': a constant is spread over {prod(spread):,} values of it; too many")
        return np.broadcast_to(moved, spread).reshape(wanted)

    def onto(self, other: View, rank: int) -> View | None:
        """This tensor, which broadcasts to ``other``, in the axes of other's map, of which there are ``rank``."""
        short = len(other.axes) - len(self.axes)
        padded = replace(self, axes=((),) * short + self.axes)
        sizes: list[int] = []
        for axis, size in zip(other.axes, padded.dimensions, strict=True):
            same = prod(atom.size for atom in axis) == size
            sizes += [atom.size if same else 1 for atom in axis]
        cut = padded.reshaped(sizes)
        if cut is None:
            return None
        order = other.cut()[1]
        atoms = other.atoms
        axes = [[n for n in order if atoms[n].axis == axis] for axis in MAP_AXES[rank]]
        return replace(self, axes=tuple(_merged([a for n in places for a in cut.axes[n]]) for places in axes))

    def inverse(self) -> View:
        """The map's axes, (N, C, H, W), as they would be seen if this tensor were the map."""
        found: list[tuple[int, int, Atom]] = []
        for axis, part in zip(MAP_AXES[len(self.axes)], self.axes, strict=True):
            step = prod(atom.size for atom in part)
            for atom in part:
                step //= atom.size
                found.append((atom.axis, -atom.step, Atom(axis, atom.size, step)))
        found.sort(key=lambda one: one[:2])
        return replace(self, axes=tuple(_merged([new for old, _, new in found if old == axis]) for axis in range(4)))

    def through(self, other: View) -> View | None:
        """This view of a map that is itself ``other``, plain dimensions of another map, as a view of that."""
        axes = []
        for axis in self.axes:
            found: list[Atom] = []
            for atom in axis:
                whole = View(other.map, (other.axes[atom.axis],))
                outer = whole.dimensions[0] // (atom.size * atom.step)
                parts = whole.reshaped((outer, atom.size, atom.step))
                if parts is None:
                    return None
                found += parts.axes[1]
            axes.append(_merged(found))
        return View(other.map, tuple(axes))


def plain(name: str, dimensions: Dimensions) -> View:
    """A map's own tensor: (N, K), (N, C, L) or (N, C, H, W); or a volume as a map holds it, (N, C, D, H, W)."""
    if len(dimensions) == VOLUME:
        images, channels, slices, *size = dimensions
        flat = plain(name, (images, slices * channels, *size)).axes
        apart = View(name, flat[CHANNELS : CHANNELS + 1]).reshaped((slices, channels))
        assert apart is not None
        return View(name, (flat[IMAGES], *apart.axes[::-1], *flat[ROWS:]))
    pairs = zip(MAP_AXES[len(dimensions)], dimensions, strict=True)
    return View(name, tuple((Atom(axis, size, 1),) if size > 1 else () for axis, size in pairs))


def _merged(atoms: Sequence[Atom]) -> Axis:
    """``atoms`` of one axis, with those joined that walk on where the next one ends."""
    found: list[Atom] = []
    for atom in atoms:
        if found and found[-1].axis == atom.axis and found[-1].step == atom.size * atom.step:
            atom = Atom(atom.axis, found.pop().size * atom.size, atom.step)
        found.append(atom)
    return tuple(found)
