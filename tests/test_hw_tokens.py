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
            for u, unit in enumerate(UNITS):
                wait = rng.randrange(1 << len(UNITS)) & ~(1 << u)
                ctx.set(getattr(component, f"wait_{unit}"), wait)
                ready = all(counts[f, u] for f in range(len(UNITS)) if wait >> f & 1)
                assert ctx.get(getattr(component, f"ready_{unit}")) == ready
                seen["ready" if ready else "waits"] += 1
                take = ready and rng.random() < 0.6
                ctx.set(getattr(component, f"take_{unit}"), take)
                give, to = rng.random() < 0.5, rng.randrange(1 << len(UNITS)) & ~(1 << u)
                assert ctx.get(component.left) == any(counts.values())
                ctx.set(getattr(component, f"give_{unit}"), give)
                ctx.set(getattr(component, f"give_to_{unit}"), to)
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
        for u, unit in enumerate(UNITS):
            ctx.set(getattr(component, f"give_{unit}"), 1)
            ctx.set(getattr(component, f"give_to_{unit}"), 15 & ~(1 << u))
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(component.left)
        ctx.set(component.clear, 1)
        await ctx.tick()
        ctx.set(component.clear, 0)
        for unit in UNITS:
            ctx.set(getattr(component, f"give_{unit}"), 0)
        assert not ctx.get(component.left)
        for u, unit in enumerate(UNITS):
            ctx.set(getattr(component, f"wait_{unit}"), 15 & ~(1 << u))
            assert not ctx.get(getattr(component, f"ready_{unit}"))

    run(component, bench)


def test_a_token_that_nobody_took_is_seen():
    component = Tokens()

    async def bench(ctx):
        for giver, taker in permutations(range(len(UNITS)), 2):
            assert not ctx.get(component.left)
            for name, unit, other in (("give", giver, taker), ("take", taker, giver)):
                mask = "give_to" if name == "give" else "wait"
                ctx.set(getattr(component, f"{mask}_{UNITS[unit]}"), 1 << other)
                ctx.set(getattr(component, f"{name}_{UNITS[unit]}"), 1)
                await ctx.tick()
                ctx.set(getattr(component, f"{name}_{UNITS[unit]}"), 0)
                assert ctx.get(component.left) == (name == "give")

    run(component, bench)
