"""DRAM of the bulk bench under Icarus, which has no DPI: a Verilog array, loaded and dumped as hex files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from cocotb.triggers import Timer
from numpy.typing import NDArray

from ..comparison.contents import Contents


class PlainMemory:
    """``dut.load`` and ``dut.dump`` make axi_memory.sv read and write its files.  Time stamps are not kept."""

    def __init__(self, dut: Any, bus_bytes: int) -> None:
        self._dut = dut
        self._bus_bytes = bus_bytes

    async def begin(self, data: NDArray[np.uint8]) -> None:
        self._bytes = data.size
        whole = np.zeros(-(-data.size // 64) * 64, np.uint8)
        whole[: data.size] = data
        words = whole.reshape(-1, self._bus_bytes)[:, ::-1]
        Path("memory.hex").write_text("\n".join(word.tobytes().hex() for word in words) + "\n")
        await self._pulse(self._dut.load)

    async def finish(self) -> Contents:
        await self._pulse(self._dut.dump)
        digits = 2 * self._bus_bytes
        data = np.array([list(bytes.fromhex(word.zfill(digits))) for word in _words("memory.out")], np.uint8)
        masks = np.array([int(word, 16) for word in _words("written.out")], object)
        written = np.array([[mask >> lane & 1 for lane in range(self._bus_bytes)] for mask in masks], bool)
        now = int(self._dut.cycle.value)
        return Contents(
            data=data[:, ::-1].reshape(-1)[: self._bytes],
            written=written.reshape(-1)[: self._bytes],
            stamps=np.full(-(-self._bytes // self._bus_bytes), now, np.uint64),
        )

    async def _pulse(self, signal: Any) -> None:
        signal.value = 1
        await Timer(1, unit="ns")
        signal.value = 0
        await Timer(1, unit="ns")


def _words(name: str) -> list[str]:
    lines = (line.split("//")[0].split() for line in Path(name).read_text().splitlines())
    return [word.lower().replace("x", "0") for line in lines for word in line]
