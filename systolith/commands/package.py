"""The ``package`` command as a function: a generated accelerator as the tools of an FPGA's vendor take it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from ..data import Inputs
from ..hw.vendors.litex import CHECKED as SIMULATED
from ..hw.vendors.litex import MAKEFILE, TARGET
from ..hw.vendors.package import RECORD, Vendor, write_package
from ..hw.vendors.quartus import COMPONENT as QUARTUS_COMPONENT
from ..hw.vendors.vivado import SCRIPTS
from ..hw.vendors.words import CHECKED, VLNV
from ..quant.graph.errors import ConfigurationError


@dataclass(frozen=True)
class WrittenPackage:
    """What ``package_build`` wrote: the names of the ``files`` in the folder ``path``, for whom."""

    path: Path
    vendor: Vendor
    files: tuple[str, ...]
    megahertz: int | None

    def lines(self) -> list[str]:
        """A summary for people: what is there, and what is next."""
        clock = "" if self.megahertz is None else f", {self.megahertz} MHz"
        checked = SIMULATED if self.vendor == "litex" else CHECKED
        said = [f"{self.path}: {VLNV}{clock}", f" {', '.join(self.files)}", checked]
        match self.vendor:
            case "vivado":
                commands = (f"vivado -mode batch -source {self.path / script}" for script in SCRIPTS.values())
                return [*said, "next, in a folder for what Vivado makes, one of", *(f" {line}" for line in commands)]
            case "quartus":
                return [*said, f"next: {self.path} on the IP search path, where {QUARTUS_COMPONENT} is found"]
            case "litex":
                lines = (
                    f"python {self.path / TARGET} BOARD --build",
                    f"make -f {self.path / MAKEFILE} SOC=build/BOARD",
                )
                return [*said, "next, in a folder for what LiteX makes", *(f" {line}" for line in lines)]
            case unknown:
                assert_never(unknown)


def package_build(
    build: str | Path,
    output: str | Path,
    *,
    vendor: Vendor,
    clock_mhz: int | None = None,
    inputs: Inputs | None = None,
    images: int | None = None,
) -> WrittenPackage:
    """Write the folder ``output`` that a vendor's tool takes the accelerator in the folder ``build`` from.

    vendor : "vivado" for an IP-XACT component, with for each of three boards a script from block design to bitstream
    and a device-tree overlay, and a PYNQ driver; "quartus" for a component of Platform Designer; "litex" for a module
    of LiteX, a script that adds it to a board's target, and firmware that runs images
    clock_mhz : of the accelerator on vivado's boards, 1 to 500, by default 100; not for others
    inputs : an .npz file with the images ``x`` that litex's firmware runs, or the array x;  images : the first so many,
    by default 6 at most; only for litex, which cannot do without ``inputs``
    Raises ConfigurationError where ``build`` is no build, or ``output`` holds what is not ours or was changed since,
    DataError where it cannot be written, or the images are not the network's.
    """
    if vendor != "litex" and (inputs is not None or images is not None):
        raise ConfigurationError(f"images are for the firmware of litex; a package for {vendor} runs none")
    if vendor == "litex" and inputs is None:
        raise ConfigurationError("the firmware for litex runs images: give some, as --inputs test.npz")
    runs = None
    if inputs is not None:
        from .litex import runs_of  # golden takes a while to import

        runs = runs_of(Path(build), inputs, images)
    written = write_package(Path(build), vendor, Path(output), clock_mhz, runs)
    return WrittenPackage(Path(output), vendor, (*written.files, RECORD), written.megahertz)
