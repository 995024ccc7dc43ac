"""cocotb test of the protocol bench: cocotbext-axi on both ports, each channel pausing at random."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRamRead, AxiRamWrite
from numpy.typing import NDArray

from ..comparison.contents import Contents
from ..comparison.job import Job
from .bench import Bench, power_up
from .bulk import events_of
from .registers import RegisterError


def pauses(rng: random.Random) -> Iterator[bool]:
    """Runs of transfers and of pauses, of random lengths, with a density that changes from time to time."""
    while True:
        density = rng.choice((0.0, 0.2, 0.5, 0.9))
        for _ in range(rng.randint(20, 200)):
            paused = rng.random() < density
            yield from (paused for _ in range(rng.choice((1, 1, 2, 5, 30) if paused else (1, 2, 8, 20))))


class RamMemory:
    """DRAM on cocotbext-axi's slave models, with a record of what was written and when."""

    def __init__(self, dut: Any, job: Job, rng: random.Random) -> None:
        self._dut = dut
        self._bus_bytes = job.bus_bytes
        self._data = bytearray(job.base + job.memory.size)
        bus = AxiBus.from_prefix(dut, "m_axi")
        memory = self

        class Write(AxiRamWrite):  # type: ignore[misc]
            async def _write(self, address: int, data: bytes) -> None:
                memory.write(address, data)

            async def _process_write(self) -> None:
                with contextlib.suppress(AssertionError):  # axi_checker has seen it too, and says it better
                    await super()._process_write()

        class Read(AxiRamRead):  # type: ignore[misc]
            async def _process_read(self) -> None:
                with contextlib.suppress(AssertionError):
                    await super()._process_read()

        self._write_side = Write(bus.write, dut.clk, dut.rst, mem=self._data)
        self._read_side = Read(bus.read, dut.clk, dut.rst, mem=self._data)
        channels = (
            self._write_side.aw_channel,
            self._write_side.w_channel,
            self._write_side.b_channel,
            self._read_side.ar_channel,
            self._read_side.r_channel,
        )
        for channel in channels:
            channel.set_pause_generator(pauses(random.Random(rng.random())))

    def write(self, address: int, data: bytes) -> None:
        self._data[address : address + len(data)] = data
        self._written[address : address + len(data)] = True
        self._stamps[address // self._bus_bytes] = int(self._dut.cycle.value)

    async def begin(self, data: NDArray[np.uint8]) -> None:
        self._data[:] = data.tobytes()
        self._written = np.zeros(data.size, bool)
        self._stamps = np.zeros(-(-data.size // self._bus_bytes), np.uint64)

    async def finish(self) -> Contents:
        return Contents(np.frombuffer(bytes(self._data), np.uint8), self._written, self._stamps)


class MasterRegisters:
    """Registers through cocotbext-axi's AXI4-Lite master."""

    def __init__(self, dut: Any, rng: random.Random) -> None:
        self._master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk, dut.rst)
        write, read = self._master.write_if, self._master.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
            channel.set_pause_generator(pauses(random.Random(rng.random())))

    async def read(self, offset: int) -> int:
        response = await self._master.read(offset, 4)
        if int(response.resp):
            raise RegisterError(f"a read of register {offset:#x} was answered with error {int(response.resp)}")
        return int.from_bytes(response.data, "little")

    async def write(self, offset: int, value: int) -> None:
        response = await self._master.write(offset, value.to_bytes(4, "little"))
        if int(response.resp):
            raise RegisterError(f"a write of register {offset:#x} was answered with error {int(response.resp)}")


@cocotb.test()
async def protocol(dut: Any) -> None:
    job = Job.load(Path())
    rng = random.Random(job.seed)
    dut._log.info("seed %d", job.seed)
    for name in ("cocotb.protocol.m_axi", "cocotb.protocol.s_axil"):
        logging.getLogger(name).setLevel(logging.WARNING)
    await power_up(dut, job)
    await Bench(dut, job, MasterRegisters(dut, rng), RamMemory(dut, job, rng), events_of(job)).run()
