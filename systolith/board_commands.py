"""The command line's commands that reach a board."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .options import BoardKind, Images, Json

FAILURE = 1
console = Console(highlight=False, soft_wrap=True)


def run(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="Folder that `generate` wrote.", show_default=False)],
    inputs: Images,
    on: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="`sim`, `sim:board`, a serial port as `/dev/ttyUSB0`, `uio:NAME[:BUFFER]`, "
            "`mem:REGISTERS:MEMORY:BYTES`, `pynq:OVERLAY.bit`.",
        ),
    ] = "sim",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT.npz", help="The file to write: `y` and `y_q`.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N images; by default all.", show_default=False)
    ] = None,
    baud: Annotated[int, typer.Option(metavar="N", help="Of a serial port, as the board has it.")] = 1_000_000,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds that a run may take.", show_default=False)
    ] = None,
    json_: Json = False,
) -> int:
    """Run a build by its driver on a board, or a simulated one, and compare the outputs with golden's.

    The exit status is 0 only if all of them are equal.

    Example: `systolith run build/lenet5 --inputs test.npz --on /dev/ttyUSB0`
    """
    from .commands.run import run_build

    result = run_build(
        build,
        inputs,
        on=on,
        output=output,
        images=images,
        baud=baud,
        timeout=timeout,
        show_progress=not json_,
    )
    if json_:
        console.out(json.dumps(result.as_json()))
    else:
        for line in result.lines():
            console.print(escape(line))
    return 0 if result.equal else FAILURE


def board(
    build: Annotated[
        Path, typer.Argument(metavar="BUILD", help="Folder that `generate` or `compile` wrote.", show_default=False)
    ],
    board: Annotated[BoardKind, typer.Option(help="The board.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to write.", show_default=False)],
    clock: Annotated[
        float | None,
        typer.Option(metavar="MHZ", help="To be met; by default the highest found that is.", show_default=False),
    ] = None,
    baud: Annotated[int, typer.Option(metavar="N", help="Of the serial line.")] = 1_000_000,
    program: Annotated[bool, typer.Option("--program", help="Load it into the board, by openFPGALoader.")] = False,
    json_: Json = False,
) -> None:
    """Make a bitstream of a build for a board without DRAM: minutes, with tools that pip installs.

    It writes nothing unless the timing is met at the clock.

    Example: `systolith board build/lenet5 --board ulx3s_85f -o build/lenet5-ulx3s`
    """
    from .commands.board import board_build

    made = board_build(
        build,
        output,
        board=board.value,
        clock_mhz=clock,
        baud=baud,
        program=program,
        show_progress=not json_,
    )
    if json_:
        console.out(json.dumps(made.bitstream.model_dump(mode="json", exclude={"seal"})))
    else:
        for line in made.lines():
            console.print(escape(line))
