"""Run images one after another and judge each: what the bulk and the protocol bench have in common."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from numpy.typing import NDArray

from ..comparison.compare import Verdict, compare, layer_cycles
from ..comparison.contents import Contents
from ..comparison.job import (
    OUTCOMES,
    Failure,
    Job,
    Outcome,
)
from .hang import describe_hang
from .protocol_rules import broken_rule
from .registers import RegisterError, Registers

PERIOD_NS = 10
DRAIN_CYCLES = 32
PAGE = 4096
"""LIMIT's granule, bytes."""


class Memory(Protocol):
    """DRAM of one image."""

    def begin(self, data: NDArray[np.uint8]) -> Awaitable[None]: ...

    def finish(self) -> Awaitable[Contents]: ...


class Events(Protocol):
    """The recorder's monitor events of one image."""

    def begin(self) -> None: ...

    def finish(self) -> tuple[NDArray[np.void], int]: ...


class EndedError(Exception):
    """An image ended early; the message says why."""


async def power_up(dut: Any, job: Job) -> None:
    """Start the clock, set the controls, and hold reset for a few cycles; no output is unknown afterwards."""
    dut.rst.value = 1
    dut.watch.value = 0
    dut.patience.value = job.patience
    dut.limit.value = job.limit
    dut.trace_start.value, dut.trace_stop.value = job.trace or (0, 0)
    dut.base.value = job.base
    dut.bytes.value = job.memory.size
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    await ClockCycles(dut.clk, 4)


class Bench:
    """A device under test with its registers, memory and monitor, after ``power_up``."""

    def __init__(self, dut: Any, job: Job, registers: Registers, memory: Memory, events: Events) -> None:
        self.dut = dut
        self.job = job
        self.registers = registers
        self.memory = memory
        self.events = events

    def offset(self, name: str) -> int:
        return self.job.registers[name]

    async def cycle(self) -> int:
        return int(self.dut.cycle.value)

    async def run(self) -> None:
        """Release reset and run all images: one line each in the outcomes file, a Failure line if it ends early."""
        self.dut.rst.value = 0
        await ClockCycles(self.dut.clk, 4)
        with Path(OUTCOMES).open("w") as file:
            for image in range(len(self.job.inputs)):
                try:
                    outcome: Outcome | Failure | None = await self.image(image)
                except (EndedError, RegisterError) as error:
                    outcome = Failure(image, await self.cycle(), str(error))
                if outcome is None:
                    return
                file.write(outcome.line() + "\n")
                file.flush()
                if isinstance(outcome, Failure):
                    return

    async def begin(self, image: int, memory: NDArray[np.uint8] | None = None) -> None:
        """Fill DRAM as it is before ``image``, or with ``memory`` and its input, and forget the last one's events."""
        job = self.job
        data = np.concatenate([np.zeros(job.base, np.uint8), job.memory if memory is None else memory])
        at = job.base + job.input_address
        data[at : at + job.inputs.shape[1]] = job.inputs[image]
        await self.memory.begin(data)
        self.events.begin()

    async def start(self, interrupt: int = 1, limit: int | None = None) -> None:
        """``limit`` : bytes of memory that the accelerator may touch, the job's if None."""
        await self.registers.write(self.offset("PROGRAM"), self.job.program_address)
        await self.registers.write(self.offset("BASE"), self.job.base & 0xFFFF_FFFF)
        await self.registers.write(self.offset("BASE_HIGH"), self.job.base >> 32)
        whole = -(-self.job.memory.size // PAGE) * PAGE
        await self.registers.write(self.offset("LIMIT"), whole if limit is None else limit)
        await self.registers.write(self.offset("INTERRUPT_ENABLE"), interrupt)
        await self.registers.write(self.offset("CONTROL"), 1)

    async def judge(self, image: int) -> tuple[Verdict, NDArray[np.void]]:
        """All that was written since ``begin`` beside what ``image`` must write, and the monitor's events."""
        job = self.job
        contents = await self.memory.finish()
        events, count = self.events.finish()
        if contents.written[: job.base].any():
            raise EndedError(f"bytes below the base address {job.base:#x} were written")
        shifted = Contents(
            contents.data[job.base :], contents.written[job.base :], contents.stamps[job.base // job.bus_bytes :]
        )
        first = image * job.expectation.batch
        now = await self.cycle()
        return compare(first, job.expectation, job.vectors[image], events, count, shifted, now), events

    async def image(self, image: int) -> Outcome | None:
        """Start, wait, compare.  None when the waveform that was asked for is complete."""
        job = self.job
        clock_started, first_cycle = time.perf_counter(), await self.cycle()
        await self.begin(image)
        await self.start()
        started = await self.cycle()
        self.dut.watch.value = 1
        if not int(self.dut.wake.value):
            await RisingEdge(self.dut.wake)
        finished = await self._ended()
        self.dut.watch.value = 0
        if not finished:
            return None

        cycles = await self.registers.read(self.offset("CYCLES"))
        cycles += (await self.registers.read(self.offset("CYCLES_HIGH"))) << 32
        stalls = {}
        for name in job.registers:
            if name.startswith("STALL"):
                stalls[name.removeprefix("STALL_").lower()] = await self.registers.read(self.offset(name))
        await self.registers.write(self.offset("CONTROL"), 2)
        await ClockCycles(self.dut.clk, DRAIN_CYCLES)  # silence: what comes now would be one too many
        if int(self.dut.violation.value):
            raise EndedError(self._violation())
        if int(self.dut.interrupt.value):
            raise EndedError("the interrupt stays after CONTROL was written with 2")

        verdict, events = await self.judge(image)
        return Outcome(
            image=image,
            cycles=cycles,
            simulated_cycles=await self.cycle() - first_cycle,
            seconds=time.perf_counter() - clock_started,
            stalls=stalls,
            layer_cycles=layer_cycles(job.expectation, events, started, started + cycles),
            mismatches=verdict.mismatches,
            differences=verdict.differences,
        )

    async def _ended(self) -> bool:
        """Whether the image is done; False when the waveform is.  Raises EndedError for all other reasons to wake."""
        if int(self.dut.violation.value):
            raise EndedError(self._violation())
        if stuck := int(self.dut.stuck.value):
            raise EndedError(await describe_hang(self.job, self.registers, stuck))
        if not int(self.dut.interrupt.value):
            return False
        status = await self.registers.read(self.offset("STATUS"))
        if status & 4:
            code = status >> 8 & 255
            cause = self.job.causes.get(str(code), "a cause that the manifest does not list")
            raise EndedError(f"the accelerator stopped with error {code}: {cause}")
        if status & 1 or not status & 2:
            raise EndedError(f"the interrupt came with STATUS {status:#x}, which is not done")
        return True

    def _violation(self) -> str:
        return broken_rule(
            int(self.dut.violation.value), int(self.dut.violation_cycle.value), int(self.dut.violation_address.value)
        )
