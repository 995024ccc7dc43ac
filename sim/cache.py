"""Compiled simulations, kept by the hash of everything that goes into them.

What is kept here is run, so only a folder counts that nobody else can write, and each entry is verified by the hashes
of its files when it is used.  An entry appears by one rename when it is whole, so that parallel runs share it and an
interrupted build leaves nothing that counts; one whose files changed is made again.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import platformdirs

from ..quant.files import alone
from ..quant.graph.errors import DataError

KEEP = 200
SEAL = "complete.json"
NAME = "systolith"


def folder() -> Path:
    """Where builds are kept: ``$XDG_CACHE_HOME/systolith``, by default in the user's cache folder.

    One of this process alone instead, if others could write there, this user cannot, or its name has a space: make
    cannot build there.
    """
    chosen = platformdirs.user_cache_path(NAME, appauthor=False)
    try:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = problem(chosen)
    except OSError as error:
        found = f"'{chosen}' cannot be made: {error.strerror or error}"
    return _own(found) if found else chosen


def problem(path: Path) -> str:
    """Why the folder ``path`` cannot hold what is run: empty if only this user and root can change what it holds."""
    if " " in str(path):
        return f"'{path}' has a space in its name"
    if not hasattr(os, "geteuid"):  # Windows keeps a user's folders from other users
        return ""
    mine = path.lstat()
    if not stat.S_ISDIR(mine.st_mode) or mine.st_uid != os.geteuid():
        return f"'{path}' is not this user's own folder"
    if not os.access(path, os.W_OK | os.X_OK):
        return f"'{path}' is not writable"
    for place in (path, *path.resolve().parents):
        found = place.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f"'{place}' belongs to another user"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and (place == path or not found.st_mode & stat.S_ISVTX):
            return f"'{place}' is writable by others; chmod go-w would do"
    return ""


@lru_cache
def _own(reason: str) -> Path:
    """A new folder for this process, removed when it ends."""
    logging.getLogger(__name__).warning("compiled simulations are not kept: %s", reason)
    made = Path(tempfile.mkdtemp(prefix="systolith-cache-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def digest(parts: Mapping[str, str]) -> str:
    """Name of the build that ``parts`` (sources, flags, versions) determine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def obtain(key: str, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """The folder of build ``key`` and whether it was there already; if not, ``build`` fills a new one.

    ``build`` gets an empty folder that is not the final one.  What it raises passes through and leaves no entry.
    """
    if entry := find(key):
        return entry, True
    builds = folder() / "builds"
    builds.mkdir(mode=0o700, exist_ok=True)
    with alone(_lock(builds, key), patience=-1):
        if entry := find(key):
            return entry, True
        _clear(builds, key)
        made = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=builds))
        try:
            build(made)
            (made / SEAL).write_text(json.dumps(_hashes(made)))
            entry = made.rename(builds / key)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    _prune(builds)
    return entry, False


def find(key: str) -> Path | None:
    """The folder of build ``key``, None if it is not there, or not as it was made."""
    entry = folder() / "builds" / key
    try:
        sealed = json.loads((entry / SEAL).read_text())
        if not sealed or sealed != {name: _hash(entry / name) for name in sealed}:
            return None
        os.utime(entry)
    except (OSError, ValueError, TypeError):
        return None
    return entry


def _hashes(made: Path) -> dict[str, str]:
    return {str(file.relative_to(made)): _hash(file) for file in made.rglob("*") if file.is_file()}


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _lock(builds: Path, key: str) -> Path:
    return builds / f"{key}.lock"


def _clear(builds: Path, key: str, entry: bool = True) -> None:
    """Remove what builds of ``key`` that were killed left, and the ``entry`` itself.  The caller has the lock."""
    for left in builds.glob(f"{key}.*"):
        if left != _lock(builds, key):
            shutil.rmtree(left, ignore_errors=True)
    if entry:
        shutil.rmtree(builds / key, ignore_errors=True)


def _prune(builds: Path) -> None:
    """Forget the builds that were used longest ago, all but KEEP, and what builds that were killed left.

    A build in use survives until its process opens it.
    """
    ages: dict[str, float] = {}
    keys: set[str] = set()
    for path in builds.iterdir():
        key, _, left = path.name.partition(".")
        with suppress(FileNotFoundError):
            if left:
                keys.add(key)
            else:
                ages[key] = path.stat().st_mtime
    old = set(sorted(ages, key=lambda key: ages[key])[:-KEEP])
    for key in keys | old:
        with suppress(DataError), alone(_lock(builds, key), patience=0):  # who holds it is at work
            _clear(builds, key, key in old)
