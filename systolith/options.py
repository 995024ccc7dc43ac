"""The command line's options that several commands share, and the words that options take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Scales(StrEnum):
    FLOAT = "float"
    POW2 = "pow2"


class RangeMethod(StrEnum):
    BEST = "best"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


class EffortLevel(StrEnum):
    FAST = "fast"
    DEFAULT = "default"
    BEST = "best"


class TargetKind(StrEnum):
    GENERIC = "generic"
    ECP5 = "ecp5"
    ICE40 = "ice40"
    XILINX = "xilinx"
    GOWIN = "gowin"


class VendorKind(StrEnum):
    VIVADO = "vivado"
    QUARTUS = "quartus"
    LITEX = "litex"


class BoardKind(StrEnum):
    ULX3S_85F = "ulx3s_85f"
    ECPIX5_85F = "ecpix5_85f"
    ORANGECRAB_25F = "orangecrab_25f"


class BenchKind(StrEnum):
    BULK = "bulk"
    PROTOCOL = "protocol"


class SimulatorKind(StrEnum):
    VERILATOR = "verilator"
    ICARUS = "icarus"


Batch = Annotated[
    int, typer.Option(metavar="N", help="Images in one run; its fully connected layers fetch weights once for all.")
]
UnfoldInput = Annotated[
    bool | None,
    typer.Option(
        help="The host writes the input with the rows of each window of the first convolution side by side "
        "(`systolith_unfold` in the C header): fewer passes, more memory. By default where it saves 1% of the cycles.",
        show_default=False,
    ),
]
BuildFolder = Annotated[
    Path, typer.Option("-o", "--output", metavar="BUILD", help="Folder to write.", show_default=False)
]
Lanes = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Requantizers; by default a quarter of the columns, and each quarter more that saves 1% of the cycles.",
        show_default=False,
    ),
]
LineBuffer = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Pixels in a line of the buffer for depthwise convolutions, a power of two; 0 without; by default 512 "
        "where it saves cycles.",
        show_default=False,
    ),
]
WordBits = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Of a column in a word of weights, to 32; by default as the widest weight, or 8 where that saves cycles.",
        show_default=False,
    ),
]
Packing = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Most rows of weights in a word, 1, 2 or 4; by default each doubling that saves 1% of the cycles.",
        show_default=False,
    ),
]
RowParts = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Of them, those that the array takes at once, 1, 2 or 4; by default as with `--packing`.",
        show_default=False,
    ),
]
BusBytes = Annotated[int, typer.Option(metavar="B", help="AXI4 data width in bytes: 4, 8, 16, 32 or 64.")]
ColumnsPerMultiplier = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4,
        metavar="N",
        help="Columns of the array that share each multiplier of the target; by default as many as cost nothing, and "
        "more where the largest part needs it.",
        show_default=False,
    ),
]
AnyModel = Annotated[
    Path, typer.Argument(metavar="MODEL.onnx", help="A model, float or quantized.", show_default=False)
]
FloatModel = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Trained float model.", show_default=False)]
Calibration = Annotated[
    Path,
    typer.Option(
        metavar="DATA.npz", help="Typical inputs: `x`, or each input by its name, float32.", show_default=False
    ),
]
Images = Annotated[
    Path,
    typer.Option(
        "--inputs", metavar="DATA.npz", help="`x`, NxCxHxW float32, and optionally labels `y`.", show_default=False
    ),
]
ScalesKind = Annotated[Scales, typer.Option(help="`pow2` needs shifts only, no multiplier, in hardware.")]
WeightBits = Annotated[int, typer.Option(metavar="N", help="Width of the weights, 2 to 16 bits.")]
ActivationBits = Annotated[int, typer.Option(metavar="N", help="Width of the activations, 2 to 16 bits.")]
Range = Annotated[
    RangeMethod,
    typer.Option(
        "--range", help="How ranges are chosen: all values, nearly all, least squared error, or the best of them."
    ),
]
SumBits = Annotated[
    int | None,
    typer.Option(metavar="N", help="Accumulator width; by default what the model needs, or 32.", show_default=False),
]
WidestWeights = Annotated[
    int | None,
    typer.Option(metavar="N", help="Widest weights; by default what the model needs, or 8.", show_default=False),
]
WidestActivations = Annotated[
    int | None,
    typer.Option(metavar="N", help="Widest activations; by default what the model needs, or 8.", show_default=False),
]
Normalized = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Channels that a normalization sums over; by default what the model needs, or 5.",
        show_default=False,
    ),
]
QuantizedModel = Annotated[Path, typer.Argument(metavar="Q.onnx", help="The quantized model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def given(**options: Any) -> dict[str, Any]:
    """Those of ``options`` that were given."""
    return {name: value for name, value in options.items() if value is not None}
