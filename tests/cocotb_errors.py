"""cocotb tests of an emitted accelerator that memory, program or host treat badly, and of the run behind it.

Run in the folder of a job that has just passed; the next run must do so too, without a reset in between.
"""

from dataclasses import replace
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from systolith.hw.isa.check import sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import UNITS, Operation, decode, encode
from systolith.hw.isa.register_map import Cause
from systolith.sim.benches.bulk import attach
from systolith.sim.comparison.job import Job

BUSY, DONE, ERROR = 1, 2, 4
OKAY, EXOKAY, SLVERR, DECERR = range(4)
UNKNOWN = 0x63
PATIENCE = 100  # looks at STATUS, each with the cycles of a look and of a nap
NAP = 50


def failed(cause):
    """STATUS of a run that has ended with ``cause``."""
    return ERROR | cause.value << 8


async def fresh(dut):
    """The bench of the folder's job, after reset, with a memory that makes no errors."""
    job = Job.load(Path())
    bench = await attach(dut, job)
    await reset(bench)
    return bench


async def reset(bench):
    for value in (1, 0):
        bench.dut.rst.value = value
        await ClockCycles(bench.dut.clk, 4)


def errors(bench, kind, response, first=0, last=2**32 - 1):
    """The memory answers a ``kind`` ("read" or "write") of these byte addresses with ``response``."""
    getattr(bench.dut, f"{kind}_error").value = response
    getattr(bench.dut, f"{kind}_error_first").value = first
    getattr(bench.dut, f"{kind}_error_last").value = last


async def read(bench, name):
    return await bench.registers.read(bench.offset(name))


async def control(bench, value):
    await bench.registers.write(bench.offset("CONTROL"), value)


async def ended(bench):
    """STATUS when busy has fallen, or after a while."""
    for _ in range(PATIENCE):
        if not (status := await read(bench, "STATUS")) & BUSY:
            break
        await ClockCycles(bench.dut.clk, NAP)
    return status


async def run(bench, program=None, interrupt=1):
    """STATUS and the interrupt at the end of a run of ``program``, the job's if None; no rule of AXI was broken."""
    memory = bench.job.memory.copy()
    if program is not None:
        at = bench.job.program_address
        memory[at : at + len(program)] = np.frombuffer(program, np.uint8)
    await bench.begin(0, memory)
    await bench.start(interrupt)
    status = await ended(bench)
    assert int(bench.dut.violation.value) == 0
    return status, int(bench.dut.interrupt.value)


async def nothing_has_run(bench):
    """No byte was written, no vector either."""
    assert not (await bench.memory.finish()).written.any()
    assert bench.events.finish()[1] == 0


async def exact(bench):
    """The next runs are as if nothing had happened: done, every byte equal, the interrupt gone."""
    for kind in ("read", "write"):
        errors(bench, kind, OKAY)
    for image in range(len(bench.job.inputs)):
        outcome = await bench.image(image)
        assert (outcome.mismatches, outcome.differences) == (0, [])
    assert await read(bench, "STATUS") == 0


def instructions(bench):
    """(operation, fields) of the job's program, with END and what is read behind it."""
    program = bench.job.memory[bench.job.program_address :].tobytes()
    return [decode(program[at : at + INSTRUCTION_BYTES]) for at in range(0, len(program), INSTRUCTION_BYTES)]


def assembled(listing):
    return sealed(b"".join(encode(operation, **fields) for operation, fields in listing))


def transfers(bench):
    """A LOAD of the input's first bytes and a STORE over the output's, and where: byte addresses."""
    output = bench.job.expectation.start + int(np.argmax(bench.job.expectation.memory >= 0))
    span = {"rows": 0, "bytes": 3, "chip": 0}
    source = bench.job.input_address
    return (Operation.LOAD, {**span, "dram": source}), (Operation.STORE, {**span, "dram": output}), source, output


def given(instruction, *, post=(), wait=()):
    """An instruction with tokens for and from these units."""
    operation, fields = instruction
    masks = {"post": post, "wait": wait}
    return operation, {**fields, **{name: sum(1 << UNITS.index(unit) for unit in masks[name]) for name in masks}}


def program_of(bench, *listing):
    """A program of these instructions, between BEGIN and ENDs."""
    begin = instructions(bench)[0]
    return assembled([begin, *listing, *[(Operation.END, {})] * 5])


