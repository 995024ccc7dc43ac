"""cocotb tests of ``systolith_run``: compiled C, whose register accesses reach the simulated accelerator."""

import ctypes
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

REGISTERS = 0x4000_0000
"""Where the C program believes the registers to be."""
ORIGIN = 0x5A_0000_0000
"""Where the memory model begins on the bus."""
OFFSET = 0x3000
BASE = ORIGIN + OFFSET
"""Where the accelerator's memory begins."""
OTHER_BUILD, TIMEOUT = 0xFFFF_FFFF, 0xFFFF_FFFE
OKAY, SLVERR = 0, 2
READ = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p)
WRITE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32)


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


class Host:
    """``host.c`` as a library beside the job, DRAM that it and the accelerator share, and its register accesses."""

    def __init__(self, bench, library="host.so"):
        self.bench = bench
        self.accesses = []
        self.memory = np.random.default_rng(3).integers(0, 256, OFFSET + bench.job.memory.size, np.uint8)
        self.output = np.zeros(np.load("outputs.npy").shape[1], np.uint8)
        names = {offset: name for name, offset in bench.job.registers.items()}
        read, write = resume(bench.registers.read), resume(bench.registers.write)

        def read_register(address):
            self.accesses.append((names[address - REGISTERS],))
            return read(address - REGISTERS)

        def write_register(address, value):
            self.accesses.append((names[address - REGISTERS], value))
            write(address - REGISTERS, value)

        self.callbacks = READ(read_register), WRITE(write_register)  # C keeps no reference
        self.library = ctypes.CDLL(str(Path(library).absolute()))
        self.library.attach(*self.callbacks)
        self.library.infer.argtypes = [ctypes.c_void_p, ctypes.c_uint64, *[ctypes.c_void_p] * 3]
        self.library.infer.restype = self.library.reset.restype = ctypes.c_uint32
        self.library.cause.restype = ctypes.c_char_p
        self.images, self.reals = np.load("images.npy"), np.load("reals.npy")
        constants, program = (np.fromfile(f"../build/{name}.bin", np.uint8) for name in ("memory", "program"))
        self.library.load(pointer(self.memory[OFFSET:]), pointer(constants), pointer(program))

    async def infer(self, image=0):
        """What ``systolith_run`` returns, and whether the output's bytes are golden's."""
        await self.bench.memory.begin(self.memory)
        self.bench.events.begin()
        self.accesses.clear()
        self.output[:] = 0xA5
        maps = pointer(self.images[image]), pointer(self.output)
        result = await self.call("infer", BASE, pointer(self.memory[OFFSET:]), *maps)
        return result, (self.output == np.load("outputs.npy")[image]).all()

    async def call(self, name, *arguments):
        """A function of host.c with the registers."""
        return await bridge(lambda: getattr(self.library, name)(ctypes.c_void_p(REGISTERS), *arguments))()

    async def waiting(self):
        """Names of what units wait for."""
        names = (ctypes.c_char_p * len(STALLS))()
        count = await self.call("waiting", names)
        return [name.decode() for name in names[:count]]

    @property
    def written(self):
        return [access for access in self.accesses if len(access) == 2]


async def reset(dut):
    for value in (1, 0):
        dut.rst.value = value
        await ClockCycles(dut.clk, 4)


