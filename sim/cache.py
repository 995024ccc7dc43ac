"""Compiled simulations, kept by the hash of everything that goes into them.

An entry appears by one atomic rename when it is whole, so that parallel runs share it and an interrupted build
leaves nothing behind; an entry that lost its files is made again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

KEEP = 200
SEAL = "complete.json"


def folder() -> Path:
    """Where builds are kept: ``$XDG_CACHE_HOME/systolith`` or ``~/.cache/systolith``.

    A temporary folder instead if nobody may write there, or if its name has a space: make cannot build there.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    chosen = (Path(home) if home else Path.home() / ".cache") / "systolith"
    fallback = Path(tempfile.gettempdir()) / f"systolith-{os.getuid()}"
    if " " in str(chosen):
        return fallback
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError:
        return fallback
    return chosen if os.access(chosen, os.W_OK) else fallback


def digest(parts: Mapping[str, str]) -> str:
    """Name of the build that ``parts`` (sources, flags, versions) determine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def obtain(key: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder of build ``key`` and whether it was there already; if not, ``build`` fills a new one.

    ``build`` gets an empty folder that is not the final one.  What it raises passes through and leaves no entry.
    """
    builds = folder() / "builds"
    builds.mkdir(parents=True, exist_ok=True)
    entry = builds / key
    if is_whole(entry):
        os.utime(entry)
        return entry, True
    with _lock(builds / f"{key}.lock"):
        if is_whole(entry):
            return entry, True
        shutil.rmtree(entry, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=builds))
        try:
            build(made)
            _seal(made)
            try:
                made.rename(entry)
            except OSError:  # somebody without the lock was faster
                if not is_whole(entry):
                    raise
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _prune(builds)
    return entry, False


def is_whole(entry: Path) -> bool:
    """Whether ``entry`` still has each file that its seal lists, at the size that it had."""
    try:
        sizes = json.loads((entry / SEAL).read_text())
        return bool(sizes) and all((entry / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _seal(made: Path) -> None:
    sizes = {str(file.relative_to(made)): file.stat().st_size for file in made.rglob("*") if file.is_file()}
    (made / SEAL).write_text(json.dumps(sizes))


def _prune(builds: Path) -> None:
    """Forget the builds that were used longest ago, all but KEEP.  One in use survives until its process opens it."""
    entries = [entry for entry in builds.iterdir() if (entry / SEAL).is_file()]
    for entry in sorted(entries, key=lambda item: item.stat().st_mtime)[:-KEEP]:
        shutil.rmtree(entry, ignore_errors=True)
        (builds / f"{entry.name}.lock").unlink(missing_ok=True)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
