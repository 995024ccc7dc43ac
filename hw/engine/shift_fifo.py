"""A FIFO of a few narrow items, in registers."""

from amaranth import Cat, Const, Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range


class ShiftFifo(wiring.Component):
    """The first item is a register, and all move up when it leaves.  It never refuses an item: whoever writes asks
    beforehand for no more than ``depth``.

    An item follows its writing by LATENCY cycles; one a cycle; honours back-pressure.

    Parameters: shape : of an item;  depth : int, items, 2 to 64
    Members:    incoming : In(stream), ``shape``, always ready;  outgoing : Out(stream), ``shape``
    """

    LATENCY = 1

    def __init__(self, *, shape: ShapeLike, depth: int) -> None:
        check_range("FIFO depth", depth, 2, 64)
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "incoming": In(stream.Signature(shape, always_ready=True)),
                "outgoing": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        incoming, outgoing = self.incoming, self.outgoing
        places = [Signal(self._shape, name=f"place_{n}", reset_less=True) for n in range(self._depth)]
        full = Signal(self._depth)  # places 0 .. n - 1 for n items
        leaves = Signal()
        kept = Signal(self._depth)  # without the one that leaves
        m.d.comb += [
            outgoing.valid.eq(full[0]),
            outgoing.payload.eq(places[0]),
            leaves.eq(full[0] & outgoing.ready),
            kept.eq(Mux(leaves, full[1:], full)),
        ]
        m.d.sync += full.eq(Mux(incoming.valid, Cat(Const(1, 1), kept), kept))
        for n, (place, behind) in enumerate(zip(places, [*places[1:], places[-1]], strict=True)):
            with m.If(~kept[n]):
                m.d.sync += place.eq(incoming.payload)
            with m.Elif(leaves):
                m.d.sync += place.eq(behind)
        return m
