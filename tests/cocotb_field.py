"""cocotb tests of what happens in the field: damaged programs, foreign images, memory that ends, a host that resets.

Run in the folder of a job that has just passed, beside foreign.npz (another network's program and memory image for the
same accelerator) and campaign.json (how many of each).  What was found is counted in found.json.
"""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from systolith.hw.isa.check import sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import LAYOUTS, Operation
from systolith.hw.isa.register_map import Cause
from systolith.sim.comparison.job import Job

from . import npz
from .cocotb_errors import (
    BUSY,
    DONE,
    ERROR,
    assembled,
    control,
    ended,
    exact,
    failed,
    fresh,
    instructions,
    nothing_has_run,
    read,
    transfers,
)

WATCHDOG = 2000
PAGE = 4096
COUNTS = json.loads(Path("campaign.json").read_text())
FLIPS = (1, 2, 4, 16)


async def watched(dut):
    """A bench with a watchdog that is quicker than ``ended``'s patience."""
    bench = await fresh(dut)
    await bench.registers.write(bench.offset("WATCHDOG"), WATCHDOG)
    return bench


def program_of(bench):
    """The job's program up to END, which it does not matter what lies behind."""
    listing = instructions(bench)
    end = [operation for operation, _ in listing].index(Operation.END)
    return bench.job.memory[bench.job.program_address :][: (end + 1) * INSTRUCTION_BYTES].copy()


async def survived(bench, memory, limit=None):
    """How a run with ``memory`` ended: a Cause, NONE for done.

    Done means every byte is right; otherwise nothing was written that a right run does not write.  No access has left
    the memory, and no rule of AXI was broken.
    """
    await bench.begin(0, memory)
    await bench.start(limit=limit)
    status = await ended(bench)
    assert not status & BUSY, "a hang without a cause"
    assert int(bench.dut.violation.value) == 0
    if status == DONE:
        verdict, _ = await bench.judge(0)
        assert (verdict.mismatches, verdict.differences) == (0, []), "wrong bytes are reported as done"
    else:
        assert status & ERROR
        written = (await bench.memory.finish()).written
        may = np.zeros(written.size, bool)
        expected = bench.job.expectation
        may[expected.start : expected.start + len(expected.memory)] = expected.memory >= 0
        assert not written[~may[: written.size]].any()
    return Cause(status >> 8)


def count(name, causes):
    """Add what was found to found.json."""
    file = Path("found.json")
    found = json.loads(file.read_text()) if file.exists() else {}
    found[name] = {cause.name: number for cause, number in Counter(causes).items()}
    file.write_text(json.dumps(found))


async def campaign(bench, name, changed):
    """Run each of the programs ``changed``, (address, bytes) over the job's memory; after some, a right one."""
    causes = []
    for number, (address, content) in enumerate(changed):
        memory = bench.job.memory.copy()
        memory[address : address + len(content)] = content
        causes.append(await survived(bench, memory))
        if number % 25 == 24:
            await exact(bench)
    await exact(bench)
    count(name, causes)
    return Counter(causes)


