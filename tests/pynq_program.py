"""A program as one writes it on a PYNQ board, for tests/test_host_pynq.py: pynq's own classes, on files.

    python -m tests.pynq_program MEM DRAM ADDRESS REGISTERS BUILD IMAGES.npy OUTPUTS.npy [without METHOD]

pynq's MMIO, EmbeddedDevice, XrtMemory, allocate and PynqBuffer are the package's.  What a board has below them is not:
/dev/mem is the file MEM; XRT's buffers (pyxrt, which is compiled on the board) are a copy of the file DRAM, at ADDRESS
on the bus, that nothing but ``sync`` brings in step, the whole buffer at once, as pynq asks for it.  METHOD of
PynqBuffer is taken away.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import types
import warnings
from pathlib import Path

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # no XRT, no device
    import pynq
    from pynq import buffer as pynq_buffer
    from pynq.pl_server import embedded_device, xrt_device

from systolith.host import Accelerator, HostError, PynqBoard

TO_DEVICE, FROM_DEVICE = "to device", "from device"
INFORMATION = ("bdf", "dynamic_regions", "electrical", "host", "m2m", "max_clock_frequency_mhz", "mechanical", "memory")
INFORMATION += ("name", "pcie_info", "thermal", "vmr")
freed: list[int] = []


class Cached:
    """pyxrt.bo: a buffer behind the processor's cache.  path : DRAM;  address : on the bus"""

    flags = types.SimpleNamespace(normal=0, cacheable=1)
    path: Path
    bus_address: int

    def __init__(self, handle: object, size: int, flags: int, memory: int) -> None:
        with self.path.open("r+b") as file:
            self.dram = np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
        self.cache = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)

    def map(self) -> memoryview:
        return memoryview(self.cache)

    def size(self) -> int:
        return self.cache.size

    def address(self) -> int:
        return self.bus_address

    def sync(self, direction: str) -> None:
        if direction == TO_DEVICE:
            self.dram[:] = self.cache
        else:
            assert direction == FROM_DEVICE
            self.cache[:] = self.dram


def below(memory: Path, dram: Path, address: int) -> None:
    """What a board has below pynq."""
    Cached.path, Cached.bus_address = dram, address
    directions = types.SimpleNamespace(XCL_BO_SYNC_BO_TO_DEVICE=TO_DEVICE, XCL_BO_SYNC_BO_FROM_DEVICE=FROM_DEVICE)
    told = types.SimpleNamespace(get_info=lambda key: key)
    xrt_device.pyxrt = types.SimpleNamespace(
        device=lambda index: told,
        xrt_info_device=types.SimpleNamespace(**{name: name for name in INFORMATION}),
        bo=Cached,
        xclBOSyncDirection=directions,
    )
    pynq_buffer.ctypes = ctypes
    pynq_buffer.libc = types.SimpleNamespace(munmap=lambda at, count: freed.append(count))
    opened = os.open
    embedded_device.os.open = lambda path, *how: opened(memory if path == "/dev/mem" else path, *how)
    embedded_device.os.geteuid = lambda: 0  # /dev/mem is root's, the file anyone's


def main(
    memory: str, dram: str, address: str, registers: str, build: str, images: str, outputs: str, *without: str
) -> int:
    """0 if it ran; 1, and a line, where the driver refuses."""
    below(Path(memory), Path(dram), int(address))
    device = embedded_device.EmbeddedDevice()
    bank = {"base_address": 0, "size": 1 << 29, "idx": 0, "streaming": False, "used": True}
    device.mem_dict = {"PSDDR": bank}  # an overlay's metadata say so
    pynq.Device.active_device = device
    for name in without[1:]:
        setattr(pynq_buffer.PynqBuffer, name, lambda buffer: None)
    carrier = PynqBoard(int(registers), Path(dram).stat().st_size)
    assert type(carrier.registers._mmio) is pynq.MMIO
    assert type(carrier.memory._buffer) is pynq_buffer.PynqBuffer
    try:
        with Accelerator(carrier, build, timeout=60) as accelerator:
            np.save(outputs, accelerator.run(np.load(images)))
    except HostError as error:
        print(error)
        return 1
    print(f"pynq {pynq.__version__}, {len(freed)} buffer freed")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
