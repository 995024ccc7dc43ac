"""The carrier /dev/mem: physical addresses, for root, on a system that keeps a region of memory to itself."""

from __future__ import annotations

import time
from pathlib import Path

from .mapped import REGISTER_BYTES, MappedMemory, MappedRegisters, Mapping


class DeviceMemory:
    """Registers at physical address ``registers``, and ``size`` bytes of memory at ``memory``, of the file ``device``.

    The memory must be kept from Linux (``reserved-memory`` in the device tree, or the kernel's ``mem=``).  It is opened
    with O_SYNC, so the processor's cache keeps out.
    address : of the region on the accelerator's bus, where that differs from ``memory``

    Raises HostError if the device cannot be opened or mapped.
    """

    interrupts = False

    def __init__(
        self, registers: int, memory: int, size: int, *, address: int | None = None, device: str | Path = "/dev/mem"
    ) -> None:
        path = Path(device)
        self._register_map = Mapping(path, registers, REGISTER_BYTES, uncached=True)
        try:
            self._memory_map = Mapping(path, memory, size, uncached=True)
        except BaseException:
            self._register_map.close()
            raise
        self.registers = MappedRegisters(self._register_map.bytes)
        self.memory = MappedMemory(self._memory_map.bytes, memory if address is None else address)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self.registers.release()
        self._register_map.close()
        self._memory_map.close()
