"""Whole files or none: write beside the target, then replace it in one step."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .graph.errors import DataError


def check_target(path: str | Path) -> None:
    """Raises DataError if a file at ``path`` could not be written; asked before long work, not after it."""
    target = Path(path)
    if target.is_dir():
        raise DataError(f"cannot write '{target}': it is a folder; name a file in it")
    if not target.parent.is_dir():
        raise DataError(f"cannot write '{target}': there is no folder '{target.parent}'; make it first")
    if not os.access(target.parent, os.W_OK):
        raise DataError(f"cannot write '{target}': its folder is not writable")


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``; after a failure the file is as it was.  Raises DataError if it cannot."""
    check_target(path)
    target = Path(path)
    temporary = None
    try:
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
