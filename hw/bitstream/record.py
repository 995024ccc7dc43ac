"""What a bitstream is: the record that seals its folder, and a page about it for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from ..made_folder import MadeOf, read_made
from ..sealed import sha256
from ..whole_folder import WholeFolder

FORMAT: Final = 1
RECORD, TEXT, BITSTREAM, CONSTRAINTS = "report.json", "report.txt", "systolith.bit", "systolith_top.lpf"
SOURCES: Final = ("systolith_top.v", "systolith_board.v", "systolith.v")
FILES: Final = (*SOURCES, CONSTRAINTS, BITSTREAM, TEXT)
FOLDER: Final = WholeFolder("bitstream", (*FILES, RECORD), RECORD)
KINDS: Final = {
    "TRELLIS_COMB": "LUTs",
    "TRELLIS_FF": "registers",
    "MULT18X18D": "multipliers",
    "DP16KD": "block RAMs",
    "EHXPLLL": "PLLs",
}
"""Words for nextpnr's types of cells."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Bitstream(MadeOf):
    """A bitstream, what it costs and how fast it is.

    asked_mhz : None where no clock was asked for;  clock_mhz : the PLL's;  reached_mhz : what the slowest path allows
    slack_ns : that it leaves of a period, not below 0
    baud, divisor : bits a second asked of the serial line, and clock cycles a bit, which miss that by ``baud_error``
    used, there : cells by type
    memory_bytes : of block RAM behind the accelerator's bus
    cycles : of an image there, as the cycle model predicts;  frames_per_second : that follow, the serial line apart
    line_seconds : an image's inputs and outputs on the serial line, at the very least
    routes : how many clocks were tried;  seconds : by tool, of all of them;  tools : versions
    """

    format: Literal[1]
    board: str
    asked_mhz: Positive | None
    clock_mhz: Positive
    reached_mhz: Positive
    slack_ns: Annotated[float, Field(ge=0)]
    baud: Annotated[int, Field(ge=1)]
    divisor: Annotated[int, Field(ge=4)]
    baud_error: float
    used: dict[str, Count]
    there: dict[str, Count]
    memory_bytes: Count
    cycles: Positive
    frames_per_second: Positive
    line_seconds: Positive
    routes: Annotated[int, Field(ge=1)]
    seconds: dict[str, float]
    tools: dict[str, str]

    def lines(self) -> list[str]:
        """For people."""
        area = ", ".join(
            f"{self.used[name]:,} of {self.there[name]:,} {word}" for name, word in KINDS.items() if name in self.used
        )
        tried = "" if self.routes == 1 else f", after {self.routes} clocks were tried"
        return [
            f"{self.board}: {self.clock_mhz:.6g} MHz, {self.reached_mhz:.1f} MHz reached, slack {self.slack_ns:.2f} ns",
            f"{area}; {self.memory_bytes:,} bytes of memory",
            f"{self.cycles:,.0f} cycles an image: {self.frames_per_second:,.1f} frames a second, the serial line apart",
            f"serial line: {self.baud:,} baud, {self.baud_error:+.2%} off; {1000 * self.line_seconds:,.1f} ms an image "
            "at least",
            ", ".join(f"{tool} {seconds:,.0f} s" for tool, seconds in self.seconds.items()) + tried,
        ]


def seal(bitstream: Mapping[str, object], contents: Mapping[str, bytes]) -> tuple[Bitstream, dict[str, bytes]]:
    """The record with the fields ``bitstream`` of a folder with ``contents``, and those with the page about it."""
    hashes = {name: sha256(data) for name, data in contents.items()}
    page = "\n".join([*Bitstream.model_validate({**bitstream, "files": hashes}).lines(), ""]).encode()
    record = Bitstream.model_validate({**bitstream, "files": {**hashes, TEXT: sha256(page)}})
    return record, {**contents, TEXT: page}


def read_bitstream(folder: Path) -> Bitstream:
    """The record of ``folder``.  Raises ConfigurationError naming the file that is missing or changed."""
    return read_made(FOLDER, Bitstream, folder)[0]
