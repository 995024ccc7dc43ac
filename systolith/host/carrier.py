"""What the driver asks of whatever carries registers and memory: a bus, a serial line, a simulation."""

from __future__ import annotations

from typing import Protocol


class Registers(Protocol):
    """The accelerator's registers, 32 bits each.  ``offset`` : in bytes, a multiple of 4."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Memory(Protocol):
    """A region of the memory that the accelerator reaches, contiguous on its bus.

    address : of its first byte on the accelerator's bus;  size : in bytes.  Offsets and counts are bytes from there on.
    checked : whether a write raises HostError unless it has arrived; else the driver reads back what it loads
    """

    @property
    def checked(self) -> bool: ...

    @property
    def address(self) -> int: ...

    @property
    def size(self) -> int: ...

    def write(self, offset: int, data: bytes) -> None: ...

    def read(self, offset: int, count: int) -> bytes: ...

    def flush(self, offset: int, count: int) -> None:
        """What was written there the accelerator sees from now on."""

    def invalidate(self, offset: int, count: int) -> None:
        """What the accelerator wrote there a read sees from now on."""


class Carrier(Protocol):
    """Both, and time.

    interrupts : whether ``wait`` ends when the accelerator's interrupt does come; else the driver leaves it off
    All raise HostError if the accelerator cannot be reached any more.
    """

    @property
    def registers(self) -> Registers: ...

    @property
    def memory(self) -> Memory: ...

    @property
    def interrupts(self) -> bool: ...

    def wait(self, seconds: float) -> None:
        """Let the accelerator work for about so long, or until its interrupt."""

    def close(self) -> None:
        """Let go of it; once more does nothing."""
