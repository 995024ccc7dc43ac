"""Folders that are made of a build, a package or a bitstream, whose record holds the hash of each other file."""

from pathlib import Path
from typing import TypeVar

from ..quant.graph.errors import ConfigurationError
from .sealed import Sealed, Sha256, sha256
from .whole_folder import WholeFolder


class MadeOf(Sealed):
    """What a folder is made of.

    build : SHA-256 of the build's manifest;  files : of each other file of the folder
    """

    build: Sha256
    files: dict[str, Sha256]


Made = TypeVar("Made", bound=MadeOf)


def read_made(kind: WholeFolder, record: type[Made], folder: Path) -> tuple[Made, dict[str, bytes]]:
    """The record of ``folder``, and its files.

    Raises ConfigurationError naming the one that is missing or changed.
    """
    path = folder / kind.seal
    if not path.is_file():
        raise ConfigurationError(f"{folder} has no {kind.seal}, so it is no {kind.what} of ours")
    try:
        found = record.parse(path.read_bytes())
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    contents = {}
    for name, expected in found.files.items():
        contents[name] = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if sha256(contents[name]) != expected:
            raise ConfigurationError(f"{folder / name} was changed or removed since it was written")
    return found, contents


def check_made(kind: WholeFolder, record: type[MadeOf], output: Path) -> None:
    """What ``output`` holds may be written over: it is as we left it, or nothing.

    Raises ConfigurationError if not, and DataError if it is not writable.
    """
    folder = kind.check(output)
    there = {path.name for path in folder.iterdir()} & set(kind.names) if folder.is_dir() else set()
    if there:
        try:
            found, _ = read_made(kind, record, folder)
            if strange := there - {kind.seal, *found.files}:
                raise ConfigurationError(f"{folder / min(strange)} is no part of the {kind.what} that is there")
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; move it away, or give another folder") from error
