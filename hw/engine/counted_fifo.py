"""A FIFO whose writer has counted its places."""

from amaranth import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range
from .memory_attributes import COLLISIONS_NEVER_COUNT


class CountedFifo(wiring.Component):
    """A memory, two pointers, and a register behind it.  It never refuses an item and counts none: whoever writes asks
    beforehand for no more than ``depth``.

    The first item follows its writing by LATENCY cycles; then one a cycle; honours back-pressure.

    Parameters: shape : of an item;  depth : int, items, 2 or more
    Members:    incoming : In(stream), ``shape``, always ready;  outgoing : Out(stream), ``shape``
    """

    LATENCY = 2

    def __init__(self, *, shape: ShapeLike, depth: int) -> None:
        check_range("FIFO depth", depth, 2, 1 << 24)
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
        m.submodules.storage = storage = Memory(
            shape=self._shape, depth=self._depth, init=[], attrs=COLLISIONS_NEVER_COUNT
        )
        writer, reader = storage.write_port(), storage.read_port()
        first, behind = Signal(range(self._depth)), Signal(range(self._depth))
        # the pointers meet only where nothing is stored: one item at least is in the register
        m.d.comb += [
            writer.addr.eq(behind),
            writer.data.eq(incoming.payload),
            writer.en.eq(incoming.valid),
            reader.addr.eq(first),
            reader.en.eq((first != behind) & (~outgoing.valid | outgoing.ready)),
            outgoing.payload.eq(reader.data),
        ]
        with m.If(incoming.valid):
            m.d.sync += behind.eq(self._next(behind))
        with m.If(outgoing.ready):
            m.d.sync += outgoing.valid.eq(0)
        with m.If(reader.en):
            m.d.sync += [first.eq(self._next(first)), outgoing.valid.eq(1)]
        return m

    def _next(self, pointer: Signal) -> Value:
        wraps = self._depth < 1 << len(pointer)
        return Mux(pointer == self._depth - 1, 0, pointer + 1) if wraps else pointer + 1
