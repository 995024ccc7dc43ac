"""DATA.npz: images ``x``, NxCxHxW float32 as the model takes them, and optionally their labels ``y``."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .quant import DataError, write_whole


@dataclass(frozen=True, eq=False)
class Data:
    """x : float32, (N, C, rows, columns);  y : integers, (N,), or None without labels"""

    x: NDArray[np.float32]
    y: NDArray[np.integer[Any]] | None


def load_data(path: str | Path) -> Data:
    """The images and labels of an .npz file.  Raises DataError, naming the file, if it does not hold them."""
    try:
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"'{path}' is not an .npz file; numpy.savez(path, x=images) makes one")
            if "x" not in archive:
                found = ", ".join(archive.files) or "nothing"
                raise DataError(f"'{path}' has no array 'x' (it holds {found}); store the images as x, NxCxHxW float32")
            images, labels = archive["x"], archive.get("y")
    except OSError as error:
        raise DataError(f"cannot read the data '{path}': {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"'{path}' is not an .npz file of plain arrays, or it is truncated") from error
    if images.dtype != np.float32:
        raise DataError(f"'{path}': x has type {images.dtype}; it must be float32")
    if images.ndim != 4:
        raise DataError(
            f"'{path}': x has shape {'x'.join(map(str, images.shape)) or 'of one number'}; it must be NxCxHxW"
        )
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        raise DataError(
            f"'{path}': y has type {labels.dtype} and shape {labels.shape}; it must be {len(images)} integers"
        )
    return Data(images, labels)


def save_arrays(path: str | Path, **arrays: NDArray[Any]) -> None:
    """Write an .npz file, whole or not at all.  Raises DataError if it cannot be written."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
