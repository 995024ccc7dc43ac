"""cocotb tests of the C header's driver, compiled, whose register accesses reach the simulated accelerator."""

import json
from dataclasses import replace
from pathlib import Path

import cocotb
import numpy as np
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles

from systolith.hw.isa.check import sealed
from systolith.hw.isa.program import Operation
from systolith.hw.isa.register_map import CAUSES, STALLS, Cause
from systolith.sim.benches.bulk import attach
from systolith.sim.comparison.job import Job
from tests.host_twin import NO_ACCELERATOR, OTHER_BUILD, STILL_BUSY, TIMEOUT, Twin

ORIGIN = 0x5A_0000_0000
"""Where the memory model begins on the bus."""
OFFSET = 0x3000
BASE = ORIGIN + OFFSET
"""Where the accelerator's memory begins."""
POLLS, WATCHDOG = 400, 300
OKAY, SLVERR = 0, 2


class Host:
    """The header's driver beside the job: DRAM, the processor's cache before it, and the driver's accesses."""

    def __init__(self, bench, library):
        self.bench = bench
        self.accesses = []
        size = -(-bench.job.memory.size // 4096) * 4096
        self.memory = np.random.default_rng(3).integers(0, 256, OFFSET + size, np.uint8)
        self.cache = self.memory[OFFSET:].copy()
        names = {offset: name for name, offset in bench.job.registers.items()}
        read, write = resume(bench.registers.read), resume(bench.registers.write)

        def read_register(offset):
            self.accesses.append((names[offset],))
            return read(offset)

        def write_register(offset, value):
            self.accesses.append((names[offset], value))
            write(offset, value)

        def flush(offset, count):
            self.memory[OFFSET + offset :][:count] = self.cache[offset : offset + count]

        def invalidate(offset, count):
            self.cache[offset : offset + count] = self.memory[OFFSET + offset :][:count]

        self.twin = Twin(
            *(library, read_register, write_register, self.cache, BASE, flush, invalidate),
            polls=POLLS,
            watchdog=WATCHDOG,
        )
        self.images, self.reals = np.load("images.npy"), np.load("reals.npy")
        self.result = 0
        regions = json.loads(Path("../build/manifest.json").read_text())["memory"]["regions"]
        self.output = regions["output"]["address"]
        at = OFFSET + regions["program"]["address"]
        self.program = self.memory[at : at + regions["program"]["bytes"]]

    async def open(self):
        """What ``systolith_open`` returns."""
        await self.bench.memory.begin(self.memory)
        self.accesses.clear()
        return await bridge(lambda: self.twin.open_folder(Path("../build")))()

    async def infer(self, image=0):
        """What ``systolith_infer`` returns, and whether the output's bytes and reals are golden's."""
        await self.bench.memory.begin(self.memory)
        self.bench.events.begin()
        self.accesses.clear()
        reals = np.zeros(self.reals[:1].shape, np.float32)
        golden = np.load("outputs.npy")[image]
        output = self.cache[self.output : self.output + golden.size]
        output[:] = 0xA5
        self.result = await bridge(lambda: self.twin.infer([self.images[image : image + 1]], [reals]))()
        equal = bool((output == golden).all())
        assert (reals == self.reals[image]).all() == equal
        return self.result, equal

    async def reset(self):
        return await bridge(self.twin.reset)()

    @property
    def said(self):
        return self.twin.explained(self.result)

    @property
    def written(self):
        return [access for access in self.accesses if len(access) == 2]


async def reset(dut):
    for value in (1, 0):
        dut.rst.value = value
        await ClockCycles(dut.clk, 4)


async def attached(dut, library="host.so"):
    bench = await attach(dut, replace(Job.load(Path()), base=BASE))
    dut.origin.value = ORIGIN
    await reset(dut)
    return Host(bench, library)


async def hosted(dut):
    host = await attached(dut)
    assert await host.open() == 0
    assert host.accesses[:3] == [("ID",), ("FINGERPRINT",), ("CONTROL", 4)]
    assert host.written == [("CONTROL", 4)]
    return host


def failed(cause):
    return 4 | cause.value << 8


def errors(dut, kind, response):
    """The memory answers every ``kind`` ("read" or "write") with ``response``."""
    getattr(dut, f"{kind}_error").value = response
    getattr(dut, f"{kind}_error_first").value = 0
    getattr(dut, f"{kind}_error_last").value = 2**32 - 1


async def quiet(host):
    """Nothing is left of the run: STATUS is 0, and no rule of AXI was broken."""
    bench = host.bench
    assert await bench.registers.read(bench.offset("STATUS")) == 0
    assert int(bench.dut.violation.value) == 0


@cocotb.test()
async def two_images_are_exact(dut):
    host = await hosted(dut)
    program = host.bench.job.program_address
    for image in (0, 1, 0):
        assert await host.infer(image) == (0, True)
        assert host.written == [
            ("BASE", OFFSET),
            ("BASE_HIGH", ORIGIN >> 32),
            ("LIMIT", host.cache.size),
            ("PROGRAM", program),
            ("WATCHDOG", WATCHDOG),
            ("INTERRUPT_ENABLE", 0),
            ("CONTROL", 1),
            ("CONTROL", 2),
        ]
        assert host.twin.state.cycles == await host.bench.registers.read(host.bench.offset("CYCLES"))
        await quiet(host)


@cocotb.test()
@cocotb.parametrize(kind=["read", "write"])
async def an_error_is_returned_and_cleared_and_the_next_run_is_exact(dut, kind):
    host = await hosted(dut)
    errors(dut, kind, SLVERR)
    assert (await host.infer())[0] == failed(Cause.READ if kind == "read" else Cause.WRITE)
    assert host.written[-1] == ("CONTROL", 4)
    await quiet(host)
    errors(dut, kind, OKAY)
    assert await host.infer(1) == (0, True)
    await quiet(host)


@cocotb.test()
async def a_program_for_another_accelerator_is_an_error(dut):
    host = await hosted(dut)
    begin = host.program
    assert begin[0] == Operation.BEGIN
    kept = begin[:64].copy()
    begin[1] ^= 1  # the fingerprint's first byte
    assert await host.infer() == (failed(Cause.CHECK), False)
    assert host.said.startswith(f"the run failed: {CAUSES[Cause.CHECK.value]}; ")
    await quiet(host)
    begin[:64] = np.frombuffer(sealed(begin[:64].tobytes()), np.uint8)
    assert await host.infer() == (failed(Cause.FINGERPRINT), False)
    await quiet(host)
    begin[:64] = kept
    assert await host.infer() == (0, True)


@cocotb.test()
@cocotb.parametrize(other=[("other_fingerprint.so", OTHER_BUILD), ("other_identity.so", NO_ACCELERATOR)])
async def another_accelerator_is_left_alone(dut, other):
    library, result = other
    host = await attached(dut, library)
    assert await host.open() == result
    assert host.written == []
    await quiet(host)


@cocotb.test()
async def a_run_in_which_nothing_moves_is_ended_and_who_waits_is_named(dut):
    """Its array waits for weights that no instruction asks for; the next run needs no reset."""
    host = await hosted(dut)
    program = host.program
    kept = program.copy()
    weights = next(at for at in range(0, len(program), 64) if program[at] == Operation.WEIGHTS)
    program[weights : weights + 64] = program[weights + 64 : weights + 128]  # the SETUP behind it, once more
    program[:] = np.frombuffer(sealed(program.tobytes()), np.uint8)
    assert await host.infer() == (failed(Cause.WATCHDOG), False)
    assert host.written[-1] == ("CONTROL", 4)
    waiting = host.said.split("; ", 1)[1].split(", ")
    assert waiting == [text for _, text in STALLS if text in waiting]
    assert {"array waits for weights", "vector unit waits for complete sums"} <= {*waiting}
    assert "array waits for a free half of the accumulators" not in waiting
    await quiet(host)
    program[:] = kept
    assert await host.infer() == (0, True)
    assert host.twin.state.waits == 0


@cocotb.test()
async def memory_that_does_not_answer_is_given_up_and_a_reset_waits_for_it(dut):
    host = await hosted(dut)
    dut.latency.value = 20_000
    assert await host.infer() == (TIMEOUT, False)
    stuck = "; memory does not answer its last accesses, so only a reset of the whole board helps"
    assert host.said.startswith(f"the accelerator has not ended after {POLLS} looks at STATUS; ")
    assert host.said.endswith(stuck)
    assert host.written[-2:] == [("CONTROL", 1), ("CONTROL", 4)]
    assert await host.bench.registers.read(host.bench.offset("STATUS")) & 1
    assert await host.reset() == STILL_BUSY
    dut.latency.value = host.bench.job.memory_latency
    await ClockCycles(dut.clk, 20_000)
    assert await host.reset() == 0
    await quiet(host)
    assert await host.infer() == (0, True)


@cocotb.test()
async def a_run_can_be_ended_by_a_reset(dut):
    host = await hosted(dut)
    await host.bench.memory.begin(host.memory)
    await host.bench.start()
    assert await host.reset() == 0
    await quiet(host)
    assert await host.infer(1) == (0, True)


@cocotb.test()
async def whoever_opens_ends_the_run_before(dut):
    host = await hosted(dut)
    await host.bench.memory.begin(host.memory)
    await host.bench.start()
    assert await host.open() == 0
    assert await host.infer(1) == (0, True)
    await quiet(host)