@cocotb.test()
@cocotb.parametrize(response=[SLVERR, DECERR], place=["image", "program", "inside the program", "input", "weights"])
async def a_read_error(dut, response, place):
    """One beat of a burst: the first, one in its middle, the last.  No instruction that came with it is executed."""
    bench = await fresh(dut)
    job, bus = bench.job, bench.job.bus_bytes
    address = {
        "image": 0,
        "program": job.program_address,
        "inside the program": job.program_address + 2 * INSTRUCTION_BYTES + 5 * bus,
        "input": job.input_address + 3 * bus,
        "weights": INSTRUCTION_BYTES + 15 * bus,
    }[place]
    errors(bench, "read", response, address, address)
    assert await run(bench) == (failed(Cause.READ), 1)
    await nothing_has_run(bench)
    await control(bench, 2)
    assert await read(bench, "STATUS") == 0
    assert int(dut.interrupt.value) == 0
    await exact(bench)


@cocotb.test()
@cocotb.parametrize(response=[SLVERR, DECERR], beat=[0, 4])
async def a_write_error(dut, response, beat):
    """The answer to a burst that writes a beat where writes fail: its first or its last."""
    bench = await fresh(dut)
    *_, output = transfers(bench)
    address = output + beat * bench.job.bus_bytes
    errors(bench, "write", response, address, address)
    assert await run(bench) == (failed(Cause.WRITE), 1)
    await control(bench, 2)
    assert await read(bench, "STATUS") == 0
    assert int(dut.interrupt.value) == 0
    await exact(bench)


@cocotb.test()
async def an_exclusive_okay_is_no_error(dut):
    bench = await fresh(dut)
    errors(bench, "read", EXOKAY)
    errors(bench, "write", EXOKAY)
    assert await run(bench) == (DONE, 1)
    await exact(bench)


@cocotb.test()
async def the_first_cause_of_two_is_kept(dut):
    """Each order of two causes; and each alone, so that both are known to have happened."""
    bench = await fresh(dut)
    load, store, source, output = transfers(bench)
    (_, fields), *_ = instructions(bench)
    foreign = Operation.BEGIN, {**fields, "fingerprint": fields["fingerprint"] ^ 1}
    unpaired = Operation.BEGIN, {**fields, "image": fields["image"] ^ 1}
    ends = [(Operation.END, {})] * 5
    first = bench.job.program_address
    load_then_store = program_of(bench, given(load, post=["storer"]), given(store, wait=["loader"]))
    store_then_load = program_of(bench, given(store, post=["loader"]), given(load, wait=["storer"]))
    store_then_unknown = bytearray(program_of(bench, store, load))
    store_then_unknown[2 * INSTRUCTION_BYTES] = UNKNOWN
    store_then_unknown, damaged = sealed(store_then_unknown), store_then_unknown
    store_then_token = program_of(bench, given(store, post=["array"]))
    load_then_token = program_of(bench, given(load, post=["array"]))
    reads, writes = ("read", source, source), ("write", output, output)
    third = ("read", first + 2 * INSTRUCTION_BYTES, first + 2 * INSTRUCTION_BYTES)
    for program, faults, cause in (
        (load_then_store, [reads], Cause.READ),
        (load_then_store, [writes], Cause.WRITE),
        (load_then_store, [reads, writes], Cause.READ),
        (store_then_load, [reads], Cause.READ),
        (store_then_load, [writes], Cause.WRITE),
        (store_then_load, [reads, writes], Cause.WRITE),
        (store_then_unknown, [], Cause.OPERATION),
        (store_then_unknown, [writes], Cause.OPERATION),
        (store_then_unknown, [third], Cause.READ),
        (damaged, [], Cause.CHECK),
        (damaged, [writes], Cause.CHECK),
        (damaged, [third], Cause.READ),
        (assembled([foreign, *ends]), [], Cause.FINGERPRINT),
        (assembled([foreign, *ends]), [("read", first, first)], Cause.READ),
        (assembled([unpaired, *ends]), [], Cause.IMAGE),
        (assembled([unpaired, *ends]), [("read", 0, 0)], Cause.READ),
        (store_then_token, [], Cause.TOKEN),
        (store_then_token, [writes], Cause.WRITE),
        (load_then_token, [reads], Cause.READ),
    ):
        for kind in ("read", "write"):
            errors(bench, kind, OKAY)
        for kind, start, stop_at in faults:
            errors(bench, kind, SLVERR, start, stop_at)
        assert await run(bench, program) == (failed(cause), 1), (faults, cause)
    await control(bench, 2)
    await exact(bench)


