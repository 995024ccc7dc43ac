"""The build folder on disk: sealed by its manifest, and verified by hash whenever it is read."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..quant.files import alone, write_whole
from ..quant.graph.errors import ConfigurationError, DataError
from .manifest import CONTENTS, Content, Hardware, Manifest
from .manifest import NAME as MANIFEST
from .sealed import sha256
from .whole_folder import LOCK, WholeFolder

FILES = (*CONTENTS, MANIFEST)
SIMULATION = "simulation.json"
"""What ``simulate`` leaves in a build folder: a new build's is not there yet."""

BUILD = WholeFolder("build", FILES, MANIFEST, (SIMULATION,))
AGAIN = "make the folder again with `systolith generate` or `systolith compile`"


def check_folder(output: Path) -> Path:
    """The folder that ``output`` leads to, to be made or to be written again; see WholeFolder.check."""
    return BUILD.check(output)


def write_folder(output: Path, contents: Mapping[Content, bytes], manifest: Hardware) -> None:
    """Put ``contents`` by name, and the manifest with their hashes, into ``output``; see WholeFolder.write."""
    BUILD.write(output, {str(name): data for name, data in contents.items()}, manifest.to_bytes())


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
