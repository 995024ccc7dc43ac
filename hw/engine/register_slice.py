"""A register slice: cuts the paths of a stream in both directions at full throughput."""

from amaranth import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class RegisterSlice(wiring.Component):
    """Every output is a register, as AXI4 asks of an interface; a spare place takes what comes while ``ready`` falls.

    Latency one cycle; one item a cycle; honours back-pressure.

    Parameters: shape : of an item
    Members:    incoming : In(stream), ``shape``;  outgoing : Out(stream), ``shape``
    """

    LATENCY = 1
    DEPTH = 2
    """Items that it holds at most."""

    def __init__(self, *, shape: ShapeLike) -> None:
        self._shape = shape
        super().__init__({"incoming": In(stream.Signature(shape)), "outgoing": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        outgoing = Signal(self._shape, reset_less=True)
        spare = Signal(self._shape, reset_less=True)
        valid, full = Signal(), Signal()
        ready = Signal(init=1)  # ~full, apart from it: one goes to the giver, one chooses for each bit of an item
        m.d.comb += [
            self.incoming.ready.eq(ready),
            self.outgoing.valid.eq(valid),
            self.outgoing.payload.eq(outgoing),
        ]
        with m.If(~full):
            m.d.sync += spare.eq(self.incoming.payload)  # whether or not it will count: ``full`` says that
        with m.If(self.outgoing.ready | ~valid):
            m.d.sync += [valid.eq(self.incoming.valid | full), full.eq(0), ready.eq(1)]
            with m.If(full):
                m.d.sync += outgoing.eq(spare)
            with m.Else():
                m.d.sync += outgoing.eq(self.incoming.payload)
        with m.Elif(self.incoming.valid):
            m.d.sync += [full.eq(1), ready.eq(0)]
        return m
