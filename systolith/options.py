"""The command line's options that several commands share, and the words that options take."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Scales(StrEnum):
    FLOAT = "float"
    POW2 = "pow2"


class RangeMethod(StrEnum):
    BEST = "best"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


class TargetKind(StrEnum):
    GENERIC = "generic"
    ECP5 = "ecp5"
    ICE40 = "ice40"
    XILINX = "xilinx"
    GOWIN = "gowin"


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
    bool,
    typer.Option(
        "--unfold-input",
        help="The host writes the input with the rows of each window of the first convolution side by side "
        "(`systolith_unfold` in the C header): fewer passes, more memory.",
    ),
]
BuildFolder = Annotated[
    Path, typer.Option("-o", "--output", metavar="BUILD", help="Folder to write.", show_default=False)
]
Lanes = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Requantizers; by default a quarter of the columns.", show_default=False),
]
BusBytes = Annotated[int, typer.Option(metavar="B", help="AXI4 data width in bytes: 4, 8, 16, 32 or 64.")]
Paired = Annotated[
    bool | None,
    typer.Option(
        help="Two columns share each multiplier of the `ecp5`; by default where the largest part needs it.",
        show_default=False,
    ),
]
QuantizedModel = Annotated[Path, typer.Argument(metavar="Q.onnx", help="The quantized model.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
