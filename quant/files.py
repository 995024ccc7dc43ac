"""Whole files or none: write beside the target, then replace it in one step, one writer at a time.

Links are followed, and only a regular file is ever replaced.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from .graph.errors import DataError

PATIENCE = 60.0
"""Seconds to wait for another writer, whose part is milliseconds."""


def check_target(path: str | Path) -> Path:
    """The file that ``path`` leads to.  Raises DataError if it could not be written; asked before long work too."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error
    target = Path(os.path.realpath(path))
    if mode is not None and stat.S_ISDIR(mode):
        raise DataError(f"cannot write '{path}': it is a folder; name a file in it")
    if mode is not None and not stat.S_ISREG(mode):
        raise DataError(f"cannot write '{path}': it is a device, a pipe or a socket; name a file")
    if not target.parent.is_dir():
        raise DataError(f"cannot write '{path}': there is no folder '{target.parent}'; make it first")
    if not os.access(target.parent, os.W_OK):
        raise DataError(f"cannot write '{path}': its folder is not writable")
    if mode is not None and not os.access(target, os.W_OK):
        raise DataError(f"cannot write '{path}': it is read-only")
    return target


def write_whole(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``; after a failure the file is as it was.  Raises DataError if it cannot."""
    new, lock = leftovers(check_target(path))
    try:
        with alone(lock):
            target = check_target(path)  # others may have put something else there meanwhile
            mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
            try:
                create(new, data)
                with new.open("r+b") as file:
                    os.fsync(file.fileno())  # or its name may survive a power failure that its bytes do not
                if mode is not None:
                    new.chmod(mode)
                new.replace(target)
            finally:
                new.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}") from error


def leftovers(target: Path) -> tuple[Path, Path]:
    """What a writer of ``target`` that was killed may leave beside it: the new file and the lock."""
    return target.with_name(f".{target.name}.systolith-new"), target.with_name(f".{target.name}.systolith-lock")


def create(path: Path, data: bytes) -> None:
    """Write a file that is not there, over what a writer that was killed left of it.  Raises OSError."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        file.write(data)


@contextmanager
def alone(lock: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Only one thread of one process at a time is inside; the file ``lock`` is there meanwhile.

    A process that is killed lets the next one in.  Raises DataError if another one stays inside for more than
    ``patience`` seconds (-1: no end), OSError if no lock can be made.
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=patience)
    except Timeout as error:
        raise DataError(f"another process holds '{lock}'; try again when it has ended") from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()  # before it is released: who waits sees that this lock is gone, and makes a new one
        held.release()
