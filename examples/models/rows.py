"""What was measured of each network, as a table for people and as the one of docs/models.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Exporter = Literal["script", "dynamo", "tf2onnx"]
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
TITLES = (
    "network", "exporters", "input", "layers", "million MACs", "outputs unlike", "integers unlike, off", "on", "dB",
    "ONNX Runtime's, dB", "cycles", "cycles / limit", "simulated",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What was measured of one network by one exporter; ``refused`` is the line that says why, else "".

    size : of an input;  layers, macs, integers : of the quantized network, an image
    outputs : values unlike ONNX Runtime's, optimized;  off, on : integers unlike where each layer reads golden's maps,
    without and with optimizations, and the largest difference in steps
    ours, theirs : dB of the quantized network against the float one, by Systolith and by ONNX Runtime's quantizer
    cycles, limit : of an image, predicted
    wrong : bytes of a simulated image, None if none was;  simulated : that image's size
    """

    name: str
    exporter: Exporter
    size: tuple[int, ...]
    refused: str = ""
    layers: int = 0
    macs: int = 0
    integers: int = 0
    outputs: int = 0
    off: tuple[int, int] = (0, 0)
    on: tuple[int, int] = (0, 0)
    ours: float = 0.0
    theirs: float | None = None
    cycles: int = 0
    limit: int = 1
    wrong: int | None = None
    simulated: tuple[int, ...] = ()


def load(path: Path) -> list[Row]:
    """The rows in the file ``path``, none if it is not there."""
    found = json.loads(path.read_text()) if path.exists() else []
    sizes = ("size", "off", "on", "simulated")
    return [Row(**row | {name: tuple(row[name]) for name in sizes}) for row in found]


def save(rows: Iterable[Row], path: Path) -> None:
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def markdown(rows: list[Row]) -> str:
    """A line a network; where its exporters differ, a figure of each."""
    lines = [TITLES, ("---",) * len(TITLES)]
    lines += [_line([row for row in rows if row.name == name]) for name in dict.fromkeys(row.name for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write(rows: list[Row], path: Path) -> None:
    """Put the table between the two marks in the page ``path``."""
    before, rest = path.read_text().split(BEGIN)
    path.write_text(f"{before}{BEGIN}{markdown(rows)}{END}{rest.split(END)[1]}")


def _line(rows: list[Row]) -> tuple[str, ...]:
    """The figures of one network by its exporters."""

    def each(figure: Callable[[Row], str]) -> str:
        return " / ".join(dict.fromkeys(figure(row) for row in rows))

    first = [rows[0].name, ", ".join(row.exporter for row in rows), _size(rows[0].size)]
    if any(row.refused for row in rows):
        return (*first, each(lambda row: row.refused or "goes through"), *[""] * (len(TITLES) - 4))
    return (
        *first,
        each(lambda row: str(row.layers)),
        each(lambda row: f"{row.macs / 1e6:,.1f}"),
        each(lambda row: f"{row.outputs:,}"),
        each(lambda row: _unlike(row, row.off)),
        each(lambda row: _unlike(row, row.on)),
        each(lambda row: f"{row.ours:.1f}"),
        each(lambda row: "refused" if row.theirs is None else f"{row.theirs:.1f}"),
        each(lambda row: f"{row.cycles:,}"),
        each(lambda row: f"{row.cycles / row.limit:.2f}"),
        each(_simulated),
    )


def _unlike(row: Row, found: tuple[int, int]) -> str:
    count, steps = found
    return f"{count:,} of {row.integers:,}" + (f" by {steps}" if steps > 1 else "") if count else "0"


def _simulated(row: Row) -> str:
    if row.wrong is None:
        return "no"
    found = "exact" if not row.wrong else f"{row.wrong} bytes wrong"
    return found if row.simulated == row.size else f"{found}, {_size(row.simulated)}"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
