"""Registers and memory that this process sees in its own address space."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from ..quant.graph.errors import HostError

REGISTER_BYTES = 256
"""That the accelerator's registers take."""


class Mapping:
    """``size`` bytes of the device or file ``path`` from byte ``offset`` on, until ``close``.

    uncached : whether the processor's cache is told to keep out, where the device can do that (O_SYNC)
    Raises HostError saying what it lacks.
    """

    def __init__(self, path: Path, offset: int, size: int, *, uncached: bool = False) -> None:
        start = offset % mmap.ALLOCATIONGRANULARITY
        flags = os.O_RDWR | (getattr(os, "O_SYNC", 0) if uncached else 0)
        try:
            device = os.open(path, flags)
        except OSError as error:
            hint = "; run as root, or give your user the device" if isinstance(error, PermissionError) else ""
            raise HostError(f"cannot open '{path}': {error.strerror or error}{hint}") from error
        try:
            self._map = mmap.mmap(device, start + size, offset=offset - start)
        except (OSError, ValueError) as error:
            raise HostError(f"cannot map {size:,} bytes at 0x{offset:x} of '{path}': {error}") from error
        finally:
            os.close(device)
        self._view = memoryview(self._map)
        self.bytes = self._view[start : start + size]

    def close(self) -> None:
        self.bytes.release()
        self._view.release()
        self._map.close()


class MappedRegisters:
    """Registers in ``words``, the bytes of a mapping, each reached in one access of 32 bits."""

    def __init__(self, words: memoryview) -> None:
        self._words = np.frombuffer(words, np.uint32)

    def read(self, offset: int) -> int:
        return int(self._words[offset // 4])

    def write(self, offset: int, value: int) -> None:
        self._words[offset // 4] = value

    def release(self) -> None:
        """Let go of the bytes, so that their mapping can be closed."""
        self._words = np.zeros(0, np.uint32)


class MappedMemory:
    """The bytes of a mapping, at ``address`` on the accelerator's bus, that no cache holds."""

    checked = False

    def __init__(self, data: memoryview, address: int) -> None:
        self._data = data
        self.address = address
        self.size = len(data)

    def write(self, offset: int, data: bytes) -> None:
        self._data[offset : offset + len(data)] = data

    def read(self, offset: int, count: int) -> bytes:
        return bytes(self._data[offset : offset + count])

    def flush(self, offset: int, count: int) -> None:
        """Nothing: what is written is there."""

    def invalidate(self, offset: int, count: int) -> None:
        """Nothing: what is read is what is there."""
