"""What stands in which bits of each register: the table behind REGISTERS, for tools that show registers by field."""

from dataclasses import dataclass
from typing import Literal

from .register_map import REGISTERS, STALLS

Access = Literal["read-only", "write-only", "read-write"]
"""In the words of IEEE 1685-2009, 6.11.9."""


@dataclass(frozen=True)
class Field:
    """``bits`` bits of a register from bit ``low`` on."""

    name: str
    low: int
    bits: int
    access: Access
    meaning: str

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1 << self.low


def _whole(name: str) -> tuple[Field, ...]:
    return (Field(name, 0, 32, "read-only", REGISTERS[name][1]),)


FIELDS: dict[str, tuple[Field, ...]] = {
    "ID": _whole("ID"),
    "FINGERPRINT": _whole("FINGERPRINT"),
    "FEATURES": (
        Field("ROWS", 0, 8, "read-only", "rows of the array"),
        Field("COLUMNS", 8, 8, "read-only", "columns of the array"),
        Field("BUS_BYTES", 16, 8, "read-only", "bytes of a beat on the AXI4 bus"),
        Field("ACTIVATION_BITS", 24, 5, "read-only", "bits of an activation, less one"),
        Field("VERSION", 29, 3, "read-only", "of registers and instructions"),
    ),
    "CONTROL": (
        Field("START", 0, 1, "write-only", "1 starts a run, unless busy"),
        Field("CLEAR", 1, 1, "write-only", "1 clears done and error, unless busy"),
        Field("RESET", 2, 1, "write-only", "1 resets the engine, whatever it does"),
    ),
    "STATUS": (
        Field("BUSY", 0, 1, "read-only", "a run is on, or a reset"),
        Field("DONE", 1, 1, "read-only", "the run has ended as it should"),
        Field("ERROR", 2, 1, "read-only", "the run has ended with an error"),
        Field("CAUSE", 8, 8, "read-only", "why"),
    ),
    "PROGRAM": (Field("ADDRESS", 6, 26, "read-write", "of the program, bits 31:6, before BASE is added"),),
    "BASE": (Field("ADDRESS", 12, 20, "read-write", "added to every access, bits 31:12"),),
    "INTERRUPT_ENABLE": (Field("ENABLE", 0, 1, "read-write", REGISTERS["INTERRUPT_ENABLE"][1]),),
    "CYCLES": _whole("CYCLES"),
    "CYCLES_HIGH": _whole("CYCLES_HIGH"),
    "WAITS": tuple(Field(name, bit, 1, "read-only", text) for bit, (name, text) in enumerate(STALLS)),
    "ARRAY_BUSY": _whole("ARRAY_BUSY"),
    **{name: _whole(name) for name in REGISTERS if name.startswith("STALL_")},
    "LIMIT": (Field("PAGES", 12, 20, "read-write", "of 4096 bytes from BASE on that may be accessed"),),
    "BASE_HIGH": (Field("ADDRESS", 0, 8, "read-write", "added to every access, bits 39:32"),),
    "WATCHDOG": (Field("CYCLES", 0, 32, "read-write", REGISTERS["WATCHDOG"][1]),),
}
"""Of each register its fields, upwards.  Bits outside them read 0, and what is written there is forgotten."""