@cocotb.test()
async def while_busy_neither_clear_nor_start_is_heard_and_there_is_no_interrupt(dut):
    """A memory that becomes slow at some moment: at some of these, bursts are in flight when the error comes."""
    bench = await fresh(dut)
    fifth = bench.job.program_address + 5 * INSTRUCTION_BYTES
    slow = 0
    for moment in range(60, 120, 4):
        errors(bench, "read", SLVERR, fifth, fifth)
        await bench.begin(0)
        await bench.start()
        await ClockCycles(dut.clk, moment)
        dut.latency.value = 4000
        while not (status := await read(bench, "STATUS")) & ERROR:
            assert status == BUSY
        dut.latency.value = bench.job.memory_latency
        await ClockCycles(dut.clk, 4 * bench.job.memory_latency)  # bursts from before the moment end
        if await read(bench, "STATUS") & BUSY:
            slow += 1
            for value in (2, 1, 3):
                before = await read(bench, "CYCLES")
                await control(bench, value)
                assert await read(bench, "STATUS") == failed(Cause.READ) | BUSY
                assert int(dut.interrupt.value) == 0
                assert await read(bench, "CYCLES") > before
        assert await ended(bench) == failed(Cause.READ)
        assert int(dut.interrupt.value) == 1
        await control(bench, 2)
        assert await read(bench, "STATUS") == 0
        await exact(bench)
    assert slow


@cocotb.test()
@cocotb.parametrize(response=[OKAY, SLVERR])
async def the_interrupt_follows_its_enable_and_the_end_of_the_run(dut, response):
    bench = await fresh(dut)
    wanted = failed(Cause.READ) if response else DONE
    errors(bench, "read", response, bench.job.input_address, bench.job.input_address)
    assert await run(bench, interrupt=0) == (wanted, 0)
    for enable in (1, 0, 1):
        await bench.registers.write(bench.offset("INTERRUPT_ENABLE"), enable)
        assert int(dut.interrupt.value) == enable
    await control(bench, 2)
    assert (await read(bench, "STATUS"), int(dut.interrupt.value)) == (0, 0)
    await exact(bench)


@cocotb.test()
@cocotb.parametrize(response=[OKAY, SLVERR])
async def a_start_needs_no_clear(dut, response):
    """It forgets how the last run ended."""
    bench = await fresh(dut)
    errors(bench, "write", response)
    assert await run(bench) == (failed(Cause.WRITE) if response else DONE, 1)
    errors(bench, "write", OKAY)
    await bench.begin(0)
    await bench.start()
    assert (await read(bench, "STATUS"), int(dut.interrupt.value)) == (BUSY, 0)
    assert await ended(bench) == DONE
    assert (await bench.judge(0))[0].mismatches == 0
    await exact(bench)


@cocotb.test()
async def a_token_that_nobody_takes(dut):
    """From each unit to each other, whatever the network's own run then waits for."""
    bench = await fresh(dut)
    listing = instructions(bench)
    waits = [(n, bit) for n, (_, fields) in enumerate(listing) for bit in range(4) if fields.get("wait", 0) >> bit & 1]
    assert len(waits) > 2
    for number, bit in waits:
        operation, fields = listing[number]
        less = operation, {**fields, "wait": fields["wait"] & ~(1 << bit)}
        assert await run(bench, assembled([*listing[:number], less, *listing[number + 1 :]])) == (
            failed(Cause.TOKEN),
            1,
        )
        await exact(bench)
    load, store, *_ = transfers(bench)
    many = [given(load, post=["array", "vector", "storer"]), given(store, post=["loader", "array", "vector"])]
    assert await run(bench, program_of(bench, *many * 3)) == (failed(Cause.TOKEN), 1)
    await exact(bench)


@cocotb.test()
@cocotb.parametrize(name=["fingerprint", "image"])
async def another_accelerators_program_or_another_image(dut, name):
    """Nothing has run."""
    bench = await fresh(dut)
    (_, fields), *rest = instructions(bench)
    cause = Cause.FINGERPRINT if name == "fingerprint" else Cause.IMAGE
    for bit in (0, 13, 31):
        other = Operation.BEGIN, {**fields, name: fields[name] ^ 1 << bit}
        assert await run(bench, assembled([other, *rest])) == (failed(cause), 1)
        await nothing_has_run(bench)
        await control(bench, 2)
        await exact(bench)


@cocotb.test()
async def an_unknown_operation(dut):
    """In place of each instruction, its check right, so that whatever came before it is at work."""
    bench = await fresh(dut)
    program = bench.job.memory[bench.job.program_address :].tobytes()
    operations = [operation for operation, _ in instructions(bench)]
    for number in range(operations.index(Operation.END) + 1):
        broken = bytearray(program)
        broken[number * INSTRUCTION_BYTES] = UNKNOWN
        assert await run(bench, sealed(broken)) == (failed(Cause.OPERATION), 1)
        await exact(bench)


@cocotb.test()
async def a_wrong_program_address(dut):
    """The image, and what is no instruction."""
    bench = await fresh(dut)
    right = bench.job
    *_, output = transfers(bench)
    for address, cause in ((0, Cause.OPERATION), (-(-output // 64) * 64, Cause.CHECK)):
        bench.job = replace(right, program_address=address)
        await bench.begin(0, right.memory)
        await bench.start()
        assert await ended(bench) == failed(cause)
        await nothing_has_run(bench)
        bench.job = right
        await exact(bench)
