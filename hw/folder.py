"""The build folder on disk: written whole by one writer at a time, and verified by hash whenever it is read.

Its manifest is written last and holds the SHA-256 of every other file, so that what an interrupted writer leaves, or a
file of another build among these, is refused by name.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..quant.files import alone, create, leftovers, write_whole
from ..quant.graph.errors import ConfigurationError, DataError
from .manifest import CONTENTS, Content, Hardware, Manifest
from .manifest import NAME as MANIFEST
from .sealed import sha256

FILES = (*CONTENTS, MANIFEST)
SIMULATION = "simulation.json"
"""What ``simulate`` leaves in a build folder: a new build's is not there yet."""

LOCK, STAGING = ".systolith-lock", ".systolith-new"
AGAIN = "make the folder again with `systolith generate` or `systolith compile`"


def check_folder(output: Path) -> Path:
    """The folder that ``output`` leads to, to be made or to be written again.

    Raises ConfigurationError if it is a file, or holds anything but an earlier build, DataError if it is not writable.
    """
    folder = Path(os.path.realpath(output))
    if not os.path.lexists(folder):
        if not folder.parent.is_dir():
            raise DataError(f"cannot write '{output}': there is no folder '{folder.parent}'; make it first")
        if not os.access(folder.parent, os.W_OK):
            raise DataError(f"cannot write '{output}': '{folder.parent}' is not writable")
        return folder
    if not folder.is_dir():
        raise ConfigurationError(f"{output} is a file; give a folder for the build")
    if not os.access(folder, os.W_OK):
        raise DataError(f"cannot write '{output}': it is not writable")
    _refuse_strangers(output, folder, {*FILES, SIMULATION, *_of_others(folder), LOCK, STAGING})
    with suppress(FileNotFoundError):  # another writer may just have ended
        _refuse_strangers(output / STAGING, folder / STAGING, set(FILES))
    return folder


def _refuse_strangers(output: Path, folder: Path, ours: set[str]) -> None:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        right = entry.is_dir if entry.name == STAGING else entry.is_file
        if entry.name not in ours or not right(follow_symlinks=False):
            raise ConfigurationError(
                f"{output} holds '{entry.name}', which is no part of a build; give an empty or new folder"
            )


def _of_others(folder: Path) -> list[str]:
    """Names of what a `simulate` that was killed leaves."""
    return [path.name for path in leftovers(folder / SIMULATION)]


def write_folder(output: Path, contents: Mapping[Content, bytes], manifest: Hardware) -> None:
    """Put ``contents`` by name, and the manifest with their hashes, into ``output``, in place of an earlier build.

    All are written before the first one is replaced, and the manifest last.  What a writer leaves that is killed in
    between every reader refuses, and the next writer clears.  Raises what check_folder raises.
    """
    folder = check_folder(output)
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
        with alone(folder / LOCK):
            check_folder(output)
            staging = folder / STAGING
            _clear(staging)
            staging.mkdir()
            try:
                for name, data in (*contents.items(), (MANIFEST, manifest.to_bytes())):
                    create(staging / name, data)
                for name in contents:
                    (staging / name).replace(folder / name)
                for name in (*(set(CONTENTS) - set(contents)), SIMULATION, *_of_others(folder)):
                    (folder / name).unlink(missing_ok=True)
                (staging / MANIFEST).replace(folder / MANIFEST)
            finally:
                _clear(staging)
    except OSError as error:
        raise DataError(f"cannot write '{output}': {error.strerror or error}") from error
    finally:
        if made:
            with suppress(OSError):
                folder.rmdir()  # it is empty if nothing could be written


def _clear(staging: Path) -> None:
    if staging.is_dir():
        for name in FILES:
            (staging / name).unlink(missing_ok=True)
        staging.rmdir()


def read_file(folder: Path, name: str) -> bytes:
    """Raises ConfigurationError if ``folder`` has no such file, or none that can be read."""
    path = folder / name
    if not path.is_file():
        raise ConfigurationError(f"{folder}: {name} is missing; {AGAIN}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.strerror or error}") from error


def read_hardware(folder: Path) -> tuple[Hardware, str]:
    """What ``folder``'s manifest.json holds, a Manifest if there is a program, and its hash.

    Raises ConfigurationError naming what is wrong.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder; make one with `systolith generate MODEL.onnx -o {folder}`")
    data = read_file(folder, MANIFEST)
    try:
        return Manifest.parse(data), sha256(data)
    except ConfigurationError as error:
        with suppress(ConfigurationError):
            return Hardware.parse(data), sha256(data)
        raise ConfigurationError(f"{folder / MANIFEST}: {error}; {AGAIN}") from error


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The Manifest of ``folder``, and its hash.  Raises ConfigurationError naming what is wrong."""
    manifest, build = read_hardware(folder)
    if not isinstance(manifest, Manifest):
        raise ConfigurationError(
            f"{folder} is an accelerator without a program; make one with `systolith compile MODEL.onnx --for {folder}"
            " -o BUILD`"
        )
    return manifest, build


def read_content(folder: Path, name: Content, manifest: Hardware) -> bytes:
    """What ``folder`` holds as ``name``.  Raises ConfigurationError if ``manifest`` has another hash."""
    data = read_file(folder, name)
    if sha256(data) != manifest.files[name]:
        raise ConfigurationError(f"{folder / name} is not the file that {MANIFEST} was written with; {AGAIN}")
    return data


def save_simulation(folder: Path, text: bytes, manifest: str) -> None:
    """Write simulation.json beside the manifest of this hash.  Raises DataError if there is another by now."""
    try:
        with alone(folder / LOCK):
            if sha256(read_file(folder, MANIFEST)) != manifest:
                raise DataError(f"{folder} was generated anew while it was simulated; simulate it again")
            write_whole(folder / SIMULATION, text)
    except OSError as error:
        raise DataError(f"cannot write '{folder / SIMULATION}': {error.strerror or error}") from error
