"""Arrays out of an .npz file that nobody vouches for: what an array states of itself is checked before it is inflated.

Format: numpy.lib.format, https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from .quant import DataError

ARRAY_BYTES_MAX = 2**31
"""The budget: bytes that one array may take, as stored and as float32."""

HEADER_BYTES_MAX = 4096
"""Of a header, which numpy.save writes in 128; more is not parsed."""

ADVICE = "numpy.savez(path, x=images) makes one"
DAMAGE = (ValueError, TypeError, SyntaxError, TokenError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What numpy, zipfile and zlib raise for bytes that they cannot make sense of."""


@dataclass(frozen=True)
class Stated:
    """What the header of array ``name`` says of it; ``member`` is its place in the archive."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    member: zipfile.ZipInfo


@dataclass(frozen=True)
class Archive:
    """An open .npz file.  All methods raise DataError, naming the file and the array."""

    path: Path
    file: zipfile.ZipFile

    @property
    def names(self) -> list[str]:
        return [name.removesuffix(".npy") for name in self.file.namelist()]

    def stated(self, name: str) -> Stated | None:
        """What array ``name`` says of itself, read without its values; None if there is no such array."""
        members = [member for member in self.file.infolist() if member.filename in (name, f"{name}.npy")]
        if not members:
            return None
        if len(members) > 1:
            raise DataError(f"'{self.path}' holds {len(members)} arrays '{name}'; store one")
        member = members[0]
        if member.flag_bits & 1:
            raise DataError(f"'{self.path}': {name} is encrypted; {ADVICE} that is not")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"'{self.path}': {name} is compressed by method {member.compress_type}; numpy uses deflate")
        with self._damage(f"{name} is damaged, or no array that numpy.save wrote"), self.file.open(member) as stream:
            start = io.BytesIO(stream.read(HEADER_BYTES_MAX))
            shape, dtype = _header(start)
        size = dtype.itemsize * math.prod(shape)
        found = Stated(name, dtype, shape, member)
        if max(size, 4 * math.prod(shape)) > ARRAY_BYTES_MAX:
            raise DataError(
                f"'{self.path}': {name}, {volume(shape)} {dtype}, takes more than {ARRAY_BYTES_MAX / 2**30:g} GiB; "
                "use fewer images"
            )
        if start.tell() + size != member.file_size and not dtype.hasobject:
            raise DataError(
                f"'{self.path}': {name} states {volume(shape)} {dtype}, {size} bytes, "
                f"and has {member.file_size - start.tell()}; the file is damaged"
            )
        return found

    def read(self, stated: Stated) -> NDArray[Any]:
        """The values of an array, of which `stated` has seen that they fit the budget."""
        with self._damage(f"the values of {stated.name} are damaged"), self.file.open(stated.member) as stream:
            return npy.read_array(stream, allow_pickle=False, max_header_size=HEADER_BYTES_MAX)

    @contextmanager
    def _damage(self, what: str) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise DataError(f"'{self.path}': {what}") from error


def volume(shape: tuple[int, ...]) -> str:
    """``shape`` for people."""
    return "x".join(map(str, shape)) or "of one number"


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """The .npz file at ``path``.  Raises DataError if it is not one, or is no file but a device, pipe or folder."""
    try:
        kind = os.stat(path).st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):  # a folder says so itself when it is opened
            raise DataError(f"cannot read the data '{path}': it is no ordinary file, but a device or a pipe")
        with open(path, "rb") as file:
            if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise DataError(f"'{path}' is an .npy file, of one array, not an .npz file; {ADVICE}")
            file.seek(0)
            try:
                archive = zipfile.ZipFile(file)
            except DAMAGE as error:
                raise DataError(f"'{path}' is not an .npz file, or it is truncated; {ADVICE}") from error
            with archive:
                yield Archive(Path(path), archive)
    except OSError as error:
        raise DataError(f"cannot read the data '{path}': {error.strerror or error}") from error


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type in the .npy header that ``stream`` begins with.  Raises one of DAMAGE."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # 3.0 is for names of fields, which no array of numbers has
        raise ValueError(f"version {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 2 wrote 3L, which is understood
        shape, _, dtype = read(stream, max_header_size=HEADER_BYTES_MAX)
    if min(shape, default=0) < 0:
        raise ValueError(f"shape {shape}")
    return shape, dtype
