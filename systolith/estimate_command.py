"""The command line's ``estimate``; cli.py gathers it."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .options import (
    BusBytes,
    ColumnsPerMultiplier,
    Json,
    Lanes,
    LineBuffer,
    Packing,
    QuantizedModel,
    RowParts,
    TargetKind,
    UnfoldInput,
    WordBits,
    given,
)


def estimate(
    model: QuantizedModel,
    rows: Annotated[
        int | None,
        typer.Option(metavar="R", help="Rows of the array; without them, what fits the device.", show_default=False),
    ] = None,
    columns: Annotated[int | None, typer.Option(metavar="C", help="Columns of the array.", show_default=False)] = None,
    target: Annotated[
        TargetKind | None, typer.Option(help="Whose multipliers the array names.", show_default=False)
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="PART", help="Such as `lfe5u-85f`; its family is the target.", show_default=False),
    ] = None,
    bus_bytes: BusBytes = 8,
    activation_kib: Annotated[int, typer.Option(metavar="N", help="Activation memory, at most.")] = 64,
    accumulator_kib: Annotated[int, typer.Option(metavar="N", help="Accumulators, at four bytes a sum, at most.")] = 32,
    weight_fifo_kib: Annotated[int, typer.Option(metavar="N", help="Weights fetched ahead, at most.")] = 4,
    lanes: Lanes = None,
    line_buffer: LineBuffer = None,
    word_bits: WordBits = None,
    packing: Packing = None,
    row_parts: RowParts = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Images in one run.")] = 1,
    unfold_input: UnfoldInput = None,
    columns_per_multiplier: ColumnsPerMultiplier = None,
    clock: Annotated[float, typer.Option(metavar="MHZ", help="For images a second and bandwidths.")] = 100,
    json_: Json = False,
) -> None:
    """Estimate what the accelerator for a quantized model would cost and do: area, cycles, images a second, bandwidth.

    Without rows and columns it is the largest that fits the device.

    Example: `systolith estimate lenet5-q.onnx --device lfe5u-25f --clock 60`
    """
    from .commands.estimate import estimate_build

    sizes = given(
        bus_bytes=bus_bytes, activation_kib=activation_kib, accumulator_kib=accumulator_kib,
        weight_fifo_kib=weight_fifo_kib, target=target and target.value, lanes=lanes, line_buffer=line_buffer,
        word_bits=word_bits, packing=packing, row_parts=row_parts,
        columns_per_multiplier=columns_per_multiplier, batch=batch, clock_mhz=clock,
    )  # fmt: skip
    console = Console(highlight=False, soft_wrap=True)
    found = estimate_build(model, rows=rows, columns=columns, device=device, unfold_input=unfold_input, **sizes)
    if json_:
        console.out(json.dumps(found.as_json()))
    else:
        for line in found.lines():
            console.print(escape(line))
