"""The memory and the recorder as the simulator's process sees them: NumPy arrays that memory.cpp works on."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..comparison.contents import Contents, event_type


class NativeMemory:
    """DRAM of the bulk bench under Verilator.  ``bus_bytes`` is the granule of the time stamps."""

    def __init__(self, bus_bytes: int) -> None:
        self._library = ctypes.CDLL(None)
        self._bus_bytes = bus_bytes

    async def begin(self, data: NDArray[np.uint8]) -> None:
        self._data = np.ascontiguousarray(data)
        self._written = np.zeros(data.size, np.uint8)
        self._stamps = np.zeros(-(-data.size // self._bus_bytes), np.uint64)
        self._library.systolith_attach_memory(
            ctypes.c_void_p(self._data.ctypes.data),
            ctypes.c_void_p(self._written.ctypes.data),
            ctypes.c_void_p(self._stamps.ctypes.data),
            ctypes.c_uint64(data.size),
            ctypes.c_uint64(self._bus_bytes),
        )

    async def finish(self) -> Contents:
        return Contents(self._data, self._written.astype(bool), self._stamps)


class NativeEvents:
    """Monitor events under Verilator; at most ``capacity`` of one image are kept, the rest only counted."""

    def __init__(self, width: int, capacity: int) -> None:
        self._library = ctypes.CDLL(None)
        self._library.systolith_events.restype = ctypes.c_uint64
        self._buffer = np.zeros(capacity, event_type(width))

    def begin(self) -> None:
        self._library.systolith_attach_events(
            ctypes.c_void_p(self._buffer.ctypes.data), ctypes.c_uint64(self._buffer.size)
        )

    def finish(self) -> tuple[NDArray[np.void], int]:
        """The kept events and how many there were."""
        count = int(self._library.systolith_events())
        return self._buffer[: min(count, self._buffer.size)], count


class FileEvents:
    """Monitor events from the file that recorder.sv writes under Icarus."""

    def __init__(self, width: int, file: Path = Path("events.txt")) -> None:
        self._width = width
        self._file = file
        self._offset = 0

    def begin(self) -> None:
        self._offset = self._file.stat().st_size if self._file.exists() else 0

    def finish(self) -> tuple[NDArray[np.void], int]:
        """The events since ``begin`` and their number.  An unknown bit (x) reads as 0."""
        with self._file.open() as file:
            file.seek(self._offset)
            lines = [line.split() for line in file]
        events = np.zeros(len(lines), event_type(self._width))
        for event, line in zip(events, lines, strict=True):
            cycle, address, count, data = (int(_known(word), 16) for word in line)
            event["cycle"], event["address"], event["count"] = cycle, address, count
            event["data"][:] = np.frombuffer(data.to_bytes(self._width, "little"), np.uint8)
            event["data"][count:] = 0
        return events, len(lines)


def _known(word: str) -> str:
    return "".join("0" if digit in "xXzZ" else digit for digit in word)