async def hosted(dut, library="host.so"):
    bench = await attach(dut, replace(Job.load(Path()), base=BASE))
    dut.origin.value = ORIGIN
    await reset(dut)
    return Host(bench, library)


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
        assert host.accesses[:3] == [("ID",), ("FINGERPRINT",), ("STATUS",)]
        assert host.written == [
            ("BASE", OFFSET),
            ("BASE_HIGH", ORIGIN >> 32),
            ("LIMIT", -(-host.bench.job.memory.size // 4096) * 4096),
            ("PROGRAM", program),
            ("WATCHDOG", 300),
            ("CONTROL", 1),
            ("CONTROL", 2),
        ]
        await quiet(host)
        found = np.zeros(host.reals.shape[1], np.float32)
        host.library.reals(pointer(host.output), pointer(found))
        np.testing.assert_array_equal(found, host.reals[image])


@cocotb.test()
@cocotb.parametrize(kind=["read", "write"])
async def an_error_is_returned_and_cleared_and_the_next_run_is_exact(dut, kind):
    host = await hosted(dut)
    errors(dut, kind, SLVERR)
    assert (await host.infer())[0] == failed(Cause.READ if kind == "read" else Cause.WRITE)
    assert host.written[-1] == ("CONTROL", 2)
    await quiet(host)
    errors(dut, kind, OKAY)
    assert await host.infer(1) == (0, True)
    await quiet(host)


@cocotb.test()
async def a_program_for_another_accelerator_is_an_error(dut):
    host = await hosted(dut)
    begin = host.memory[OFFSET + host.bench.job.program_address :]
    assert begin[0] == Operation.BEGIN
    kept = begin[:64].copy()
    begin[1] ^= 1  # the fingerprint's first byte
    assert await host.infer() == (failed(Cause.CHECK), False)
    assert host.library.cause(failed(Cause.CHECK)).decode() == CAUSES[Cause.CHECK.value]
    await quiet(host)
    begin[:64] = np.frombuffer(sealed(begin[:64].tobytes()), np.uint8)
    assert await host.infer() == (failed(Cause.FINGERPRINT), False)
    await quiet(host)
    begin[:64] = kept
    assert await host.infer() == (0, True)


@cocotb.test()
@cocotb.parametrize(library=["other_fingerprint.so", "other_identity.so"])
async def another_accelerator_is_left_alone(dut, library):
    host = await hosted(dut, library)
    assert await host.infer() == (OTHER_BUILD, False)
    assert host.written == []
    await quiet(host)


@cocotb.test()
async def a_run_in_which_nothing_moves_is_ended_and_who_waits_is_named(dut):
    """Its array waits for weights that no instruction asks for; the next run needs no reset."""
    host = await hosted(dut)
    at = host.bench.job.program_address
    program = host.memory[OFFSET + at :]
    kept = program.copy()
    weights = next(at for at in range(0, len(program), 64) if program[at] == Operation.WEIGHTS)
    program[weights : weights + 64] = program[weights + 64 : weights + 128]  # the SETUP behind it, once more
    program[:] = np.frombuffer(sealed(program.tobytes()), np.uint8)
    assert await host.infer() == (failed(Cause.WATCHDOG), False)
    assert host.written[-1] == ("CONTROL", 2)
    waiting = await host.waiting()
    assert waiting == [text for _, text in STALLS if text in waiting]
    assert {"array waits for weights", "vector unit waits for complete sums"} <= {*waiting}
    assert "array waits for a free half of the accumulators" not in waiting
    await quiet(host)
    program[:] = kept
    assert await host.infer() == (0, True)
    assert await host.waiting() == []


@cocotb.test()
async def memory_that_does_not_answer_is_given_up_and_a_reset_waits_for_it(dut):
    host = await hosted(dut)
    dut.latency.value = 20_000
    assert await host.infer() == (TIMEOUT, False)
    assert host.library.cause(TIMEOUT) == b"the accelerator is still busy"
    assert host.written[-1] == ("CONTROL", 1)
    assert await host.bench.registers.read(host.bench.offset("STATUS")) == failed(Cause.WATCHDOG) | 1
    assert await host.infer() == (TIMEOUT, False)
    assert host.written == []
    assert await host.call("reset") == TIMEOUT
    dut.latency.value = host.bench.job.memory_latency
    await ClockCycles(dut.clk, 20_000)
    assert await host.call("reset") == 0
    await quiet(host)
    assert await host.infer() == (0, True)


@cocotb.test()
async def a_run_can_be_ended_by_a_reset(dut):
    host = await hosted(dut)
    await host.bench.memory.begin(host.memory)
    await host.bench.start()
    assert await host.call("reset") == 0
    await quiet(host)
    assert await host.infer(1) == (0, True)


@cocotb.test()
async def a_run_waits_until_the_one_before_has_ended(dut):
    host = await hosted(dut)
    await host.bench.memory.begin(host.memory)
    await host.bench.start()
    assert await host.infer(1) == (0, True)
    first = host.accesses.index(("BASE", OFFSET))
    assert host.accesses[2:first] == [("STATUS",)] * (first - 2)
    assert first > 4
    await quiet(host)
