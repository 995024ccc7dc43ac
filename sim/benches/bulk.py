"""cocotb test of the bulk bench: runs in the simulator's process, in the folder of its job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cocotb

from ..comparison.job import Job
from .bench import Bench, power_up
from .native import FileEvents, NativeEvents, NativeMemory
from .plain_memory import PlainMemory
from .registers import PortRegisters

SPARE_EVENTS = 1024


def events_of(job: Job) -> NativeEvents | FileEvents:
    """The recorder's other end."""
    if job.simulator == "verilator":
        return NativeEvents(job.monitor_bytes, len(job.expectation.stream) + SPARE_EVENTS)
    return FileEvents(job.monitor_bytes)


async def attach(dut: Any, job: Job) -> Bench:
    """The bench of ``job``, powered up and in reset, with a memory that answers without errors."""
    dut.latency.value = job.memory_latency
    dut.origin.value = 0
    for name in ("load", "dump", "read_error", "write_error"):
        getattr(dut, name).value = 0
    registers = PortRegisters(dut)
    await power_up(dut, job)
    memory = NativeMemory(job.bus_bytes) if job.simulator == "verilator" else PlainMemory(dut, job.bus_bytes)
    return Bench(dut, job, registers, memory, events_of(job))


@cocotb.test()
async def bulk(dut: Any) -> None:
    await (await attach(dut, Job.load(Path()))).run()
