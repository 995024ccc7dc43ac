"""What a network reads, and optionally labels: from an .npz file, or as arrays.

A network of one input calls it ``x``; where there are several, each has its own name.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import npz
from .quant import DataError, check_images, write_whole
from .quant.graph import Shape
from .quant.graph.host import HostArray, apply_steps
from .quant.graph.ports import by_name
from .quant.onnx.context import image_of

Inputs = str | os.PathLike[str] | NDArray[Any] | Mapping[str, NDArray[Any]] | tuple[Any, NDArray[Any]]
"""Path of an .npz file that holds ``x`` and optionally ``y``, or the array ``x``, or the pair ``(x, y)``.

Where the network has several inputs, the file holds an array for each by its name, and ``x`` is such a mapping.
"""

EXACT = 2**24
"""float32 holds every integer from -EXACT to EXACT."""


@dataclass(frozen=True, eq=False)
class Data:
    """arrays : of each input by name, float32, (N, C, rows, columns);  called : what messages call each

    y : integers, (N,), or None without labels
    """

    arrays: Mapping[str, NDArray[np.float32]]
    y: NDArray[np.integer[Any]] | None
    called: Mapping[str, str]

    @property
    def x(self) -> NDArray[np.float32]:
        """What the only input reads."""
        (x,) = self.arrays.values()
        return x

    def __len__(self) -> int:
        """Images."""
        return len(next(iter(self.arrays.values())))

    def checked(
        self, shapes: Mapping[str, Shape], arranged: Mapping[str, HostArray] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """``arrays`` as maps.  Raises DataError unless each is finite and has images of its input's ``shapes``.

        arranged : inputs that lie otherwise in the model's file, and how they become maps
        """
        found = {}
        for name, values in self.arrays.items():
            array = (arranged or {}).get(name)
            if array is not None and values.shape[1:] == _as_loaded(array.shape):
                values = apply_steps(array.steps, values.reshape(len(values), *array.shape))
            elif array is not None and values.shape[1:] != shapes[name]:
                takes = f"Nx{npz.volume(array.shape)}"
                raise DataError(f"{self.called[name]} has shape {npz.volume(values.shape)}; the model takes {takes}")
            check_images(values, shapes[name], self.called[name])
            found[name] = values
        return found


def load_data(inputs: Inputs, labels: ArrayLike | None = None, names: Sequence[str] = ("x",)) -> Data:
    """The images and labels of ``inputs``: NxCxHxW, NxCxDxHxW, NxCxL or NxK, of any type of real numbers.

    labels : (N,) or (N, 1) integers, if ``inputs`` has none;  names : of the network's inputs; one alone is ``x``
    Raises DataError, naming the file, for anything else, and for values that float32 cannot hold.
    """
    where = f"'{os.fspath(inputs)}': " if isinstance(inputs, str | os.PathLike) else ""
    found, y = (
        _from_file(inputs, where, names) if isinstance(inputs, str | os.PathLike) else _from_arrays(inputs, names)
    )
    if labels is not None:
        if y is not None:
            raise DataError(f"{where}labels are given twice, as labels and as y; give them once")
        y = _array(labels, "labels")
        _check_labels("labels", y.dtype, y.shape, len(found[names[0]]))
    arrays, called = {}, {}
    for name, values in found.items():
        said = "x" if len(names) == 1 else name
        said = f"{said} in '{os.fspath(inputs)}'" if isinstance(inputs, str | os.PathLike) else said
        values = _as_float32(values, said)
        if values.ndim == 3:  # a signal is one row
            values, said = values[:, :, None, :], f"{said}, read as NxCxL,"
        elif values.ndim == 2:  # and a vector one pixel
            values, said = values[:, :, None, None], f"{said}, read as NxK,"
        arrays[name], called[name] = values, said
    return Data(arrays, None if y is None else y.reshape(-1), called)


def save_arrays(path: str | os.PathLike[str], **arrays: NDArray[Any]) -> None:
    """Write an .npz file, whole or not at all.  Raises DataError if it cannot be written."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(Path(path), buffer.getvalue())


