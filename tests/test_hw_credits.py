"""Credits against an integer."""

import random

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.engine.credits import Credits

from .hw_streams import run


class Counter(wiring.Component):
    """Credits with ports."""

    def __init__(self, most, init):
        self._most, self._init = most, init
        super().__init__({"more": In(1), "less": In(1), "some": Out(1), "full": Out(1)})

    def elaborate(self, platform):
        m = Module()
        credits = Credits(self._most, init=self._init, name="counted")
        credits.change(m, self.more, self.less)
        m.d.comb += [self.some.eq(credits.some), self.full.eq(credits.full)]
        return m


@pytest.mark.parametrize(("most", "init"), [(1, 0), (4, 4), (16, 0), (16, 16), (32, 7)])
def test_some_and_full_are_those_of_the_count(most, init):
    component, rng, seen = Counter(most, init), random.Random(most), set()

    async def bench(ctx):
        count = init
        for step in range(20 * most + 200):
            assert (ctx.get(component.some), ctx.get(component.full)) == (count > 0, count == most)
            seen.add(count)
            upward = step // (2 * most) % 2
            less = count > 0 and rng.random() < (0.2 if upward else 0.9)
            more = (count < most or less) and rng.random() < (0.9 if upward else 0.2)
            ctx.set(component.more, more)
            ctx.set(component.less, less)
            count += more - less
            await ctx.tick()

    run(component, bench)
    assert seen == {*range(most + 1)}
