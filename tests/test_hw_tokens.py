"""Tokens against a dictionary of counts."""

import random
from itertools import permutations

from systolith.hw.engine.tokens import Tokens
from systolith.hw.isa.program import UNITS

from .hw_streams import run


def test_tokens_count():
    component, rng = Tokens(), random.Random(4)
    counts = dict.fromkeys(permutations(range(len(UNITS)), 2), 0)
    waits, ready = [0] * len(UNITS), [False] * len(UNITS)  # the mask at the head of each queue, 0 for an empty one
    seen = {"begun": 0, "waits": 0}
    left = False  # in the cycle before

    async def bench(ctx):
        nonlocal left
        for _ in range(3000):
            changes = dict.fromkeys(counts, 0)
            for u in range(len(UNITS)):
                port, others = component.units[u], [f for f in range(len(UNITS)) if f != u]
                there, idle = waits[u] and all(counts[f, u] for f in others if waits[u] >> f & 1), waits[u] == 0
                ctx.set(port.waits, not idle)
                ctx.set(port.wait, waits[u] or rng.randrange(1 << len(UNITS)))
                assert ctx.get(port.ready) == ready[u]
                take = ready[u] and rng.random() < 0.6
                ctx.set(port.take, take)
                give, to = rng.random() < 0.18, rng.randrange(1 << len(UNITS)) & ~(1 << u)
                assert ctx.get(component.left) == left
                ctx.set(port.give, give)
                ctx.set(port.give_to, to)
                for other in others:
                    changes[u, other] += give and to >> other & 1
                    changes[other, u] -= bool(there and not ready[u] and waits[u] >> other & 1)
                seen["begun"] += take
                seen["waits"] += not (idle or there or ready[u])
                ready[u] = bool(there or ready[u]) and not take
                if take or (idle and rng.random() < 0.5):
                    waits[u] = 0 if take else rng.randrange(1, 1 << len(UNITS)) & ~(1 << u)
            left = any(counts.values())
            await ctx.tick()
            for pair, change in changes.items():
                counts[pair] += change

    run(component, bench)
    assert min(seen.values()) > 500


def test_clear_forgets_all_tokens():
    component = Tokens()

    async def bench(ctx):
        for u in range(len(UNITS)):
            ctx.set(component.units[u].give, 1)
            ctx.set(component.units[u].give_to, 15 & ~(1 << u))
        for _ in range(3):
            await ctx.tick()
        assert ctx.get(component.left)
        for unit in component.units:
            ctx.set(unit.waits, 1)
        await ctx.tick()
        assert all(ctx.get(unit.ready) for unit in component.units)
        ctx.set(component.clear, 1)
        await ctx.tick()
        ctx.set(component.clear, 0)
        for u in range(len(UNITS)):
            ctx.set(component.units[u].give, 0)
            ctx.set(component.units[u].waits, 0)
        await ctx.tick()
        assert not ctx.get(component.left)
        for u in range(len(UNITS)):
            ctx.set(component.units[u].waits, 1)
            ctx.set(component.units[u].wait, 15 & ~(1 << u))
        await ctx.tick()
        assert not any(ctx.get(unit.ready) for unit in component.units)

    run(component, bench)


def test_a_token_that_nobody_took_is_seen():
    component = Tokens()

    async def bench(ctx):
        for giver, taker in permutations(range(len(UNITS)), 2):
            assert not ctx.get(component.left)
            source, target = component.units[giver], component.units[taker]
            for pulse, mask, other in ((source.give, source.give_to, taker), (target.waits, target.wait, giver)):
                ctx.set(mask, 1 << other)
                ctx.set(pulse, 1)
                await ctx.tick()
                ctx.set(pulse, 0)
                await ctx.tick()
                assert ctx.get(component.left) == (pulse is source.give)
            ctx.set(target.take, 1)
            await ctx.tick()
            ctx.set(target.take, 0)

    run(component, bench)
