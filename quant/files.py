"""Whole files or none: write beside the target, then replace it in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .errors import DataError


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``; after any failure the file is as it was.  Raises DataError if it cannot be written."""
    target = Path(path)
    temporary = None
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except OSError as error:
        raise DataError(f"cannot write '{target}': {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
