"""Tokens against a dictionary of counts."""

import random
from itertools import permutations

from systolith.hw.engine.tokens import Tokens
from systolith.hw.isa.program import UNITS

from .hw_streams import run


def test_tokens_count():
    component, rng = Tokens(), random.Random(4)
    counts = dict.fromkeys(permutations(range(len(UNITS)), 2), 0)
    seen = {"ready": 0, "waits": 0}

    async def bench(ctx):
        for _ in range(3000):
            changes = dict.fromkeys(counts, 0)
            for u in range(len(UNITS)):
                wait = rng.randrange(1 << len(UNITS)) & ~(1 << u)
                ctx.set(component.units[u].wait, wait)
                ready = all(counts[f, u] for f in range(len(UNITS)) if wait >> f & 1)
                assert ctx.get(component.units[u].ready) == ready
                seen["ready" if ready else "waits"] += 1
                take = ready and rng.random() < 0.6
                ctx.set(component.units[u].take, take)
                give, to = rng.random() < 0.5, rng.randrange(1 << len(UNITS)) & ~(1 << u)
                assert ctx.get(component.left) == any(counts.values())
                ctx.set(component.units[u].give, give)
                ctx.set(component.units[u].give_to, to)
                for other in range(len(UNITS)):
                    if other != u:
                        changes[u, other] += give and to >> other & 1
                        changes[other, u] -= take and wait >> other & 1
            await ctx.tick()
            for pair, change in changes.items():
                counts[pair] += change

    run(component, bench)
    assert min(seen.values()) > 1000


def test_clear_forgets_all_tokens():
    component = Tokens()

    async def bench(ctx):
        for u in range(len(UNITS)):
            ctx.set(component.units[u].give, 1)
            ctx.set(component.units[u].give_to, 15 & ~(1 << u))
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(component.left)
        ctx.set(component.clear, 1)
        await ctx.tick()
        ctx.set(component.clear, 0)
        for u in range(len(UNITS)):
            ctx.set(component.units[u].give, 0)
        assert not ctx.get(component.left)
        for u in range(len(UNITS)):
            ctx.set(component.units[u].wait, 15 & ~(1 << u))
            assert not ctx.get(component.units[u].ready)

    run(component, bench)


def test_a_token_that_nobody_took_is_seen():
    component = Tokens()

    async def bench(ctx):
        for giver, taker in permutations(range(len(UNITS)), 2):
            assert not ctx.get(component.left)
            source, target = component.units[giver], component.units[taker]
            for pulse, mask, other in ((source.give, source.give_to, taker), (target.take, target.wait, giver)):
                ctx.set(mask, 1 << other)
                ctx.set(pulse, 1)
                await ctx.tick()
                ctx.set(pulse, 0)
                assert ctx.get(component.left) == (pulse is source.give)

    run(component, bench)
