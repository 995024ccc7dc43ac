"""Counts of events beside a dictionary: read while they change, behind a run, over the end of a word."""

import random

import pytest
from amaranth import ResetInserter, Signal

from systolith.hw.engine import counters
from systolith.hw.engine.counters import Counters

from .hw_streams import run

WORDS = 11


class Model:
    """What each word counts, after every cycle."""

    def __init__(self):
        self.now = [0] * WORDS
        self.history = [tuple(self.now)] * 2

    def cycle(self, busy, clear, events):
        if clear:
            self.now = [0] * WORDS
        elif busy:
            ones = [1, 0, *(events >> n & 1 for n in range(2, WORDS))]
            end = 1 << counters.WORD_BITS
            ones[1] = self.now[0] == end - 1
            self.now = [(count + one) % end for count, one in zip(self.now, ones, strict=True)]
        self.history.append(tuple(self.now))


async def step(ctx, dut, model, rng, *, busy, clear=0):
    """A cycle with random events; (found, value) in it."""
    events = rng.getrandbits(WORDS)
    for signal, value in ((dut.busy, busy), (dut.clear, clear), (dut.events, events)):
        ctx.set(signal, value)
    _, _, found, value = await ctx.tick().sample(dut.found, dut.value)
    model.cycle(busy, clear, events)
    return found, value


async def read(ctx, dut, model, rng, word, *, busy):
    """(value, what it may be): the counts before the cycle before it was asked for, up to those before it came."""
    ctx.set(dut.wanted, word)
    ctx.set(dut.reading, 1)
    first = len(model.history) - 2
    for _ in range(WORDS + Counters.LATENCY):
        found, value = await step(ctx, dut, model, rng, busy=busy)
        if found:
            break
    assert found, "no turn comes"
    ctx.set(dut.reading, 0)
    possible = {counts[word] for counts in model.history[first:-1]}
    for _ in range(rng.randrange(3, 30)):
        await step(ctx, dut, model, rng, busy=busy)
    return value, possible


@pytest.mark.parametrize("bits", [5, 32])
def test_what_is_read_while_it_changes_is_no_older_than_the_request(monkeypatch, bits):
    """Words of five bits wrap in three rounds, and carry the cycles into their high half."""
    monkeypatch.setattr(counters, "WORD_BITS", bits)
    dut, model, rng = Counters(words=WORDS), Model(), random.Random(11)
    highs = set()

    async def bench(ctx):
        await step(ctx, dut, model, rng, busy=0, clear=1)
        for number in range(150):
            word = number % WORDS
            value, possible = await read(ctx, dut, model, rng, word, busy=1)
            assert value in possible, (number, word)
            highs.add(model.now[1])

    run(dut, bench)
    assert len(highs) == (32 if bits == 5 else 1)


@pytest.mark.parametrize("bits", [5, 32])
def test_each_run_counts_from_0_to_its_last_cycle(monkeypatch, bits):
    """Runs of any length, the next one right behind the last or later; what happens between them does not count."""
    monkeypatch.setattr(counters, "WORD_BITS", bits)
    dut, model, rng = Counters(words=WORDS), Model(), random.Random(12)

    async def bench(ctx):
        for number in range(40):
            await step(ctx, dut, model, rng, busy=0, clear=1)
            for _ in range(rng.randrange(1, 60)):
                await step(ctx, dut, model, rng, busy=1)
            if number % 2:
                for _ in range(rng.randrange(1, 20)):
                    await step(ctx, dut, model, rng, busy=0)
                for word in range(WORDS):
                    await step(ctx, dut, model, rng, busy=0)
                    value, _ = await read(ctx, dut, model, rng, word, busy=0)
                    assert value == model.now[word], (number, word)

    run(dut, bench)


def test_counts_are_0_before_the_first_run_and_after_a_reset():
    dut, model, rng, reset = Counters(words=WORDS), Model(), random.Random(13), Signal()

    async def bench(ctx):
        for _ in range(2):
            for word in range(WORDS):
                assert await read(ctx, dut, model, rng, word, busy=0) == (0, {0})
            await step(ctx, dut, model, rng, busy=0, clear=1)
            for _ in range(50):
                await step(ctx, dut, model, rng, busy=1)
            ctx.set(reset, 1)
            await step(ctx, dut, model, rng, busy=0, clear=0)
            ctx.set(reset, 0)
            model.__init__()

    run(ResetInserter(reset)(dut), bench)
