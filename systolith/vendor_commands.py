"""The command line's part for vendors' tools; cli.py gathers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .options import VendorKind


def package(
    build: Annotated[
        Path,
        typer.Argument(metavar="BUILD", help="Folder that `generate` or `compile` wrote.", show_default=False),
    ],
    vendor: Annotated[VendorKind, typer.Option("--for", help="Whose tool takes it.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.", show_default=False)],
    clock: Annotated[
        int | None,
        typer.Option(metavar="MHZ", help="Of the accelerator on Vivado's boards; by default 100.", show_default=False),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="DATA.npz", help="Images that LiteX's firmware runs: `x`, float32.", show_default=False),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only the first N images; by default 6 at most.", show_default=False),
    ] = None,
) -> None:
    """Package an accelerator for the tool of an FPGA's vendor, or for LiteX.

    For Vivado an IP-XACT component, for PYNQ-Z2, KV260 and ZCU104 a script from block design to bitstream and a
    device-tree overlay, and a PYNQ driver; for Quartus a component of Platform Designer. Checked against schemas
    and stubs, never in those tools. For LiteX a module with registers, LiteDRAM port and interrupt, a script that adds
    it to a target of litex-boards, and firmware. Simulated with VexRiscv and LiteDRAM, never on a board.

    Example: `systolith package build/lenet5 --for litex --inputs test.npz -o build/lenet5-litex`
    """
    from .commands.package import package_build

    console = Console(highlight=False, soft_wrap=True)
    written = package_build(build, output, vendor=vendor.value, clock_mhz=clock, inputs=inputs, images=images)
    for line in written.lines():
        console.print(escape(line))
