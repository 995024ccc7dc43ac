"""Images ``x`` as the model takes them, and optionally their labels ``y``: from an .npz file, or as arrays."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import npz
from .quant import DataError, write_whole

Inputs = str | os.PathLike[str] | NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]
"""Path of an .npz file that holds ``x`` and optionally ``y``, or the array ``x``, or the pair ``(x, y)``."""

EXACT = 2**24
"""float32 holds every integer from -EXACT to EXACT."""


@dataclass(frozen=True, eq=False)
class Data:
    """x : float32, (N, C, rows, columns);  y : integers, (N,), or None without labels;  name : what messages call x"""

    x: NDArray[np.float32]
    y: NDArray[np.integer[Any]] | None
    name: str = "x"


def load_data(inputs: Inputs, labels: ArrayLike | None = None) -> Data:
    """The images and labels of ``inputs``; its ``x`` may be NxCxHxW or NxCxL, of any type of real numbers.

    labels : (N,) or (N, 1) integers, if ``inputs`` has none
    Raises DataError, naming the file, for anything else, and for values that float32 cannot hold.
    """
    if isinstance(inputs, str | os.PathLike):
        where, name = f"'{os.fspath(inputs)}': ", f"x in '{os.fspath(inputs)}'"
        x, y = _from_file(inputs, where)
    else:
        where, name = "", "x"
        x, y = _from_arrays(inputs)
    if labels is not None:
        if y is not None:
            raise DataError(f"{where}labels are given twice, as labels and as y; give them once")
        y = _array(labels, "labels")
        _check_labels("labels", y.dtype, y.shape, len(x))
    x = _as_float32(x, name)
    if x.ndim == 3:  # a signal is one row
        x, name = x[:, :, None, :], f"{name}, read as NxCxL,"
    return Data(x, None if y is None else y.reshape(-1), name)


def save_arrays(path: str | os.PathLike[str], **arrays: NDArray[Any]) -> None:
    """Write an .npz file, whole or not at all.  Raises DataError if it cannot be written."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(Path(path), buffer.getvalue())


def _from_file(path: str | os.PathLike[str], where: str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """``x`` and ``y`` of an .npz file, checked by their headers before they take any memory."""
    with npz.opened(path) as archive:
        x, y = archive.stated("x"), archive.stated("y")
        if x is None:
            found = ", ".join(archive.names) or "nothing"
            raise DataError(f"'{archive.path}' has no array 'x' (it holds {found}); store the images as x, NxCxHxW")
        _check_images(f"{where}x", x.dtype, x.shape)
        if y is not None:
            _check_labels(f"{where}y", y.dtype, y.shape, x.shape[0])
        return archive.read(x), None if y is None else archive.read(y)


def _from_arrays(inputs: NDArray[Any] | tuple[NDArray[Any], ...]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """``x`` and ``y`` of an array, or of a pair of them."""
    images, *labels = inputs if isinstance(inputs, tuple) else (inputs,)
    if len(labels) > 1:
        raise DataError(f"a tuple of {len(inputs)} is no pair of images and labels (x, y)")
    x = _array(images, "x")
    _check_images("x", x.dtype, x.shape)
    if not labels:
        return x, None
    y = _array(labels[0], "y")
    _check_labels("y", y.dtype, y.shape, len(x))
    return x, y


def _array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors on a device or with gradients
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"{name} cannot be made a NumPy array: {reason}") from error


def _check_images(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if dtype.kind not in "biuf":
        raise DataError(f"{name} has type {dtype}; it must be real numbers, best float32")
    if len(shape) not in (3, 4):
        raise DataError(f"{name} has shape {npz.volume(shape)}; it must be NxCxHxW, or NxCxL for signals")


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
