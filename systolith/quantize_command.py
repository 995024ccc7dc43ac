"""The command line's part for quantizing; cli.py gathers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .options import (
    ActivationBits,
    Calibration,
    EffortLevel,
    FloatModel,
    Range,
    RangeMethod,
    Scales,
    ScalesKind,
    WeightBits,
)

console = Console(highlight=False, soft_wrap=True)


def quantize(
    model: FloatModel,
    calibration: Calibration,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="Q.onnx", help="The file to write.")],
    scales: ScalesKind = Scales.FLOAT,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    bits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER=N[:M]",
            help="N bits of the weights, and M of what it reads, for layers whose names match, `*` and `?` included; "
            "again for others, the last that matches counts.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="W[:M]",
            help="Choose each layer's bits so that weights have W on average, and elements of feature maps M; `:M` "
            "chooses those of maps alone.",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Choose the fewest bits that lose X at most against 8 bits: points of images that keep the float "
            "model's class, or dB if the network does not classify.",
            show_default=False,
        ),
    ] = None,
    narrow_maps: Annotated[
        bool, typer.Option("--narrow-maps", help="With `--loss`: choose the bits of feature maps too.")
    ] = False,
    range_: Range = RangeMethod.BEST,
    effort: Annotated[
        EffortLevel,
        typer.Option(
            help="`fast` rounds weights to the nearest integer, `default` learns how to round those of fewer than 8 "
            "bits, `best` all, and searches longer."
        ),
    ] = EffortLevel.DEFAULT,
    seed: Annotated[int, typer.Option(metavar="N", help="Of what is drawn from the images to learn from.")] = 0,
) -> None:
    """Quantize a trained float model to a QDQ ONNX file, which ONNX Runtime runs too.

    Example: `systolith quantize lenet5.onnx --calibration calibration.npz -o lenet5-q.onnx --scales pow2`
    """
    from .commands.quantize import quantize_model

    result = quantize_model(
        model,
        calibration,
        output,
        scales=scales.value,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        bits=dict(_pair(said) for said in bits or ()),
        budget=budget,
        loss=loss,
        narrow_maps=narrow_maps,
        range_method=range_.value,
        effort=effort.value,
        seed=seed,
        show_progress=True,
    )
    for line in result.lines():
        console.print(escape(line))
    for table in result.tables():
        console.print(table)


def _pair(said: str) -> tuple[str, str]:
    """LAYER and N[:M] of one ``--bits``; names may hold `=` themselves."""
    layer, equals, bits = said.rpartition("=")
    if not (layer and equals):
        raise typer.BadParameter(
            f"'{said}' is not LAYER=N or LAYER=N:M, as conv1=4 or 'conv*=4:8'", param_hint="--bits"
        )
    return layer, bits