def _from_file(
    path: str | os.PathLike[str], where: str, names: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """The arrays of ``names`` and ``y`` of an .npz file, checked by their headers before they take any memory."""
    with npz.opened(path) as archive:
        stated = {}
        for name in names:
            known = ("x", name) if len(names) == 1 else (name,)  # one input alone may have its own name too
            x = next((found for found in map(archive.stated, known) if found is not None), None)
            if x is None:
                found = ", ".join(archive.names) or "nothing"
                store = "the images as x, NxCxHxW" if len(names) == 1 else f"an array for each of {', '.join(names)}"
                raise DataError(f"'{archive.path}' has no array '{known[0]}' (it holds {found}); store {store}")
            _check_images(f"{where}{known[0]}", x.dtype, x.shape)
            stated[name] = x
        images = _count({name: x.shape[0] for name, x in stated.items()})
        y = archive.stated("y")
        if y is not None:
            _check_labels(f"{where}y", y.dtype, y.shape, images)
        return {name: archive.read(x) for name, x in stated.items()}, None if y is None else archive.read(y)


def _from_arrays(
    inputs: NDArray[Any] | Mapping[str, NDArray[Any]] | tuple[Any, ...], names: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], NDArray[Any] | None]:
    """The arrays of ``names`` and ``y`` of an array or a mapping, or of a pair of it and labels."""
    images, *labels = inputs if isinstance(inputs, tuple) else (inputs,)
    if len(labels) > 1:
        raise DataError(f"a tuple of {len(inputs)} is no pair of images and labels (x, y)")
    arrays = by_name(images, names)
    for name, values in arrays.items():
        said = "x" if len(names) == 1 else name
        arrays[name] = _array(values, said)
        _check_images(said, arrays[name].dtype, arrays[name].shape)
    count = _count({name: len(values) for name, values in arrays.items()})
    if not labels:
        return arrays, None
    y = _array(labels[0], "y")
    _check_labels("y", y.dtype, y.shape, count)
    return arrays, y


def _count(counts: Mapping[str, int]) -> int:
    """The one number of images.  Raises DataError if inputs have different ones."""
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} for '{name}'" for name, count in counts.items())
        raise DataError(f"the numbers of images differ: {listed}")
    return next(iter(counts.values()))


def _as_loaded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """How ``load_data`` hands out images of ``shape``: as maps, but volumes as they are."""
    return shape if len(shape) > 3 else image_of((1, *shape))


def _array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device or with gradients
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{name} cannot be made a NumPy array: {reason}") from error


def _check_images(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "biuf":
        raise DataError(f"{name} has type {dtype}; it must be real numbers, best float32")
    if len(shape) not in (2, 3, 4, 5):
        raise DataError(f"{name} has shape {npz.volume(shape)}; it must be NxCxHxW, NxCxDxHxW, NxCxL or NxK")


def _check_labels(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], images: int) -> None:
    if dtype.kind not in "iu" or shape not in ((images,), (images, 1)):
        raise DataError(f"{name} has type {dtype} and shape {npz.volume(shape)}; it must be {images} integers")


def _as_float32(values: NDArray[Any], name: str) -> NDArray[np.float32]:
    """The same numbers as float32.  Raises DataError, naming the first that has none; NaN stays NaN."""
    with np.errstate(over="ignore", under="ignore"):
        single = np.ascontiguousarray(values, np.float32)
    if np.can_cast(values.dtype, np.float32):
        return single
    if values.dtype.kind in "iu":
        lost = (values > EXACT) | (values < -EXACT)
        remedy = f"; integers may be {-EXACT} to {EXACT}, which float32 holds"
    else:
        lost = (single != values) & (values == values)  # compared in the wider type
        remedy = f", of type {values.dtype}, which float32 does not hold exactly; x.astype(numpy.float32) rounds it"
    if lost.any():
        first = np.unravel_index(int(lost.argmax()), lost.shape)
        raise DataError(f"{name} holds {values[first]} in image {first[0]}{remedy}")
    return single
