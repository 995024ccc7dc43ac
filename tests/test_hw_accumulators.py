"""Accumulators against sums in a list: both halves, the skew of the columns, the shortest time between writes."""

import random

import pytest

from systolith.hw.engine.accumulators import Accumulators
from systolith.hw.isa.parameters import Parameters

from .hw_streams import plain, run


def accumulators(p):
    return Accumulators(columns=p.columns, depth=p.accumulator_depth, sum_bits=p.sum_bits)


def fill(rng, half, depth, count, density):
    """Control of ``count`` cycles; an address comes again after HAZARD cycles at the earliest, and often just then."""
    recent, started, controls = [], set(), []
    for _ in range(count):
        choices = [a for a in range(min(depth, 5)) if a not in recent[-(Accumulators.HAZARD - 1) :]]
        address = rng.choice(choices)
        valid = rng.random() < density
        recent.append(address if valid else None)
        first = address not in started or rng.random() < 0.1
        if valid:
            started.add(address)
        controls.append({"valid": valid, "first": first, "half": half, "address": address})
    return controls, started


@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("columns", [1, 4])
def test_sums_add_up_while_the_other_half_drains(columns, density):
    p = Parameters(rows=2, columns=columns, accumulator_kib=1, sum_bits=20)
    component, rng = accumulators(p), random.Random(columns)
    limit = 1 << (p.sum_bits - 1)
    halves = [{}, {}]
    settle = columns - 1 + Accumulators.SETTLE
    checked = 0

    async def bench(ctx):
        nonlocal checked
        asked = [None] * Accumulators.DRAIN_LATENCY  # what the addresses before are to give, from the half of then
        for phase in range(6):
            half = phase % 2
            controls, started = fill(rng, half, p.accumulator_depth, 40, density)
            sums = {}  # values by (cycle, column)
            readable = sorted(halves[1 - half])
            for cycle in range(len(controls) + settle):
                idle = {"valid": 0, "first": 1, "half": half, "address": 0}
                control = controls[cycle] if cycle < len(controls) else idle
                if control["valid"]:
                    held = halves[half].setdefault(control["address"], [0] * columns)
                    for c in range(columns):
                        base = 0 if control["first"] else held[c]
                        value = rng.choice([-limit, limit - 1, rng.randrange(-limit, limit)])
                        value = min(max(value, -limit - base), limit - 1 - base)  # the total fits
                        value = min(max(value, -limit), limit - 1)
                        held[c] = base + value
                        sums[cycle + Accumulators.LEAD + c, c] = value
                ctx.set(component.control, control)
                ctx.set(component.sums, [sums.get((cycle, c), rng.randrange(-limit, limit)) for c in range(columns)])
                address = rng.choice(readable) if readable else 0
                ctx.set(component.drain_half, 1 - half)
                ctx.set(component.drain_address, address)
                _, _, drained = await ctx.tick().sample(component.drained)
                wanted = asked.pop(0)
                if wanted is not None:
                    assert plain(drained) == wanted, (phase, cycle)
                    checked += 1
                asked.append([*halves[1 - half][address]] if readable else None)
            assert set(halves[half]) >= started

    run(component, bench)
    assert checked > 150


def test_a_sum_is_readable_when_it_has_settled_and_not_before():
    p = Parameters(rows=2, columns=3, accumulator_kib=1)
    component, seen = accumulators(p), {}

    async def bench(ctx):
        ctx.set(component.drain_half, 0)
        ctx.set(component.drain_address, 7)
        for cycle in range(12):
            ctx.set(component.control, {"valid": cycle == 0, "first": 1, "half": 0, "address": 7})
            ctx.set(component.sums, [9 if cycle == Accumulators.LEAD + c else 5 for c in range(3)])
            _, _, drained = await ctx.tick().sample(component.drained)
            for c, value in enumerate(plain(drained)):
                if value == 9:
                    seen.setdefault(c, cycle)

    run(component, bench)
    assert seen == {c: c + Accumulators.SETTLE + Accumulators.DRAIN_LATENCY for c in range(3)}
