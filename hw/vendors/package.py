"""A package: the folder that a vendor's tool is given, sealed as a build is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, assert_never

from pydantic import Field

from ...quant.graph.errors import ConfigurationError
from ..describe import check_version
from ..folder import read_content, read_hardware
from ..sealed import Sealed, Sha256, sha256
from ..whole_folder import WholeFolder
from . import quartus, vivado
from .words import CHECKED

Vendor = Literal["vivado", "quartus"]
FORMAT: Final = 1
RECORD = "package.json"
VERILOG = "systolith.v"
MEGAHERTZ = 100
FILES: dict[Vendor, tuple[str, ...]] = {
    "vivado": (VERILOG, vivado.COMPONENT, *vivado.SCRIPTS.values(), *vivado.OVERLAYS.values(), vivado.DRIVER),
    "quartus": (VERILOG, quartus.COMPONENT, quartus.WRAPPER),
}
FOLDER = WholeFolder("package", (*dict.fromkeys(name for names in FILES.values() for name in names), RECORD), RECORD)


class Package(Sealed):
    """What a package is: of which build, by the hash of its manifest, for whose tool, and the hash of each other file.

    megahertz : of the clock that its scripts ask for, None where that is for others to say
    checked : what every file says of how it was checked
    """

    format: Literal[1]
    vendor: Vendor
    build: Sha256
    megahertz: Annotated[int, Field(ge=1)] | None
    files: dict[str, Sha256]
    checked: str


def write_package(build: Path, vendor: Vendor, output: Path, megahertz: int | None = None) -> Package:
    """Write the folder ``output`` that ``vendor``'s tool takes the accelerator in the folder ``build`` from.

    megahertz : of the clock on the boards that the scripts are for, 1 to 500, by default MEGAHERTZ; only with vivado

    Raises ConfigurationError where ``build`` is no build of this version, or ``output`` holds what is not ours or was
    changed since, DataError where it cannot be written.
    """
    _check(output)
    hardware, seal = read_hardware(build)
    verilog = read_content(build, "systolith.v", hardware)
    check_version(build, hardware, verilog)
    contents = {VERILOG: verilog}
    match vendor:
        case "vivado":
            megahertz = MEGAHERTZ if megahertz is None else megahertz
            if not 1 <= megahertz <= 500:
                raise ConfigurationError(f"the clock must be 1 to 500 MHz, not {megahertz}")
            contents |= vivado.vivado_files(hardware, verilog.decode(), megahertz)
        case "quartus":
            if megahertz is not None:
                raise ConfigurationError("a clock is for the scripts of vivado; in Platform Designer you connect one")
            contents |= quartus.quartus_files(verilog.decode())
        case unknown:
            assert_never(unknown)
    hashes = {name: sha256(data) for name, data in contents.items()}
    record = Package(format=FORMAT, vendor=vendor, build=seal, megahertz=megahertz, files=hashes, checked=CHECKED)
    _check(output)
    FOLDER.write(output, contents, record.to_bytes())
    return record


def read_package(folder: Path) -> tuple[Package, Mapping[str, bytes]]:
    """The record of a package, and its files.  Raises ConfigurationError naming the one that is missing or changed."""
    path = folder / RECORD
    if not path.is_file():
        raise ConfigurationError(f"{folder} has no {RECORD}, so it is no package of ours")
    try:
        record = Package.parse(path.read_bytes())
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    contents = {}
    for name, expected in record.files.items():
        contents[name] = (folder / name).read_bytes() if (folder / name).is_file() else b""
        if sha256(contents[name]) != expected:
            raise ConfigurationError(f"{folder / name} was changed or removed since it was written")
    return record, contents


def _check(output: Path) -> None:
    """What ``output`` holds may be written over: it is a package as we left it, or nothing."""
    folder = FOLDER.check(output)
    there = {path.name for path in folder.iterdir()} & set(FOLDER.names) if folder.is_dir() else set()
    if there:
        try:
            record, _ = read_package(folder)
            if strange := there - {RECORD, *record.files}:
                raise ConfigurationError(f"{folder / min(strange)} is no part of the package that is there")
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}; move it away, or give another folder") from error
