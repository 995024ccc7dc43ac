"""The gate to the bus: what keeps every access inside the memory that the host has given."""

from amaranth import Cat, Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.register_map import PAGE_BITS
from .axi import ADDRESS_BITS
from .dma import BURST

WINDOW = data.StructLayout({"base": ADDRESS_BITS - PAGE_BITS, "pages": 32 - PAGE_BITS, "wraps": 1})
"""The memory of a run, in pages of 4 KiB: the first, how many, and whether they would end behind the last address."""

PASSED = data.StructLayout({**BURST.members, "address": ADDRESS_BITS})
"""A burst with its address on the bus."""


class Guard(wiring.Component):
    """Gives each burst its address on the bus, and lets none out that lies outside the window.

    No burst crosses 4 KiB, so the page of its first byte speaks for all.  Behind the first one that lies outside, or
    while ``closed``, what comes is dropped: whoever asked is reset next, and nothing of this reaches ``ready``.
    Latency one cycle; one burst a cycle; honours back-pressure.

    Members: bursts : In(stream), BURST, relative to the window;  passed : Out(stream), PASSED
             window, closed : In;  outside : Out, stays until reset
    """

    LATENCY = 1

    def __init__(self) -> None:
        super().__init__(
            {
                "bursts": In(stream.Signature(BURST)),
                "passed": Out(stream.Signature(PASSED)),
                "window": In(WINDOW),
                "closed": In(1),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        incoming, outgoing = self.bursts, self.passed
        page = incoming.payload.address[PAGE_BITS:]
        inside = (page < self.window.pages) & ~self.window.wraps
        m.d.comb += incoming.ready.eq(~outgoing.valid | outgoing.ready)
        with m.If(incoming.valid & incoming.ready & ~inside & ~self.closed):
            m.d.sync += self.outside.eq(1)
        with m.If(incoming.ready):
            m.d.sync += [
                outgoing.valid.eq(incoming.valid & inside & ~self.closed & ~self.outside),
                outgoing.payload.address.eq(Cat(incoming.payload.address[:PAGE_BITS], self.window.base + page)),
                outgoing.payload.length.eq(incoming.payload.length),
                outgoing.payload.final.eq(incoming.payload.final),
            ]
        return m
