"""A package: the folder that a vendor's tool is given, sealed as a build is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, assert_never

from pydantic import Field

from ...quant.graph.errors import ConfigurationError
from ..describe import check_version
from ..folder import read_content, read_hardware
from ..made_folder import MadeOf, check_made, read_made
from ..manifest import Manifest
from ..sealed import sha256
from ..whole_folder import WholeFolder
from . import litex, quartus, vivado
from .litex import Runs
from .words import CHECKED

Vendor = Literal["vivado", "quartus", "litex"]
FORMAT: Final = 1
RECORD = "package.json"
VERILOG = "systolith.v"
MEGAHERTZ = 100
FILES: dict[Vendor, tuple[str, ...]] = {
    "vivado": (VERILOG, vivado.COMPONENT, *vivado.SCRIPTS.values(), *vivado.OVERLAYS.values(), vivado.DRIVER),
    "quartus": (VERILOG, quartus.COMPONENT, quartus.WRAPPER),
    "litex": (VERILOG, *litex.FILES),
}
"""All that a vendor's package may hold."""
SAID: dict[Vendor, str] = {"vivado": CHECKED, "quartus": CHECKED, "litex": litex.CHECKED}
"""What every file says of how it was checked."""
FOLDER = WholeFolder("package", (*dict.fromkeys(name for names in FILES.values() for name in names), RECORD), RECORD)


class Package(MadeOf):
    """What a package is: of which build, for whose tool, and the hash of each file.

    megahertz : of the clock that its scripts ask for, None where that is for others to say
    checked : what every file says of how it was checked
    """

    format: Literal[1]
    vendor: Vendor
    megahertz: Annotated[int, Field(ge=1)] | None
    checked: str


def write_package(
    build: Path, vendor: Vendor, output: Path, megahertz: int | None = None, runs: Runs | None = None
) -> Package:
    """Write the folder ``output`` that ``vendor``'s tool takes the accelerator in the folder ``build`` from.

    megahertz : of the clock on the boards that the scripts are for, 1 to 500, by default MEGAHERTZ; only with vivado
    runs : what the firmware for litex runs

    Raises ConfigurationError where ``build`` is no build of this version, or ``output`` holds what is not ours or was
    changed since, DataError where it cannot be written.
    """
    check_made(FOLDER, Package, output)
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
        case "litex":
            if megahertz is not None:
                raise ConfigurationError("a clock is for the scripts of vivado; a target of LiteX has one of its own")
            if runs is None or not isinstance(hardware, Manifest):
                raise ConfigurationError("the firmware for litex needs a network's build, and inputs to run")
            contents |= litex.litex_files(build, hardware, runs)
        case unknown:
            assert_never(unknown)
    hashes = {name: sha256(data) for name, data in contents.items()}
    record = Package(format=FORMAT, vendor=vendor, build=seal, megahertz=megahertz, files=hashes, checked=SAID[vendor])
    check_made(FOLDER, Package, output)
    FOLDER.write(output, contents, record.to_bytes())
    return record


def read_package(folder: Path) -> tuple[Package, Mapping[str, bytes]]:
    """The record of a package, and its files.  Raises ConfigurationError naming the one that is missing or changed."""
    return read_made(FOLDER, Package, folder)
