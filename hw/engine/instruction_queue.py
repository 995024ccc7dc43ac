"""Where instructions wait for their unit."""

from amaranth import Module, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range


class InstructionQueue(wiring.Component):
    """Registers in a row: nothing chooses between them, so no bit of an instruction costs logic.

    An instruction every other cycle; ``depth`` cycles through the empty queue.

    Parameters: shape : of an instruction;  depth : int, instructions that can wait, at least 2
    Members:    incoming : In(stream), ``shape``;  outgoing : Out(stream), ``shape``;  empty : Out
    """

    def __init__(self, *, shape: ShapeLike, depth: int) -> None:
        check_range("queue depth", depth, 2, 64)
        self._shape, self._depth = shape, depth
        super().__init__(
            {"incoming": In(stream.Signature(shape)), "outgoing": Out(stream.Signature(shape)), "empty": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        payload, valid = self.incoming.payload, self.incoming.valid
        full = Signal(self._depth)  # from the place where they arrive to where they leave
        moves = Signal(self._depth + 1)  # from the place before it into each; at last, out
        m.d.comb += [self.incoming.ready.eq(~full[0]), self.empty.eq(~full.any())]
        for n in range(self._depth):
            place = Signal(self._shape, name=f"place_{n}", reset_less=True)
            # an instruction moves into a place that is empty: whether the unit takes one reaches none but the last
            m.d.comb += moves[n].eq(valid & ~full[n])
            with m.If(~full[n]):
                m.d.sync += place.eq(payload)  # whether or not it counts: ``full`` says that
            with m.If(moves[n]):
                m.d.sync += full[n].eq(1)
            with m.Elif(moves[n + 1]):
                m.d.sync += full[n].eq(0)
            payload, valid = place, full[n]
        m.d.comb += [
            self.outgoing.valid.eq(valid),
            self.outgoing.payload.eq(payload),
            moves[self._depth].eq(valid & self.outgoing.ready),
        ]
        return m
