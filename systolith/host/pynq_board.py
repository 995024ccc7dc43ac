"""The carrier PYNQ: pynq's MMIO and contiguous buffers.  pynq is imported when a carrier is made, not before."""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np

from ..quant.graph.errors import HostError
from .mapped import REGISTER_BYTES


class PynqBoard:
    """Registers at physical address ``registers``, and a buffer of ``size`` bytes that pynq allocates.

    In an overlay the address is ``overlay.ip_dict[NAME]["phys_addr"]``.
    device : pynq's, by default the active one

    Raises HostError without pynq, or where it cannot allocate so much.
    """

    interrupts = False

    def __init__(self, registers: int, size: int, *, device: Any = None) -> None:
        try:
            pynq = importlib.import_module("pynq")
        except ImportError as error:
            raise HostError("pynq is not installed; it comes with the board's image") from error
        self.registers = _Registers(pynq.MMIO(registers, REGISTER_BYTES, device=device))
        try:
            buffer = pynq.allocate((size,), dtype=np.uint8, target=device)
        except (MemoryError, RuntimeError) as error:
            raise HostError(f"pynq cannot allocate {size:,} contiguous bytes: {error}; is CMA large enough?") from error
        self.memory = _Buffer(buffer)

    @classmethod
    def overlay(cls, bitstream: str, size: int) -> PynqBoard:
        """Configures the FPGA with ``bitstream``, which lies beside its .hwh file, and finds the accelerator in it."""
        try:
            pynq = importlib.import_module("pynq")
        except ImportError as error:
            raise HostError("pynq is not installed; it comes with the board's image") from error
        blocks = pynq.Overlay(bitstream).ip_dict
        found = [name for name in blocks if "systolith" in name]
        if len(found) != 1:
            raise HostError(
                f"'{bitstream}' has {len(found)} blocks called systolith, among {', '.join(blocks) or 'none'}"
            )
        return cls(blocks[found[0]]["phys_addr"], size)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self.memory.close()


class _Registers:
    def __init__(self, mmio: Any) -> None:
        self._mmio = mmio

    def read(self, offset: int) -> int:
        return int(self._mmio.array[offset // 4])  # its read() wants a type in some versions

    def write(self, offset: int, value: int) -> None:
        self._mmio.write(offset, value)


class _Buffer:
    """pynq's buffer is synchronized as a part of it, which is a view of the same kind."""

    checked = False

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self.address = int(buffer.physical_address)
        self.size = int(buffer.nbytes)

    def write(self, offset: int, data: bytes) -> None:
        self._buffer[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, offset: int, count: int) -> bytes:
        return bytes(np.asarray(self._buffer[offset : offset + count]))

    def flush(self, offset: int, count: int) -> None:
        self._buffer[offset : offset + count].flush()

    def invalidate(self, offset: int, count: int) -> None:
        self._buffer[offset : offset + count].invalidate()

    def close(self) -> None:
        self._buffer.freebuffer()
