"""Accesses of 32 bits, one at a time: what the link asks of registers and of memory."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..engine.axi import axi4_lite

REQUEST = data.StructLayout({"address": 32, "write": 1, "data": 32})
"""address : in bytes, a multiple of 4"""


def words() -> wiring.Signature:
    """From the one who asks.  ``done`` : a cycle, in which ``answer`` is what was read."""
    return wiring.Signature({"request": Out(stream.Signature(REQUEST)), "done": In(1), "answer": In(32)})


class RegisterMaster(wiring.Component):
    """Accesses of ``words`` as an AXI4-Lite master.  Answers with an error count as answers: there are none here.

    Members: words : In(words());  bus : Out(axi4_lite)
    """

    def __init__(self) -> None:
        super().__init__({"words": In(words()), "bus": Out(axi4_lite(address_bits=8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request, bus = self.words.request, self.bus
        busy = Signal()
        m.d.comb += [
            request.ready.eq(~busy),
            bus.bready.eq(1),
            bus.rready.eq(1),
            bus.wstrb.eq(0b1111),
            self.words.done.eq(busy & (bus.bvalid | bus.rvalid)),
            self.words.answer.eq(bus.rdata),
        ]
        for valid, ready in ((bus.awvalid, bus.awready), (bus.wvalid, bus.wready), (bus.arvalid, bus.arready)):
            with m.If(ready):
                m.d.sync += valid.eq(0)
        with m.If(request.valid & request.ready):
            m.d.sync += [
                busy.eq(1),
                bus.awaddr.eq(request.payload.address),
                bus.araddr.eq(request.payload.address),
                bus.wdata.eq(request.payload.data),
                bus.awvalid.eq(request.payload.write),
                bus.wvalid.eq(request.payload.write),
                bus.arvalid.eq(~request.payload.write),
            ]
        with m.If(self.words.done):
            m.d.sync += busy.eq(0)
        return m
