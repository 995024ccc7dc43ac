"""The line buffer against a list."""

import random

import pytest

from systolith.hw.engine.line_buffer import LineBuffer

from .hw_streams import run


@pytest.mark.parametrize("taps", [3, 5])
@pytest.mark.parametrize("count", [1, 2])
def test_lines_show_what_entered_before(count, taps):
    """With delays that change: the old one counts as long as sums of the pass before go down, the new one from then."""
    rng = random.Random(count)
    component = LineBuffer(channels=3, activation_bits=5, count=count, depth=16, taps=taps)
    delays = [d for _ in range(30) for d in [rng.randint(1, 15)] * rng.randint(4 * taps, 50)]
    entered, compared = [], 0

    async def bench(ctx):
        nonlocal compared
        for cycle, delay in enumerate(delays):
            pixels = [rng.randint(-16, 15) for _ in range(3)]
            ctx.set(component.pixels, pixels)
            ctx.set(component.delay, delay)
            entered.append(pixels)
            lines = ctx.get(component.lines)
            for line in range(count):
                at = cycle
                for k in reversed(range(line + 1)):  # through one memory after the other
                    at -= delays[max(0, at - (k + 2) * taps + 2)] + component.LATENCY
                if cycle > 4 * taps and at >= 0:
                    assert [lines[line][c] for c in range(3)] == entered[at], (cycle, line)
                    compared += 1
            await ctx.tick()

    run(component, bench)
    assert compared > 100 * count