@cocotb.test()
@cocotb.parametrize(flips=FLIPS)
async def flipped_bits_of_the_program(dut, flips):
    bench, rng = await watched(dut), random.Random(flips)
    right = program_of(bench)

    def damaged():
        for _ in range(COUNTS["flips"]):
            program = right.copy()
            for bit in rng.sample(range(8 * len(program)), flips):
                program[bit // 8] ^= 1 << bit % 8
            yield bench.job.program_address, program

    assert {*await campaign(bench, f"{flips} flipped bits", damaged())} == {Cause.CHECK}


@cocotb.test()
@cocotb.parametrize(value=[0x00, 0xFF])
async def a_region_of_the_program_is_erased(dut, value):
    bench, rng = await watched(dut), random.Random(value)
    right = program_of(bench)

    def damaged():
        while True:
            program = right.copy()
            first = rng.randrange(len(program))
            program[first : first + rng.choice([1, 4, 64, 128, len(program)])] = value
            if (program != right).any():
                yield bench.job.program_address, program

    erased = (change for change, _ in zip(damaged(), range(COUNTS["erased"]), strict=False))
    assert {*await campaign(bench, f"erased to {value}", erased)} == {Cause.CHECK}


@cocotb.test()
async def instructions_in_another_order(dut):
    """Two exchanged, one left out, one twice, each at random places."""
    bench, rng = await watched(dut), random.Random(5)
    right = program_of(bench).reshape(-1, INSTRUCTION_BYTES)

    def damaged():
        for number in range(COUNTS["order"]):
            order = [*range(len(right))]
            one, other = sorted(rng.sample(order, 2))
            if number % 3 == 0:
                order[one], order[other] = other, one
            elif number % 3 == 1:
                del order[one]
            else:
                order.insert(other, one)
            yield bench.job.program_address, right[order].reshape(-1)

    assert {*await campaign(bench, "another order", damaged())} == {Cause.CHECK}


@cocotb.test()
async def another_networks_program(dut):
    """Whole, and from a random place on: of an instruction, or inside one."""
    bench, rng = await watched(dut), random.Random(6)
    foreign, right = npz.read("foreign.npz")["program"], program_of(bench)
    at = bench.job.program_address
    foreign = foreign[: bench.job.memory.size - at]
    assert {*await campaign(bench, "another program", [(at, foreign)])} == {Cause.IMAGE}

    def damaged():
        for number in range(COUNTS["foreign"]):
            first = rng.randrange(INSTRUCTION_BYTES, len(right) - 1)
            first -= first % INSTRUCTION_BYTES if number % 2 else 0
            if (foreign[first : len(right)] != right[first : len(foreign)]).any():
                yield at + first, foreign[first:]

    assert {*await campaign(bench, "a part of another program", damaged())} == {Cause.CHECK}


@cocotb.test()
async def another_memory_image(dut):
    """Another network's, one of the same network with other weights, none, a damaged stamp."""
    bench, rng = await watched(dut), np.random.default_rng(7)
    images = npz.read("foreign.npz")
    end = bench.job.input_address

    def damaged():
        for name in ("image", "weights"):
            yield 0, images[name][:end]
        for value in (0x00, 0xFF):
            yield 0, np.full(end, value, np.uint8)
        for _ in range(COUNTS["images"]):
            yield 0, rng.integers(0, 256, end, np.uint8)
            stamp = bench.job.memory[:INSTRUCTION_BYTES].copy()
            bit = int(rng.integers(8 * INSTRUCTION_BYTES))
            stamp[bit // 8] ^= 1 << bit % 8
            yield 0, stamp

    assert {*await campaign(bench, "another image", damaged())} == {Cause.IMAGE}


@cocotb.test()
async def a_soft_reset_at_any_moment(dut):
    """Memory, which is not reset, goes on with what it was asked; then the next run is right."""
    bench, rng = await watched(dut), random.Random(8)
    slow = wrote = 0
    for _ in range(COUNTS["resets"]):
        dut.latency.value = latency = rng.choice([2, 30, 100, 300])
        await bench.begin(0)
        await bench.start()
        await ClockCycles(dut.clk, rng.randrange(1, 450 + 12 * latency))
        await control(bench, 4)
        slow += (status := await read(bench, "STATUS")) & BUSY
        if status & BUSY:
            status = await ended(bench)
        assert status == 0
        wrote += (await bench.memory.finish()).written.any()
        assert int(dut.violation.value) == 0
        outcome = await bench.image(0)
        assert (outcome.mismatches, outcome.differences) == (0, [])
        await bench.registers.write(bench.offset("WATCHDOG"), WATCHDOG)
    assert slow
    assert wrote
    Path("resets.json").write_text(json.dumps({"resets": COUNTS["resets"], "slow": slow, "wrote": int(wrote)}))


def nonsense(rng, bench):
    """A program whose checks are right and whose fields are not."""
    listing = instructions(bench)
    made = [listing[0]]
    for _ in range(rng.randrange(1, 12)):
        operation, fields = rng.choice(listing[1:]) if rng.random() < 0.6 else (rng.choice([*LAYOUTS]), {})
        fields = dict(fields)
        for name, field in LAYOUTS.get(operation, ()):
            if name != "operation" and (name not in fields or rng.random() < 0.1):
                fields[name] = rng.getrandbits(rng.choice([field.width, min(field.width, 5)]))
        made.append((operation, fields))
    return assembled([*made, *[(Operation.END, {})] * 5])


@cocotb.test()
async def programs_that_make_no_sense(dut):
    """Whatever they do, no access leaves the memory, a soft reset ends them, and the next run is right."""
    bench, rng = await watched(dut), random.Random(9)
    limit = -(-bench.job.memory.size // PAGE) * PAGE
    dut.bytes.value = limit
    causes = []
    for _ in range(COUNTS["nonsense"]):
        memory = bench.job.memory.copy()
        program = np.frombuffer(nonsense(rng, bench), np.uint8)[: memory.size - bench.job.program_address]
        memory[bench.job.program_address :][: len(program)] = program
        await bench.begin(0, memory)
        await bench.start()
        await ClockCycles(dut.clk, 3 * WATCHDOG)
        status = await read(bench, "STATUS")
        causes.append(Cause(status >> 8))
        await control(bench, 4)
        assert await ended(bench) == 0
        assert int(dut.violation.value) == 0
        await exact(bench)
    assert Cause.RANGE in causes
    count("no sense", causes)


@cocotb.test()
@cocotb.parametrize(kind=["fetch", "load", "weights", "store"])
async def an_access_behind_the_limit(dut, kind):
    """At the limit, one beat across it, far behind it; the checker knows no more than LIMIT."""
    bench = await watched(dut)
    load, *_ = transfers(bench)
    begin, beat = instructions(bench)[0], bench.job.bus_bytes
    limit = -(-bench.job.memory.size // PAGE) * PAGE
    dut.bytes.value = limit
    ends = [(Operation.END, {})] * 5
    for first in (limit, limit - beat, limit + (1 << 20), (1 << 32) - beat):
        memory = bench.job.memory.copy()
        at = bench.job.program_address
        if kind == "fetch":  # the listing is all LOADs, to the end of memory and beyond
            first = limit
            many = assembled([begin, *[(Operation.LOAD, {**load[1], "dram": bench.job.input_address})] * 200])
            memory[at:] = np.frombuffer(many, np.uint8)[: memory.size - at]
            bench.job = replace(bench.job, memory=memory)
            await bench.begin(0)
            await bench.start(limit=at // PAGE * PAGE)
            assert await ended(bench) == failed(Cause.RANGE)
            await nothing_has_run(bench)
            bench.job = Job.load(Path())
            await exact(bench)
            break
        far = {"dram": first, "dram_step": 0, "rows": 0, "bytes": 2 * beat - 1, "chip": 0, "chip_step": 0}
        operation = {
            "load": (Operation.LOAD, far),
            "weights": (Operation.WEIGHTS, {"dram": first, "beats": 1}),
            "store": (Operation.STORE, far),
        }[kind]
        program = np.frombuffer(assembled([begin, operation, *ends]), np.uint8)
        memory[at : at + len(program)] = program
        assert await survived(bench, memory) == Cause.RANGE
        assert not (await bench.memory.finish()).written.any()
        await exact(bench)


@cocotb.test()
async def the_memory_of_a_run_is_that_of_its_start(dut):
    """LIMIT 0, and memory that would end behind the last address, allow nothing; later changes do not count."""
    bench = await watched(dut)
    await bench.begin(0)
    await bench.start(limit=0)
    assert await ended(bench) == failed(Cause.RANGE)
    await nothing_has_run(bench)
    right = bench.job
    bench.job = replace(right, base=(1 << 40) - PAGE)
    await bench.memory.begin(right.memory)
    await bench.start()
    assert await ended(bench) == failed(Cause.RANGE)
    bench.job = right
    await bench.begin(0)
    await bench.start()
    for name in ("BASE", "BASE_HIGH", "LIMIT", "PROGRAM"):
        await bench.registers.write(bench.offset(name), 0x0001_1000)
    assert await ended(bench) == DONE
    assert (await bench.judge(0))[0].mismatches == 0
    await exact(bench)


@cocotb.test()
async def a_program_that_was_sealed_again_is_the_same(dut):
    """So what the tests above change is seen by the check alone."""
    bench = await watched(dut)
    memory, at = bench.job.memory.copy(), bench.job.program_address
    program = program_of(bench)
    memory[at : at + len(program)] = np.frombuffer(sealed(program.tobytes()), np.uint8)
    assert await survived(bench, memory) == Cause.NONE
